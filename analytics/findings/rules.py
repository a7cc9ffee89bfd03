"""The rules of findings: what looks wrong in the data, why it matters, and the query that finds it.

A query yields ``entity_id``, ``began_at``, ``ended_at`` and ``evidence`` for the entities of ``scope (entity_id, since,
until)``, and may refer to ``:tenant`` and ``:now``. It never subtracts instants, because the end of a stretch may be
``infinity``, and evidence has no personal data and no text of unlimited length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analytics.retention import is_sampled_before
from analytics.schema.sessions import LONG_SESSION, OPEN_SESSION

Severity = Literal["high", "medium", "low"]

#: What is evaluated together: sessions, the use of EVSEs over a time, their outages over a time, locations.
ScopeName = Literal["session", "use", "outage", "location"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that the data should keep.

    Attributes:
        name: its name, which stays.
        kind: the kind of entity that breaks it.
        severity: how bad it is.
        meaning: what a finding means.
        remedy: what to do about it.
        scope: the scope in which it is evaluated.
        query: the query of what breaks it.
    """

    name: str
    kind: Literal["session", "evse", "location"]
    severity: Severity
    meaning: str
    remedy: str
    scope: ScopeName
    query: str


#: AMPECO's downtime periods that began longer before an outage are not compared with it: no update reads them all.
LOOKBACK = "interval '2208 hours'"

#: A session that began longer ago is found by the indexes of open and of long sessions.
RECENT = "interval '168 hours'"


def end_of(session: str) -> str:
    """Return the end of a session: infinity while it is open, its start if it failed without a stop."""
    return (
        f"coalesce({session}.stopped_at, CASE WHEN {session}.outcome IN ('pending', 'running')"
        f" THEN CAST('infinity' AS timestamptz) ELSE {session}.started_at END)"
    )


def sessions_during(evse_id: str, began_at: str, ended_at: str) -> str:
    """Return the query of the sessions of an EVSE that overlap a time.

    Indexes: session_tenant_evse_id_started_at_idx, session_open_idx, session_long_idx, one for each part.
    """
    parts = (
        f"known.started_at > {began_at} - {RECENT}",
        f"known.started_at <= {began_at} - {RECENT} AND {OPEN_SESSION}",
        f"known.started_at <= {began_at} - {RECENT} AND {LONG_SESSION}",
    )
    return "\n UNION ALL\n".join(
        f"""
SELECT known.session_id, known.started_at, {end_of("known")} AS ended_at
  FROM analytics.session AS known
 WHERE known.tenant = :tenant
   AND known.evse_id = {evse_id}
   AND known.started_at < {ended_at}
   AND {end_of("known")} > {began_at}
   AND known.removed_at IS NULL
   AND {part}"""  # noqa: S608 - the names are ours
        for part in parts
    )


# Index: primary key.
_SESSIONS = """
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
 WHERE session.removed_at IS NULL"""

_SESSION_OPEN = f"""
SELECT session.session_id AS entity_id,
       session.started_at + interval '24 hours' AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('started_at', session.started_at, 'evse_id', session.evse_id) AS evidence
{_SESSIONS}
   AND session.stopped_at IS NULL
   AND session.outcome IN ('pending', 'running')
   AND session.started_at < CAST(:now AS timestamptz) - interval '24 hours'
"""

# Indexes: primary key of evse_state_interval from the beginning of the scope on; see sessions_during(). How much of an
# EVSE's history is read is not known when a rule is planned: with OFFSET each EVSE is looked up by itself, and a join
# would read the history of all.
_CHARGING_WITHOUT_SESSION = f"""
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
 WHERE least(stretch.ended_at, CAST(:now AS timestamptz)) > stretch.began_at + interval '15 minutes'
   AND NOT EXISTS ({sessions_during("stretch.evse_id", "stretch.began_at", "stretch.ended_at")})
"""  # noqa: S608 - the names are ours

