"""Rules about single sessions."""

from __future__ import annotations

from analytics.findings.rules.parts import ENERGY_LIMIT_WH, SESSIONS, end_of, stretch_at
from analytics.findings.rules.rule import Rule
from analytics.retention import may_lack_samples
from analytics.schema.sessions import OPEN_SESSION

_MAX_OPEN = "24 hours"

SESSION_OPEN = Rule(
    name="session_open",
    kind="session",
    severity="medium",
    scope="session",
    meaning=f"The session has been open for over {_MAX_OPEN}",
    remedy="Look whether the vehicle is still connected; if not, stop the session at AMPECO",
    query=f"""
SELECT session.session_id AS entity_id,
       session.started_at + interval '{_MAX_OPEN}' AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('started_at', session.started_at, 'evse_id', session.evse_id) AS evidence
{SESSIONS}
 WHERE {OPEN_SESSION}
   AND session.started_at < CAST(:now AS timestamptz) - interval '{_MAX_OPEN}'
""",
)

_MIN_AVAILABLE = "15 minutes"

# Index: primary keys; see stretch_at(); that of evse_state_interval from the stretch in which the session began.
SESSION_WHILE_AVAILABLE = Rule(
    name="session_while_available",
    kind="session",
    severity="medium",
    scope="session",
    meaning=f"The session ran for over {_MIN_AVAILABLE}, and its EVSE was available throughout",
    remedy="Look whether statuses of the charge point arrive; if they do, the vehicle was never connected",
    query=f"""
SELECT shown.entity_id, shown.began_at, shown.ended_at, shown.evidence
  FROM (SELECT session.session_id AS entity_id,
               session.evse_id,
               session.started_at AS began_at,
               {end_of("session")} AS ended_at,
               least({end_of("session")}, CAST(:now AS timestamptz)) AS seen_until,
               jsonb_build_object('evse_id', session.evse_id) AS evidence
        {SESSIONS}
         WHERE session.outcome <> 'pending') AS shown
  JOIN LATERAL {stretch_at("shown.evse_id", "shown.began_at")} AS first
    ON first.state = 'available'
   AND first.ended_at > shown.began_at
 WHERE shown.seen_until > shown.began_at + interval '{_MIN_AVAILABLE}'
   AND NOT EXISTS (
       SELECT
         FROM analytics.evse_state_interval AS other
        WHERE other.tenant = :tenant
          AND other.evse_id = shown.evse_id
          AND other.began_at > first.began_at
          AND other.began_at < shown.seen_until
          AND other.state <> 'available')
""",  # noqa: S608 - the names are ours
)

# Index: meter_value_sample_key, in each month; all samples of the session are read. If samples may have been dropped,
# the finding stays as it is.
REGISTER_FALLS = Rule(
    name="register_falls",
    kind="session",
    severity="medium",
    scope="session",
    meaning="A register of the meter fell within the session",
    remedy="Compare the session's energy with the registers; the meter was replaced or reset, or a sample is wrong",
    query=f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       {end_of("session")} AS ended_at,
       falls.evidence
{SESSIONS}
 CROSS JOIN LATERAL (
       SELECT jsonb_build_object(
                  'falls', count(*), 'first_at', min(measured_at), 'largest_wh', max(round(before_wh - wh, 3)))
                  AS evidence,
              count(*) AS number
         FROM (SELECT measured_at, wh, lag(wh) OVER (PARTITION BY location, ordinal ORDER BY measured_at, wh)
                   AS before_wh
                 FROM (SELECT sample.measured_at,
                              sample.location,
                              sample.ordinal,
                              CASE lower(sample.unit) WHEN 'kwh' THEN sample.value * 1000 ELSE sample.value END AS wh
                         FROM charging.meter_value AS sample
                        WHERE sample.tenant = :tenant
                          AND sample.session_id = scope.entity_id
                          AND lower(translate(sample.measurand, '._-', '   ')) = 'energy active import register'
                          AND lower(coalesce(sample.unit, 'wh')) IN ('wh', 'kwh')
                          AND abs(sample.value) < {ENERGY_LIMIT_WH}) AS register) AS sampled
        WHERE wh < before_wh - 1) AS falls
 WHERE NOT {may_lack_samples("session")}
   AND falls.number > 0
 UNION ALL
SELECT finding.entity_id, finding.began_at, finding.ended_at, finding.evidence
{SESSIONS}
   AND {may_lack_samples("session")}
  JOIN analytics.finding AS finding
    ON finding.tenant = :tenant
   AND finding.rule = 'register_falls'
   AND finding.kind = 'session'
   AND finding.entity_id = scope.entity_id
   AND finding.resolved_at IS NULL
""",  # noqa: S608 - the names are ours
)

_MAX_PERCENT_OF_POWER = 110

ENERGY_ABOVE_POWER = Rule(
    name="energy_above_power",
    kind="session",
    severity="high",
    scope="session",
    meaning=f"The session has over {_MAX_PERCENT_OF_POWER} % of the energy that the EVSE's maximum power can deliver in"
    " its time",
    remedy="Look whether the maximum power of the EVSE is right; if it is, the energy or the times are wrong",
    query=f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       {end_of("session")} AS ended_at,
       jsonb_build_object(
           'energy_wh', session.energy_wh, 'max_power_w', session.max_power_w, 'connected_s', session.connected_s)
           AS evidence
{SESSIONS}
 WHERE session.max_power_w > 0
   AND session.connected_s >= 0
   AND session.energy_wh
       > CAST(session.max_power_w AS numeric) * session.connected_s / 3600 * {_MAX_PERCENT_OF_POWER / 100}
""",
)

