"""Rules about locations."""

from __future__ import annotations

from analytics.findings.rules.rule import Rule

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

TIMEZONE_MISSING = Rule(
    name="timezone_missing",
    kind="location",
    severity="high",
    scope="location",
    meaning="The location has charge points, and no time zone that is known",
    remedy="Set the time zone at AMPECO; without it, the location has no local days",
    query=f"""
SELECT location.location_id AS entity_id,
       CAST('-infinity' AS timestamptz) AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('timezone', left(shown.timezone, 100)) AS evidence
{_LOCATIONS}
   AND location.timezone IS NULL
""",
)

NO_POSITION = Rule(
    name="no_position",
    kind="location",
    severity="low",
    scope="location",
    meaning="The location has charge points and no position, or the position 0, 0",
    remedy="Set the position at AMPECO, so that the location appears on maps",
    query=f"""
SELECT location.location_id AS entity_id,
       CAST('-infinity' AS timestamptz) AS began_at,
       CAST('infinity' AS timestamptz) AS ended_at,
       jsonb_build_object('latitude', location.latitude, 'longitude', location.longitude) AS evidence
{_LOCATIONS}
   AND (location.latitude IS NULL OR location.longitude IS NULL OR (location.latitude = 0 AND location.longitude = 0))
""",
)