# Index: primary keys; that of evse_state_interval from the stretch in which the session began.
_SESSION_WHILE_AVAILABLE = f"""
SELECT entity_id, began_at, ended_at, evidence
  FROM (SELECT session.session_id AS entity_id,
               session.evse_id,
               session.started_at AS began_at,
               {end_of("session")} AS ended_at,
               least({end_of("session")}, CAST(:now AS timestamptz)) AS seen_until,
               jsonb_build_object('evse_id', session.evse_id) AS evidence
        {_SESSIONS}
           AND session.outcome <> 'pending') AS shown
  JOIN LATERAL (
       SELECT stretch.began_at AS first_at, stretch.ended_at AS first_until, stretch.state
         FROM analytics.evse_state_interval AS stretch
        WHERE stretch.tenant = :tenant
          AND stretch.evse_id = shown.evse_id
          AND stretch.began_at <= shown.began_at
        ORDER BY stretch.began_at DESC
        LIMIT 1) AS first ON first.state = 'available' AND first.first_until > shown.began_at
 WHERE shown.seen_until > shown.began_at + interval '15 minutes'
   AND NOT EXISTS (
       SELECT
         FROM analytics.evse_state_interval AS other
        WHERE other.tenant = :tenant
          AND other.evse_id = shown.evse_id
          AND other.began_at > first.first_at
          AND other.began_at < shown.seen_until
          AND other.state <> 'available')
"""  # noqa: S608 - the names are ours

# Index: session_tenant_evse_id_started_at_idx; see sessions_during().
_SESSIONS_AT_ONCE = f"""
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
"""  # noqa: S608 - the names are ours

# Index: meter_value_sample_key, in each month; all samples of the session are read. If samples may have been dropped,
# the finding stays as it is.
_REGISTER_FALLS = f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       {end_of("session")} AS ended_at,
       falls.evidence
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
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
                          AND abs(sample.value) < 1e15) AS register) AS sampled
        WHERE wh < before_wh - 1) AS falls
 WHERE session.removed_at IS NULL
   AND ({is_sampled_before("session")}) IS NOT TRUE
   AND falls.number > 0
 UNION ALL
SELECT finding.entity_id, finding.began_at, finding.ended_at, finding.evidence
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
   AND {is_sampled_before("session")}
  JOIN analytics.finding AS finding
    ON finding.tenant = :tenant
   AND finding.rule = 'register_falls'
   AND finding.kind = 'session'
   AND finding.entity_id = scope.entity_id
   AND finding.resolved_at IS NULL
 WHERE session.removed_at IS NULL
"""  # noqa: S608 - the names are ours

_ENERGY_ABOVE_POWER = f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       {end_of("session")} AS ended_at,
       jsonb_build_object(
           'energy_wh', session.energy_wh, 'max_power_w', session.max_power_w, 'connected_s', session.connected_s)
           AS evidence
{_SESSIONS}
   AND session.max_power_w > 0
   AND session.connected_s >= 0
   AND session.energy_wh > CAST(session.max_power_w AS numeric) * session.connected_s / 3600 * 1.1
"""

# Index: primary keys. A CDR that cancels another one counts against it.
_CDR_DIFFERS = f"""
SELECT shown.entity_id, shown.began_at, shown.ended_at,
       jsonb_build_object('energy_wh', shown.energy_wh, 'cdr_energy_wh', cdrs.energy_wh, 'cdrs', cdrs.number)
           AS evidence
  FROM (SELECT session.session_id AS entity_id,
               coalesce(session.started_at, '-infinity') AS began_at,
               {end_of("session")} AS ended_at,
               session.energy_wh,
               CASE jsonb_typeof(session.cdr_ids) WHEN 'array' THEN session.cdr_ids ELSE '[]' END AS cdr_ids
        {_SESSIONS}
           AND session.stopped_at IS NOT NULL
           AND session.cdr_ids IS NOT NULL) AS shown
 CROSS JOIN LATERAL (
       SELECT count(*) AS number,
              count(*) FILTER (WHERE (abs(cdr.energy_wh) < 1e15) IS NOT TRUE) AS unknown,
              sum(CASE WHEN cdr.is_credit THEN -abs(cdr.energy_wh) ELSE cdr.energy_wh END)
                  FILTER (WHERE abs(cdr.energy_wh) < 1e15) AS energy_wh
         FROM (SELECT DISTINCT CASE WHEN word ~ '^[0-9]{{1,18}}$' THEN CAST(word AS bigint) END AS cdr_id
                 FROM jsonb_array_elements_text(shown.cdr_ids) AS word) AS named
         LEFT JOIN charging.cdr AS cdr
           ON cdr.tenant = :tenant
          AND cdr.cdr_id = named.cdr_id
          AND cdr.deleted_at IS NULL) AS cdrs
 WHERE cdrs.number > 0
   AND cdrs.unknown = 0
   AND abs(cdrs.energy_wh - shown.energy_wh) > greatest(100, abs(shown.energy_wh) * 0.01)
"""  # noqa: S608 - the names are ours

