-- The session is found by session_cdr_idx. It is the first of an array, because Postgres would look for a min() along the
-- primary key, past half of the tenant's sessions.
CREATE VIEW analytics.cdr AS
SELECT cdr.tenant,
       cdr.cdr_id,
       (SELECT (array_agg(session.session_id ORDER BY session.session_id))[1]
          FROM analytics.session AS session
         WHERE session.tenant = cdr.tenant
           AND session.cdr_ids IS NOT NULL
           AND session.cdr_ids @> to_jsonb(cdr.cdr_id)) AS session_id,
       cdr.operator_id AS roaming_operator_id,
       operator.business_name AS roaming_operator_name,
       cdr.protocol_type,
       cdr.roaming_id,
       cdr.session_reference,
       cdr.is_local,
       cdr.is_credit,
       cdr.started_at,
       cdr.ended_at,
       CASE WHEN abs(cdr.energy_wh) < 1e15 THEN cdr.energy_wh END AS energy_wh,
       CASE WHEN abs(cdr.energy_wh) < 1e15 THEN cdr.energy_wh / 1000 END AS energy_kwh,
       CASE WHEN abs(cdr.amount_without_tax) < 1e15 THEN cdr.amount_without_tax END AS amount_without_tax,
       cdr.currency,
       cdr.sent_at,
       cdr.received_at,
       cdr.delivery_response,
       cdr.deleted_at AS removed_at
  FROM charging.cdr AS cdr
  LEFT JOIN charging.roaming_operator AS operator
    ON operator.tenant = cdr.tenant
   AND operator.roaming_operator_id = cdr.operator_id;
