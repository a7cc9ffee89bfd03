-- No step of the funnel has more attempts than the one before.
SELECT *
  FROM {{ ref('session_funnel') }}
 WHERE accepted > attempts
    OR charged > accepted