_AMOUNT_WITHOUT_CURRENCY = f"""
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       {end_of("session")} AS ended_at,
       jsonb_build_object(
           'amount_with_tax', session.amount_with_tax, 'amount_without_tax', session.amount_without_tax) AS evidence
{_SESSIONS}
   AND (session.amount_with_tax <> 0 OR session.amount_without_tax <> 0)
   AND coalesce(btrim(session.currency), '') = ''
"""

# Index: the unique constraint of evse_state_interval. A status that is dated too far ahead counts from when it arrived,
# so it is dated long after the stretch that it begins.
_CLOCK_AHEAD = """
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
"""

# Index: primary keys; charge_point_tenant_location_id_idx.
_LOCATIONS = """
  FROM scope
  JOIN analytics.location AS location
    ON location.tenant = :tenant
   AND location.location_id = scope.entity_id
  LEFT JOIN charging.location AS shown
    ON shown.tenant = :tenant
   AND shown.location_id = scope.entity_id
 WHERE location.deleted_at IS NULL
   AND EXISTS (
       SELECT
         FROM analytics.charge_point AS charge_point
        WHERE charge_point.tenant = :tenant
          AND charge_point.location_id = scope.entity_id
          AND charge_point.deleted_at IS NULL)"""

_TIMEZONE_MISSING = f"""
SELECT location.location_id AS entity_id,
       CAST('-infinity' AS timestamptz) AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('timezone', left(shown.timezone, 100)) AS evidence
{_LOCATIONS}
   AND location.timezone IS NULL
"""

_NO_POSITION = f"""
SELECT location.location_id AS entity_id,
       CAST('-infinity' AS timestamptz) AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('latitude', location.latitude, 'longitude', location.longitude) AS evidence
{_LOCATIONS}
   AND (location.latitude IS NULL OR location.longitude IS NULL OR (location.latitude = 0 AND location.longitude = 0))
"""

# Index: primary keys.
_PROVISIONAL = """
SELECT session.session_id AS entity_id,
       coalesce(session.started_at, '-infinity') AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('evse_id', session.evse_id) AS evidence
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
  JOIN charging.session AS stored
    ON stored.tenant = :tenant
   AND stored.session_id = scope.entity_id
 WHERE session.removed_at IS NULL
   AND session.provisional
   AND stored.updated_at < CAST(:now AS timestamptz) - interval '10 minutes'
"""

# Index: downtime_period_tenant_charge_point_id_started_at_idx. A period of the charge point concerns all its EVSEs.
_PERIODS = """
         FROM analytics.downtime_period AS period
        WHERE period.tenant = :tenant
          AND period.charge_point_id = evse.charge_point_id
          AND (period.evse_id = evse.evse_id OR period.evse_id IS NULL)
          AND period.deleted_at IS NULL"""

# Index: primary keys; see _PERIODS. An EVSE is compared from the first sign on that AMPECO tracks it.
_TRACKED = f"""
  FROM scope
  JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = scope.entity_id
 CROSS JOIN LATERAL (
       SELECT least(evse.uptime_tracked_since, min(period.started_at)) AS since
         {_PERIODS}) AS tracked"""

