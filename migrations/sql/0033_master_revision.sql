-- What each fact changed. A provisional fact lacks columns, so it is compared with the fact before it, and one that is
-- not provisional with the last one that was not either, or with the very first: by themselves, these are a history
-- without gaps. Each boot is a revision, even if it changes nothing. What an entity was first is no revision.
CREATE VIEW charging.master_revision AS
SELECT compared.tenant,
       compared.kind,
       compared.entity_id,
       compared.column_group,
       compared.fact_at,
       compared.fact_version,
       changed.changed_from,
       changed.changed_to,
       compared.source,
       compared.notification_id,
       compared.recorded_at
  FROM (SELECT observation.*,
               CASE WHEN fact_version LIKE '0_0:%' THEN lag(tracked) OVER earlier
                    ELSE coalesce(lag(tracked) OVER settled, first_value(tracked) OVER earlier) END AS former,
               lag(fact_at) OVER earlier AS former_at
          FROM charging.master_observation AS observation
        WINDOW earlier AS (PARTITION BY tenant, kind, entity_id, column_group ORDER BY fact_at, fact_version, digest),
               settled AS (
                   PARTITION BY tenant, kind, entity_id, column_group, fact_version LIKE '0_0:%'
                       ORDER BY fact_at, fact_version, digest)) AS compared
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(name, former -> name), '{}') AS changed_from,
              coalesce(jsonb_object_agg(name, tracked -> name), '{}') AS changed_to
         FROM jsonb_object_keys(tracked) AS described (name)
        WHERE former -> name IS DISTINCT FROM tracked -> name) AS changed
 WHERE former IS NOT NULL
   AND (changed.changed_to <> '{}' OR (column_group = 'boot' AND former_at < fact_at));

COMMENT ON VIEW charging.master_revision IS
    'Revisions of master data: what each fact changed of the tracked columns, and each boot; by charging.master_observation';
COMMENT ON COLUMN charging.master_revision.tenant IS 'Tenant, as named in tenants.toml';
COMMENT ON COLUMN charging.master_revision.kind IS 'Kind of entity, such as evse';
COMMENT ON COLUMN charging.master_revision.entity_id IS 'Id at AMPECO';
COMMENT ON COLUMN charging.master_revision.column_group IS 'Column group that changed: master, boot or presence';
COMMENT ON COLUMN charging.master_revision.fact_at IS 'Time of the new fact, by its source''s clock';
COMMENT ON COLUMN charging.master_revision.fact_version IS 'Version of the new fact; orders those of one time';
COMMENT ON COLUMN charging.master_revision.changed_from IS 'The columns that changed, with their former values';
COMMENT ON COLUMN charging.master_revision.changed_to IS 'The same columns, with their new values';
COMMENT ON COLUMN charging.master_revision.source IS 'Source of the new fact: notification or read';
COMMENT ON COLUMN charging.master_revision.notification_id IS
    'The first notification that contained the new fact, if one did';
COMMENT ON COLUMN charging.master_revision.recorded_at IS 'When the new fact was first recorded here';
