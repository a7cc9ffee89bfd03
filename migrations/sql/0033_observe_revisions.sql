-- What each fact said of a column group, from the present row and from the revisions, which say what each replaced. The
-- values after a revision are the present ones without what came later: of each column, the next revision that changed
-- it has the value. Provisional revisions are undone only after the last one that is not provisional, because the
-- others are a history by themselves; a provisional fact itself changed what was settled before.
WITH revised AS NOT MATERIALIZED (
    SELECT *, fact_version LIKE '0_0:%' AS is_provisional
      FROM charging.master_revision
     WHERE kind = '{KIND}'
       AND column_group = '{GROUP}'
), present AS (
    SELECT present.tenant,
           present.{KEY} AS entity_id,
           present.{GROUP}_at AS fact_at,
           present.{GROUP}_version AS fact_version,
           {VALUES} AS present_values
      FROM {TABLE} AS present
     WHERE {IS_OF_KIND}
       AND present.{GROUP}_at > '1970-01-01 00:00:00+00'
), observed AS (
    SELECT present.tenant, present.entity_id, present.fact_at, present.fact_version, NULL::uuid AS notification_id,
           now() AS recorded_at, present.present_values
      FROM present
     UNION ALL
    SELECT present.tenant, present.entity_id, revised.fact_at, revised.fact_version, revised.notification_id,
           revised.recorded_at, present.present_values
      FROM present
      JOIN revised USING (tenant, entity_id)
     UNION ALL
    -- When the first fact was is not known: it was before the first revision.
    SELECT present.tenant, present.entity_id, min(revised.fact_at) - interval '1 microsecond',
           '1' || repeat('0', 20) || ':' || repeat('0', 16), NULL, min(revised.recorded_at), present.present_values
      FROM present
      JOIN revised USING (tenant, entity_id)
     GROUP BY present.tenant, present.entity_id, present.present_values
)
INSERT INTO charging.master_observation (
       tenant, kind, entity_id, column_group, fact_at, source, digest, fact_version, tracked, notification_id, recorded_at)
SELECT observed.tenant,
       '{KIND}',
       observed.entity_id,
       '{GROUP}',
       observed.fact_at,
       CASE WHEN left(observed.fact_version, 1) = '1' THEN 'read' ELSE 'notification' END,
       CASE WHEN left(observed.fact_version, 1) = '0'
            THEN left(encode(sha256(convert_to(CAST(said.tracked AS text), 'UTF8')), 'hex'), 16) END,
       observed.fact_version,
       said.tracked,
       observed.notification_id,
       observed.recorded_at
  FROM observed
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(name, value), '{}') AS former
         FROM (SELECT DISTINCT ON (replaced.name) replaced.name, replaced.value
                 FROM revised AS later
                CROSS JOIN LATERAL jsonb_each(later.changed_from) AS replaced (name, value)
                WHERE later.tenant = observed.tenant
                  AND later.entity_id = observed.entity_id
                  AND (later.fact_at, later.fact_version) > (observed.fact_at, observed.fact_version)
                  AND NOT (later.is_provisional AND EXISTS (
                      SELECT
                        FROM revised AS settled
                       WHERE settled.tenant = later.tenant
                         AND settled.entity_id = later.entity_id
                         AND NOT settled.is_provisional
                         AND (settled.fact_at, settled.fact_version) > (later.fact_at, later.fact_version)))
                ORDER BY replaced.name, later.fact_at, later.fact_version) AS next_replaced) AS undone
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(name, value), '{}') AS present
         FROM (SELECT DISTINCT ON (made.name) made.name, made.value
                 FROM revised AS earlier
                CROSS JOIN LATERAL jsonb_each(earlier.changed_to) AS made (name, value)
                WHERE observed.fact_version LIKE '0_0:%'
                  AND earlier.tenant = observed.tenant
                  AND earlier.entity_id = observed.entity_id
                  AND earlier.is_provisional
                  AND (earlier.fact_at, earlier.fact_version) <= (observed.fact_at, observed.fact_version)
                  AND NOT EXISTS (
                      SELECT
                        FROM revised AS settled
                       WHERE settled.tenant = earlier.tenant
                         AND settled.entity_id = earlier.entity_id
                         AND NOT settled.is_provisional
                         AND (settled.fact_at, settled.fact_version) > (earlier.fact_at, earlier.fact_version)
                         AND (settled.fact_at, settled.fact_version) < (observed.fact_at, observed.fact_version))
                ORDER BY made.name, earlier.fact_at DESC, earlier.fact_version DESC) AS last_made) AS provisional
 CROSS JOIN LATERAL (SELECT observed.present_values || undone.former || provisional.present) AS said (tracked)
 ORDER BY observed.tenant, observed.entity_id, observed.fact_at, observed.fact_version DESC, observed.recorded_at
    ON CONFLICT DO NOTHING