# Indexes: primary keys of outage and evse_state_interval, within the scope; see _PERIODS. Outages do not overlap, so
# the last one that began before the end of a period overlaps it, or none does. A period in which the state was unknown
# for a time cannot be compared.
_OUTAGE_DIFFERS = f"""
SELECT evse.evse_id AS entity_id,
       outage.began_at,
       outage.ended_at,
       jsonb_build_object(
           'ampeco_began_at', period.began_at, 'ampeco_ended_at', period.ended_at, 'periods', period.downtimes,
           'downtime_period_id', period.first_id) AS evidence
{_TRACKED}
 CROSS JOIN LATERAL (
       SELECT known.began_at, known.ended_at
         FROM analytics.outage AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.began_at >= coalesce(scope.since, '-infinity')
          AND known.ended_at > tracked.since
          AND known.ended_at < 'infinity'
       OFFSET 0) AS outage
 CROSS JOIN LATERAL (
       SELECT count(*) AS number,
              count(*) FILTER (WHERE period.type = 'downtime') AS downtimes,
              min(period.started_at) FILTER (WHERE period.type = 'downtime') AS began_at,
              max(period.ended_at) FILTER (WHERE period.type = 'downtime') AS ended_at,
              min(period.downtime_period_id) FILTER (WHERE period.type = 'downtime') AS first_id,
              coalesce(bool_or(period.ended_at IS NULL), false) AS is_open
         {_PERIODS}
          AND period.started_at > outage.began_at - {LOOKBACK}
          AND period.started_at < outage.ended_at
          AND coalesce(period.ended_at, 'infinity') > outage.began_at) AS period
 WHERE NOT period.is_open
   AND CASE WHEN period.number = 0 THEN outage.ended_at > outage.began_at + interval '5 minutes'
            ELSE outage.began_at > period.began_at + interval '5 minutes'
              OR period.began_at > outage.began_at + interval '5 minutes'
              OR outage.ended_at > period.ended_at + interval '5 minutes'
              OR period.ended_at > outage.ended_at + interval '5 minutes'
            END
 UNION ALL
SELECT evse.evse_id,
       period.started_at,
       period.ended_at,
       jsonb_build_object(
           'ampeco_began_at', period.started_at, 'ampeco_ended_at', period.ended_at, 'periods', 1,
           'downtime_period_id', period.downtime_period_id)
  FROM scope
  JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = scope.entity_id
  JOIN LATERAL (
       SELECT period.downtime_period_id, period.started_at, period.ended_at
         {_PERIODS}
          AND period.type = 'downtime'
          AND period.started_at >= coalesce(scope.since, '-infinity')
          AND period.ended_at > period.started_at + interval '5 minutes') AS period ON true
  JOIN LATERAL (
       SELECT stretch.began_at
         FROM analytics.evse_state_interval AS stretch
        WHERE stretch.tenant = :tenant
          AND stretch.evse_id = scope.entity_id
          AND stretch.began_at <= period.started_at
        ORDER BY stretch.began_at DESC
        LIMIT 1) AS first ON true
  LEFT JOIN LATERAL (
       SELECT outage.ended_at
         FROM analytics.outage AS outage
        WHERE outage.tenant = :tenant
          AND outage.evse_id = scope.entity_id
          AND outage.began_at < period.ended_at
        ORDER BY outage.began_at DESC
        LIMIT 1) AS outage ON true
 WHERE coalesce(outage.ended_at, '-infinity') <= period.started_at
   AND NOT EXISTS (
       SELECT
         FROM analytics.evse_state_interval AS blind
        WHERE blind.tenant = :tenant
          AND blind.evse_id = scope.entity_id
          AND blind.began_at >= first.began_at
          AND blind.began_at < period.ended_at
          AND blind.state = 'unknown')
"""  # noqa: S608 - the names are ours

