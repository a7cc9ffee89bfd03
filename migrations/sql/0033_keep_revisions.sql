-- The table that the view replaced, with what the view shows.
CREATE TABLE charging.master_revision (
       tenant text NOT NULL,
       kind text NOT NULL,
       entity_id bigint NOT NULL,
       column_group text NOT NULL,
       fact_at timestamptz NOT NULL,
       fact_version text COLLATE "C" NOT NULL,
       changed_from jsonb NOT NULL,
       changed_to jsonb NOT NULL,
       source text NOT NULL,
       notification_id uuid,
       recorded_at timestamptz NOT NULL DEFAULT now(),
       PRIMARY KEY (tenant, kind, entity_id, fact_at, column_group, fact_version));

CREATE INDEX master_revision_tenant_recorded_at_idx
    ON charging.master_revision (tenant, recorded_at);

INSERT INTO charging.master_revision
SELECT *
  FROM charging.master_change
    ON CONFLICT DO NOTHING;
