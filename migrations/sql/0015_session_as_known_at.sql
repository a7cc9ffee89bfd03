-- What was changed later is undone, newest first, so that the oldest former value stands.
CREATE OR REPLACE FUNCTION charging.session_as_known_at(text, timestamptz) RETURNS SETOF charging.session
LANGUAGE sql STABLE AS $$
SELECT known.*
  FROM charging.session
  LEFT JOIN LATERAL (
       SELECT jsonb_object_agg(former.key, former.value ORDER BY fact_at DESC, fact_version DESC) AS columns
         FROM charging.session_revision
        CROSS JOIN LATERAL jsonb_each(changed_from) AS former
        WHERE session_revision.tenant = session.tenant
          AND session_revision.session_id = session.session_id
          AND session_revision.learned_at > $2) AS undone ON true
 CROSS JOIN LATERAL jsonb_populate_record(session, coalesce(undone.columns, '{}')) AS known
 WHERE session.tenant = $1
   AND session.first_seen_at <= $2
$$
