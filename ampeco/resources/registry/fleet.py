"""The kinds of the fleet: what is built and how it runs."""

from __future__ import annotations

from typing import Any

from ampeco.resources import charging as resources
from ampeco.resources import equipment
from ampeco.resources.commercial import Resource
from ampeco.resources.kind import DAY, HOUR, WEEK, Kind, ReadRule

LOCATION = Kind(
    "location",
    resources.Location,
    "locations/v2.0",
    group="fleet",
    parts=(("include[]", "chargingZones"),),
    read_rules=(ReadRule("LocationChangedNotification", "location.id"),),
)

CHARGE_POINT = Kind(
    "charge_point",
    resources.ChargePoint,
    "charge-points/v2.0",
    group="fleet",
    parts=(("include[]", "lastBootNotification"),),
    has_roaming_filter=True,
    read_rules=(
        ReadRule("chargePoint.changed", "charge_point_id"),
        ReadRule("ChargePointChangedNotification", "charge_point.id"),
        ReadRule("session.start.stop.notification", "charge_point_id", "unknown"),
        ReadRule("SessionStartStopNotification", "charge_point_id", "unknown"),
        ReadRule("HardwareStatusNotification", "charge_point_id", "unknown"),
        ReadRule("NetworkStatusNotification", "charge_point_id", "unknown"),
        ReadRule("BootNotification", "charge_point_id", "unknown"),
    ),
)

EVSE = Kind(
    "evse",
    resources.Evse,
    "evses/v2.1",
    group="fleet",
    parts=(("include[]", "connectors"),),
    has_roaming_filter=True,
    read_rules=(
        ReadRule("evse.changed", "evse_id"),
        ReadRule("ChargePointChangedNotification", "evses.id"),
        ReadRule("session.start.stop.notification", "evse_id", "unknown"),
        ReadRule("SessionStartStopNotification", "evse_id", "unknown"),
        ReadRule("HardwareStatusNotification", "evse_id", "unknown"),
    ),
)

FLEET: tuple[Kind[Any], ...] = (
    LOCATION,
    CHARGE_POINT,
    EVSE,
    Kind(
        "parking_space",
        Resource,
        "parking-spaces/v1.0",
        group="fleet",
        parts=(("include[]", "evses"),),
        read_rules=(ReadRule("parkingSpace.occupancyStatus.changed", "parking_space_id"),),
    ),
    Kind(
        "installer_job",
        Resource,
        "installer-jobs/v1.0",
        group="fleet",
        paging="page",
        changed_every=HOUR,
        read_rules=(ReadRule("installerJob.changed", "id"),),
    ),
    Kind(
        "evse_downtime_period",
        equipment.EvseDowntimePeriod,
        "evse-downtime-periods/v1.0",
        group="fleet",
        paging="page",
        changed_every=HOUR,
        full_every=WEEK,  # a person may delete a period, which no filter shows
    ),
    Kind(
        "charge_point_downtime_period",
        equipment.DowntimePeriod,
        "charge-point-downtime-periods/v1.0",
        group="fleet",
        paging="page",
        changed_every=HOUR,
        full_every=WEEK,  # a person may delete a period, which no filter shows
    ),
    Kind(
        "downtime_period_notice",
        equipment.DowntimePeriodNotice,
        "downtime-period-notices/v1.0",
        group="fleet",
        paging="page",
        changed_filters=(),
    ),
    Kind(
        "charge_point_model",
        equipment.ChargePointModel,
        "charge-point-models/v1.0",
        group="fleet",
        paging="page",
        changed_filters=(),
    ),
    Kind(
        "charge_point_vendor",
        equipment.ChargePointVendor,
        "charge-point-vendors/v1.0",
        group="fleet",
        paging="page",
        changed_filters=(),
    ),
    Kind(
        "vendor_error_code",
        equipment.VendorErrorCode,
        "vendor-error-codes/v2.0",
        group="fleet",
        paging="page",
        changed_filters=(),
    ),
    Kind(
        "charge_point_template",
        Resource,
        "templates/v1.0",
        group="fleet",
        paging="page",
        changed_filters=(),
        has_read=False,
    ),
    Kind("configuration_template", Resource, "configuration-templates/v1.0", group="fleet", changed_filters=()),
    Kind("firmware_version", equipment.FirmwareVersion, "firmware-versions/v1.0", group="fleet", changed_filters=()),
    Kind(
        "security_event",
        Resource,
        "security-events/v2.0",
        group="fleet",
        changed_filters=("timestamp_from",),
        changed_margin=DAY,
        changed_every=HOUR,
    ),
)
