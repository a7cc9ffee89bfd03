{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['tenant', 'source', 'source_id'],
        indexes=[
            {'columns': ['tenant', 'source', 'source_id'], 'unique': true},
            {'columns': ['tenant', 'epoch', 'change_number']},
        ],
    )
}}

-- How to follow the change feed. Everything is read in one statement, so at one moment: the numbers up to the highest
-- one are complete, and the next run continues behind it. Removals are kept as rows, because they have numbers too.
WITH progress AS (
    SELECT feed.tenant,
           feed.epoch,
{%- if is_incremental() %}
           -- In another epoch numbers may be given twice: nothing is known of it, so all rows are read.
           coalesce((
               SELECT max(known.change_number)
                 FROM {{ this }} AS known
                WHERE known.tenant = feed.tenant
                  AND known.epoch = feed.epoch), 0) AS last_change_number
{%- else %}
           0 AS last_change_number
{%- endif %}
      FROM {{ source('analytics', 'feed') }} AS feed
), change AS (
    SELECT attempt.tenant,
           attempt.source,
           attempt.source_id,
           progress.epoch,
           attempt.change_number,
           false AS is_removed,
           attempt.attempted_at,
           attempt.location_id,
           attempt.session_id,
           attempt.result,
           attempt.is_success,
           attempt.removed_at
      FROM progress
      JOIN {{ source('analytics', 'charge_attempt') }} AS attempt
        ON attempt.tenant = progress.tenant
       AND attempt.change_number > progress.last_change_number
     UNION ALL
    SELECT removal.tenant,
           removal.key ->> 'source',
           CAST(removal.key ->> 'source_id' AS bigint),
           progress.epoch,
           removal.change_number,
           true,
           NULL,
           NULL,
           NULL,
           NULL,
           NULL,
           NULL
      FROM progress
      JOIN {{ source('analytics', 'removal') }} AS removal
        ON removal.tenant = progress.tenant
       AND removal.change_number > progress.last_change_number
       AND removal.table_name = 'charge_attempt'
)
-- A row that was removed and has returned has both; the higher number counts.
SELECT DISTINCT ON (tenant, source, source_id) *
  FROM change
 ORDER BY tenant, source, source_id, change_number DESC