_ALL = (
    Rule(
        "session_open",
        "session",
        "medium",
        "The session has been open for over 24 hours",
        "Look whether the vehicle is still connected; if not, stop the session at AMPECO",
        "session",
        _SESSION_OPEN,
    ),
    Rule(
        "charging_without_session",
        "evse",
        "high",
        "The EVSE was charging for over 15 minutes, and no session overlaps the time",
        "Look whether AMPECO has a session that is missing here; if not, energy was delivered for free",
        "use",
        _CHARGING_WITHOUT_SESSION,
    ),
    Rule(
        "session_while_available",
        "session",
        "medium",
        "The session ran for over 15 minutes, and its EVSE was available throughout",
        "Look whether statuses of the charge point arrive; if they do, the vehicle was never connected",
        "session",
        _SESSION_WHILE_AVAILABLE,
    ),
    Rule(
        "sessions_at_once",
        "evse",
        "high",
        "Two sessions of one EVSE overlap by over a minute",
        "Look at both sessions at AMPECO: one of them probably lacks its stop, so energy and price may count twice",
        "use",
        _SESSIONS_AT_ONCE,
    ),
    Rule(
        "register_falls",
        "session",
        "medium",
        "A register of the meter fell within the session",
        "Compare the session's energy with the registers; the meter was replaced or reset, or a sample is wrong",
        "session",
        _REGISTER_FALLS,
    ),
    Rule(
        "energy_above_power",
        "session",
        "high",
        "The session has over 110 % of the energy that the EVSE's maximum power can deliver in its time",
        "Look whether the maximum power of the EVSE is right; if it is, the energy or the times are wrong",
        "session",
        _ENERGY_ABOVE_POWER,
    ),
    Rule(
        "cdr_differs",
        "session",
        "high",
        "The energy of the session's CDRs together differs from its own by over 1 % and over 100 Wh",
        "Compare both before the partner is billed; a CDR may have to be cancelled and sent again",
        "session",
        _CDR_DIFFERS,
    ),
    Rule(
        "amount_without_currency",
        "session",
        "medium",
        "The session has an amount and no currency",
        "Look at the currency of its tariff at AMPECO; sums leave the amount out until it has one",
        "session",
        _AMOUNT_WITHOUT_CURRENCY,
    ),
    Rule(
        "clock_ahead",
        "evse",
        "medium",
        "The present state comes from a status that is dated over a day after its arrival",
        "Set the clock of the charge point; until then its statuses count from their arrival",
        "use",
        _CLOCK_AHEAD,
    ),
    Rule(
        "timezone_missing",
        "location",
        "high",
        "The location has charge points, and no time zone that is known",
        "Set the time zone at AMPECO; without it, the location has no local days",
        "location",
        _TIMEZONE_MISSING,
    ),
    Rule(
        "outage_differs",
        "evse",
        "medium",
        "An outage and AMPECO's downtime differ by over 5 minutes in beginning or end, or one of them has no other",
        "Look at the evidence of the states; if they are right, correct the period at AMPECO",
        "outage",
        _OUTAGE_DIFFERS,
    ),
    Rule(
        "provisional",
        "session",
        "low",
        "Only parts of the session have arrived, and for over 10 minutes no read has completed it",
        "Look at `status` why AMPECO is not read; the session is completed by itself once it is",
        "session",
        _PROVISIONAL,
    ),
    Rule(
        "no_position",
        "location",
        "low",
        "The location has charge points and no position, or the position 0, 0",
        "Set the position at AMPECO, so that the location appears on maps",
        "location",
        _NO_POSITION,
    ),
)

#: All rules, by name.
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _ALL}


def describe() -> str:
    """Return the rules as Markdown, a row for each."""
    rows = [
        f"| `{rule.name}` | {rule.kind} | {rule.severity} | {rule.meaning} | {rule.remedy} |" for rule in RULES.values()
    ]
    return "\n".join(["| rule | entity | severity | meaning | what to do |", "|---|---|---|---|---|", *rows])
