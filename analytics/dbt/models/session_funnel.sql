WITH attempt AS (
    SELECT copy.tenant,
           copy.location_id,
           CAST(date_trunc('month', copy.attempted_at AT TIME ZONE location.timezone) AS date) AS month,
           copy.session_id IS NOT NULL OR coalesce(copy.result = 'accepted', false) AS is_accepted,
           copy.is_success
      FROM {{ ref('charge_attempt_copy') }} AS copy
      JOIN {{ source('analytics', 'feed') }} AS feed
        ON feed.tenant = copy.tenant
       AND feed.epoch = copy.epoch
      LEFT JOIN {{ source('analytics', 'location') }} AS location
        ON location.tenant = copy.tenant
       AND location.location_id = copy.location_id
     WHERE NOT copy.is_removed
       AND copy.removed_at IS NULL
), funnel AS (
    SELECT tenant,
           location_id,
           month,
           count(*) AS attempts,
           count(*) FILTER (WHERE is_accepted) AS accepted,
           count(*) FILTER (WHERE is_success) AS charged,
           count(*) FILTER (WHERE is_success IS NULL) AS undecided
      FROM attempt
     GROUP BY tenant, location_id, month
)
SELECT *,
       round(100.0 * charged / nullif(attempts - undecided, 0), 3) AS charged_percent
  FROM funnel
