{# Rows that name a row of another table that does not exist. A null names none. #}
{% test foreign_key(model, columns, to, to_columns) %}

SELECT child.*
  FROM {{ model }} AS child
 WHERE {% for column in columns %}child.{{ column }} IS NOT NULL
   AND {% endfor %}NOT EXISTS (
       SELECT
         FROM {{ to }} AS parent
        WHERE {% for column in columns %}parent.{{ to_columns[loop.index0] }} = child.{{ column }}
          {%- if not loop.last %}
          AND {% endif %}{% endfor %})

{% endtest %}
