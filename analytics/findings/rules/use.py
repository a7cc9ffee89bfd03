"""Rules about the use of EVSEs: their states, and their sessions together."""

from __future__ import annotations

from analytics.findings.rules.parts import end_of, sessions_during
from analytics.findings.rules.rule import Rule

_MIN_CHARGING = "15 minutes"

# Indexes: primary key of evse_state_interval from the beginning of the scope on; see sessions_during(). How much of an
# EVSE's history is read is not known when a rule is planned: with OFFSET each EVSE is looked up by itself, and a join
# would read the history of all.
CHARGING_WITHOUT_SESSION = Rule(
    name="charging_without_session",
    kind="evse",
    severity="high",
    scope="use",
    meaning=f"The EVSE was charging for over {_MIN_CHARGING}, and no session overlaps the time",
    remedy="Look whether AMPECO has a session that is missing here; if not, energy was delivered for free",
    query=f"""
SELECT stretch.evse_id AS entity_id,
       stretch.began_at,
       stretch.ended_at,
       jsonb_build_object('charge_point_id', stretch.charge_point_id, 'coverage', stretch.coverage) AS evidence
  FROM scope
 CROSS JOIN LATERAL (
       SELECT known.evse_id, known.began_at, known.ended_at, known.charge_point_id, known.coverage
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.began_at >= coalesce(scope.since, '-infinity')
          AND known.began_at <= coalesce(scope.until, 'infinity')
          AND known.state = 'charging'
       OFFSET 0) AS stretch
 WHERE least(stretch.ended_at, CAST(:now AS timestamptz)) > stretch.began_at + interval '{_MIN_CHARGING}'
   AND NOT EXISTS ({sessions_during("stretch.evse_id", "stretch.began_at", "stretch.ended_at")})
""",  # noqa: S608 - the names are ours
)

# Index: session_tenant_evse_id_started_at_idx; see sessions_during().
SESSIONS_AT_ONCE = Rule(
    name="sessions_at_once",
    kind="evse",
    severity="high",
    scope="use",
    meaning="Two sessions of one EVSE overlap by over a minute",
    remedy="Look at both sessions at AMPECO: one of them probably lacks its stop, so energy and price may count twice",
    query=f"""
SELECT later.evse_id AS entity_id,
       later.started_at AS began_at,
       others.ended_at,
       jsonb_build_object(
           'session_id', later.session_id, 'other_session_id', others.first_id, 'others', others.number) AS evidence
  FROM scope
 CROSS JOIN LATERAL (
       SELECT known.session_id, known.evse_id, known.started_at, known.stopped_at, known.outcome
         FROM analytics.session AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.started_at >= coalesce(scope.since, '-infinity')
          AND known.started_at <= coalesce(scope.until, 'infinity')
          AND known.removed_at IS NULL
       OFFSET 0) AS later
 CROSS JOIN LATERAL (
       SELECT count(*) AS number, min(other.session_id) AS first_id, max(least(other.ended_at, {end_of("later")}))
           AS ended_at
         FROM ({sessions_during("later.evse_id", "later.started_at", end_of("later"))}) AS other
        WHERE (other.started_at, other.session_id) < (later.started_at, later.session_id)
          AND least(other.ended_at, {end_of("later")}, CAST(:now AS timestamptz))
              > later.started_at + interval '1 minute') AS others
 WHERE others.number > 0
""",  # noqa: S608 - the names are ours
)

# Index: the unique constraint of evse_state_interval. A status that is dated too far ahead counts from when it arrived,
# so it is dated long after the stretch that it begins.
CLOCK_AHEAD = Rule(
    name="clock_ahead",
    kind="evse",
    severity="medium",
    scope="use",
    meaning="The present state comes from a status that is dated over a day after its arrival",
    remedy="Set the clock of the charge point; until then its statuses count from their arrival",
    query="""
SELECT stretch.evse_id AS entity_id,
       CAST('-infinity' AS timestamptz) AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object(
           'source', latest.source,
           'observed_at', latest.observed_at,
           'arrived_at', stretch.began_at,
           'charge_point_id', stretch.charge_point_id) AS evidence
  FROM scope
  JOIN analytics.evse_state_interval AS stretch
    ON stretch.tenant = :tenant
   AND stretch.evse_id = scope.entity_id
   AND stretch.ended_at = 'infinity'
  JOIN LATERAL (
       SELECT word.key AS source, CAST(word.value ->> 'observed_at' AS timestamptz) AS observed_at
         FROM jsonb_each(CASE jsonb_typeof(stretch.evidence) WHEN 'object' THEN stretch.evidence ELSE '{}' END) AS word
        ORDER BY observed_at DESC NULLS LAST, source
        LIMIT 1) AS latest ON latest.observed_at > stretch.began_at + interval '24 hours'
""",
)