#: By how much the energy of the CDRs differs at least, in both measures.
_MIN_DIFFERENCE_WH = 100
_MIN_DIFFERENCE_PERCENT = 1

# Index: primary keys. A CDR that cancels another one counts against it.
CDR_DIFFERS = Rule(
    name="cdr_differs",
    kind="session",
    severity="high",
    scope="session",
    meaning=f"The energy of the session's CDRs together differs from its own by over {_MIN_DIFFERENCE_PERCENT} % and"
    f" over {_MIN_DIFFERENCE_WH} Wh",
    remedy="Compare both before the partner is billed; a CDR may have to be cancelled and sent again",
    query=f"""
SELECT shown.entity_id, shown.began_at, shown.ended_at,
       jsonb_build_object('energy_wh', shown.energy_wh, 'cdr_energy_wh', cdrs.energy_wh, 'cdrs', cdrs.number)
           AS evidence
  FROM (SELECT session.session_id AS entity_id,
               coalesce(session.started_at, '-infinity') AS began_at,
               {end_of("session")} AS ended_at,
               session.energy_wh,
               CASE jsonb_typeof(session.cdr_ids) WHEN 'array' THEN session.cdr_ids ELSE '[]' END AS cdr_ids
        {SESSIONS}
         WHERE session.stopped_at IS NOT NULL
           AND session.cdr_ids IS NOT NULL) AS shown
 CROSS JOIN LATERAL (
       SELECT count(*) AS number,
              count(*) FILTER (WHERE (abs(cdr.energy_wh) < {ENERGY_LIMIT_WH}) IS NOT TRUE) AS unknown,
              sum(CASE WHEN cdr.is_credit THEN -abs(cdr.energy_wh) ELSE cdr.energy_wh END)
                  FILTER (WHERE abs(cdr.energy_wh) < {ENERGY_LIMIT_WH}) AS energy_wh
         FROM (SELECT DISTINCT CASE WHEN word ~ '^[0-9]{{1,18}}$' THEN CAST(word AS bigint) END AS cdr_id
                 FROM jsonb_array_elements_text(shown.cdr_ids) AS word) AS named
         LEFT JOIN charging.cdr AS cdr
           ON cdr.tenant = :tenant
          AND cdr.cdr_id = named.cdr_id
          AND cdr.deleted_at IS NULL) AS cdrs
 WHERE cdrs.number > 0
   AND cdrs.unknown = 0
   AND abs(cdrs.energy_wh - shown.energy_wh)
       > greatest({_MIN_DIFFERENCE_WH}, abs(shown.energy_wh) * {_MIN_DIFFERENCE_PERCENT / 100})
""",  # noqa: S608 - the names are ours
)

AMOUNT_WITHOUT_CURRENCY = Rule(
    name="amount_without_currency",
    kind="session",
    severity="medium",
    scope="session",
    meaning="The session has an amount and no currency",
    remedy="Look at the currency of its tariff at AMPECO; sums leave the amount out until it has one",
    query=f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       {end_of("session")} AS ended_at,
       jsonb_build_object(
           'amount_with_tax', session.amount_with_tax, 'amount_without_tax', session.amount_without_tax) AS evidence
{SESSIONS}
 WHERE (session.amount_with_tax <> 0 OR session.amount_without_tax <> 0)
   AND coalesce(btrim(session.currency), '') = ''
""",
)

_MAX_PROVISIONAL = "10 minutes"

# Index: primary keys.
PROVISIONAL = Rule(
    name="provisional",
    kind="session",
    severity="low",
    scope="session",
    meaning=f"Only parts of the session have arrived, and for over {_MAX_PROVISIONAL} no read has completed it",
    remedy="Look at `status` why AMPECO is not read; the session is completed by itself once it is",
    query=f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('evse_id', session.evse_id) AS evidence
{SESSIONS}
  JOIN charging.session AS stored
    ON stored.tenant = :tenant
   AND stored.session_id = scope.entity_id
 WHERE session.provisional
   AND stored.updated_at < CAST(:now AS timestamptz) - interval '{_MAX_PROVISIONAL}'
""",
)
