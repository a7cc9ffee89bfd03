{# Keys that several rows have. Nulls count as equal. #}
{% test unique_key(model, columns) %}

SELECT {{ columns | join(', ') }}, count(*) AS copies
  FROM {{ model }}
 GROUP BY {{ columns | join(', ') }}
HAVING count(*) > 1

{% endtest %}
