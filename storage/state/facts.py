"""Make facts of AMPECO's resources: which columns each fills, and which clock orders the facts.

A snapshot (a session update, a master-data notification, a read) fills its column group. The functions for snapshots
take a fact factory, which makes facts of a notification or of a read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from ampeco.resources import charging as resources
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import BEGINNING, Fact, fact_from_notification, fact_from_read
from storage.state.version import digest

#: Makes a fact: ``(kind, entity_id, group, at, values)``.
FactFactory = Callable[[str, int, str, datetime, dict[str, Any]], Fact]

#: The attribute of a kind's column, where it has another name than the column.
_UNLIKE_ITS_COLUMN = {
    ("authorization", "id_tag"): "tag_uid",
    ("location", "name"): "default_name",
    ("location", "street_address"): "default_address",
}


def session_facts(changes: ChangeSet, session: resources.Session, raw: dict[str, Any], make_fact: FactFactory) -> None:
    """Add the facts of a session snapshot: its state and detail, its periods and its authorization.

    Parameters:
        changes: the change set to extend.
        session: the parsed session.
        raw: its JSON without secrets.
        make_fact: makes facts of the notification or the read.
    """
    at = session.last_updated_at
    if make_fact is fact_from_notification:
        # All groups get the same rank, so that of two snapshots of one second the same one wins in each group.
        make_fact = partial(fact_from_notification, final=session.status in resources.FINAL_SESSION_STATES)
    changes.facts.append(
        make_fact(
            "session",
            session.id,
            "state",
            at,
            {
                "status": session.status,
                "charge_point_id": session.charge_point_id,
                "evse_id": session.evse_id,
                "started_at": session.started_at,
                "stopped_at": session.stopped_at,
                "stop_reason": session.reason,
                "energy_wh": session.energy_wh,
            },
        )
    )
    changes.facts.append(make_fact("session", session.id, "detail", at, _session_detail(session, raw)))
    for period in session.charging_periods or ():
        changes.facts.append(
            make_fact(
                "charging_period",
                period.id,
                "master",
                at,
                {
                    "started_at": period.started_at,
                    "stopped_at": period.stopped_at,
                    "charging_state": period.charging_state,
                    "energy_wh": period.energy,
                    "amount": period.amount,
                },
            )
        )
        changes.facts.append(_belongs("charging_period", period.id, session.id))
        _price(changes, "charging_period", period, at, make_fact)
    _price(changes, "session", session, at, make_fact)
    if session.authorization is not None:
        _session_authorization(changes, session.authorization, raw.get("authorization") or {})
    # A session keeps naming its EVSE and its charge point after they are deleted: it only shows that they existed
    # when it started.
    seen_at = min(session.started_at or at, at)
    changes.read_if_unknown("evse", session.evse_id, seen_at=seen_at)
    changes.read_if_unknown("charge_point", session.charge_point_id, seen_at=seen_at)
    changes.read_if_unknown("tariff_snapshot", session.tariff_snapshot_id, seen_at=seen_at)
    for cdr_id in (session.roaming and session.roaming.cdr_ids) or ():
        changes.read_if_unknown("cdr", cdr_id, seen_at=at)


def _price(
    changes: ChangeSet,
    kind: str,
    priced: resources.Session | resources.ChargingPeriod,
    at: datetime,
    make_fact: FactFactory,
) -> None:
    """Add the parts of a price, if the snapshot has them: AMPECO leaves them out unless a query asks for them."""
    if priced.price_breakdown is not None:
        values = {"price_breakdown": list(priced.price_breakdown)}
        changes.facts.append(make_fact(kind, priced.id, "price", at, values))


def _session_detail(session: resources.Session, raw: dict[str, Any]) -> dict[str, Any]:
    energy, power = session.energy_consumption, session.power
    return {
        "connector_id": session.connector_id,
        "user_id": session.user_id,
        "id_tag": session.id_tag,
        "external_session_id": session.external_session_id,
        "authorization_id": session.authorization_id,
        "booking_id": session.booking_id,
        "original_session_id": session.original_session_id,
        "extended_by_session_id": session.extended_by_session_id,
        "energy_grid_wh": energy and energy.grid,
        "energy_local_wh": energy and energy.local,
        "non_billable_energy_wh": session.non_billable_energy,
        "power_w": power and power.latest,
        "power_peak_w": power and power.peak,
        "power_average_w": power and power.average,
        "soc_percent": session.soc_percent,
        "amount_with_tax": session.amount_with_tax,
        "amount_without_tax": session.amount_without_tax,
        "currency": session.currency,
        "tax_percent": session.tax and session.tax.tax_percentage,
        "electricity_cost": session.electricity_cost,
        "payment_type": session.payment_type,
        "payment_method_id": session.payment_method_id,
        "payment_status": session.payment_status,
        "payment_status_updated_at": session.payment_status_updated_at,
        "billing_status": session.billing_status,
        "tariff_snapshot_id": session.tariff_snapshot_id,
        "receipt_id": session.receipt_id,
        "terminal_id": session.terminal_id,
        "raw": raw,
    }


def boot_values(boot: resources.BootDetails) -> dict[str, Any]:
    """Return the columns of the group ``boot`` from the details of a boot notification."""
    return {
        "boot_vendor": boot.vendor,
        "boot_model": boot.model,
        "firmware_version": boot.firmware_version,
        "charge_point_serial_number": boot.charge_point_serial_number,
        "charge_box_serial_number": boot.charge_box_serial_number,
        "meter_type": boot.meter_type,
        "meter_serial_number": boot.meter_serial_number,
        "iccid": boot.iccid,
        "imsi": boot.imsi,
    }


def charge_point_facts(
    changes: ChangeSet,
    charge_point: resources.ChargePoint,
    raw: dict[str, Any],
    make_fact: FactFactory,
    *,
    at: datetime | None = None,
) -> None:
    """Add the facts of a charge point's master data; its statuses have clocks of their own.

    Parameters:
        changes: the change set to extend.
        charge_point: the parsed charge point.
        raw: its JSON without secrets.
        make_fact: makes facts of the notification or the read.
        at: the time of the facts, if the charge point has no ``last_updated_at``.

    Raises:
        ValueError: the facts have no time.
    """
    clock = charge_point.last_updated_at or at
    if clock is None:
        raise ValueError(f"charge point {charge_point.id} comes without a time that says how new it is")
    network = charge_point.network
    changes.facts.append(
        make_fact(
            "charge_point",
            charge_point.id,
            "master",
            clock,
            {
                "name": charge_point.name,
                "access_type": charge_point.type,
                "status": charge_point.status,
                "location_id": charge_point.location_id,
                "charging_zone_id": charge_point.charging_zone_id,
                "network_id": network and network.id,
                "network_protocol": network and network.protocol,
                "communication_mode": charge_point.communication_mode,
                "external_id": charge_point.external_id,
                "model_id": charge_point.model_id,
                "partner_id": charge_point.partner and charge_point.partner.id,
                "owner_user_id": charge_point.user and charge_point.user.id,
                "roaming_operator_id": charge_point.roaming_operator_id,
                "managed_by_operator": charge_point.managed_by_operator,
                "uptime_tracking_enabled": charge_point.uptime_tracking_enabled,
                "uptime_tracking_activated_at": charge_point.uptime_tracking_activated_at,
                "tags": charge_point.tags and list(charge_point.tags),
                "created_at": charge_point.created_at,
                "raw": raw,
            },
        )
    )
    changes.read_if_unknown("location", charge_point.location_id, seen_at=clock)


def evse_facts(
    changes: ChangeSet, evse: resources.Evse, raw: dict[str, Any], make_fact: FactFactory, *, at: datetime | None = None
) -> None:
    """Add the facts of an EVSE's master data and of its connectors; its hardware status has its own clock.

    Parameters:
        changes: the change set to extend.
        evse: the parsed EVSE.
        raw: its JSON without secrets.
        make_fact: makes facts of the notification or the read.
        at: the time of the facts, if the EVSE has no ``last_updated_at``.

    Raises:
        ValueError: the facts have no time.
    """
    clock = evse.last_updated_at or at
    if clock is None:
        raise ValueError(f"EVSE {evse.id} comes without a time that says how new it is")
    power = evse.power_options
    changes.facts.append(
        make_fact(
            "evse",
            evse.id,
            "master",
            clock,
            {
                "charge_point_id": evse.charge_point_id,
                "physical_reference": evse.physical_reference,
                "label": evse.label,
                "current_type": evse.current_type,
                "network_id": evse.network_id,
                "status": evse.status,
                "max_power_w": power and power.max_power,
                "max_voltage_v": power and power.max_voltage,
                "max_amperage_a": power and power.max_amperage,
                "phases": power and power.phases,
                "tariff_group_id": evse.tariff_group_id,
                "allows_reservation": evse.allows_reservation,
                "booking_enabled": evse.booking_enabled,
                "external_id": evse.external_id,
                "roaming_operator_id": evse.roaming_operator_id,
                "roaming_evse_id": evse.roaming and evse.roaming.evse_id,
                "created_at": evse.created_at,
                "raw": raw,
            },
        )
    )
    for connector in evse.connectors or ():
        if not (connector.type or connector.format or connector.status):
            continue  # the older vocabulary contains only the connector's id
        changes.facts.append(
            make_fact(
                "connector",
                connector.id,
                "master",
                clock,
                {
                    "type": connector.type,
                    "format": connector.format,
                    "status": connector.status,
                },
            )
        )
        changes.facts.append(_belongs("connector", connector.id, evse.id))
    changes.read_if_unknown("charge_point", evse.charge_point_id, seen_at=clock)


def charging_zone_facts(
    changes: ChangeSet, location: resources.Location, make_fact: FactFactory, *, at: datetime
) -> None:
    """Add the facts of a location's charging zones, if the answer has them.

    Parameters:
        changes: the change set to extend.
        location: the parsed location.
        make_fact: makes facts of the read.
        at: the time of the facts, if the location has no ``last_updated_at``.
    """
    for zone in location.charging_zones or ():
        values = {"name": zone.name, "status": zone.status}
        changes.facts.append(make_fact("charging_zone", zone.id, "master", location.last_updated_at or at, values))
        changes.facts.append(_belongs("charging_zone", zone.id, location.id))


def _session_authorization(changes: ChangeSet, authorization: resources.Authorization, raw: dict[str, Any]) -> None:
    """Add the provisional fact of the authorization that a session snapshot contains.

    Its vocabulary is older, and it lacks the charge point and the EVSE. So its fact is provisional even if a read of
    the session contains it: a read of the authorization itself shows more.
    """
    clock = authorization.last_updated_at or authorization.created_at
    if clock is not None:  # without a time no fact can be ordered; the session keeps the authorization in `raw`
        entity_facts(
            changes, "authorization", authorization, raw, partial(fact_from_notification, partial=True), at=clock
        )
    changes.read_if_unknown("authorization", authorization.id, seen_at=clock)


def entity_facts(
    changes: ChangeSet,
    kind: str,
    resource: Any,
    raw: dict[str, Any],
    make_fact: FactFactory,
    *,
    at: datetime | None = None,
) -> None:
    """Add the fact of an entity's snapshot, with each column from the attribute of the same name.

    Parameters:
        changes: the change set to extend.
        kind: the kind of the entity.
        resource: the parsed entity.
        raw: its JSON without secrets.
        make_fact: makes facts of the notification or the read.
        at: the time of the fact, if the entity has no ``last_updated_at``.

    Raises:
        ValueError: the fact has no time.
    """
    clock = resource.last_updated_at or at
    if clock is None:
        raise ValueError(f"{kind} {resource.id} comes without a time that says how new it is")
    values: dict[str, Any] = {"raw": raw}
    for column in MIRRORS[kind].group("master").columns:
        if column not in values:
            values[column] = getattr(resource, _UNLIKE_ITS_COLUMN.get((kind, column), column))
    changes.facts.append(make_fact(kind, resource.id, "master", clock, values))


def status_log_values(entry: resources.StatusLogEntry) -> dict[str, Any]:
    """Return the columns of the group ``hardware`` from an entry of a status log."""
    return {
        "hardware_status": entry.status,
        "error_code": entry.error_code,
        "error_info": entry.info,
        "vendor_id": entry.vendor_id,
        "vendor_error_code": entry.vendor_error_code,
    }


def describe_error(changes: ChangeSet, entry: resources.StatusLogEntry) -> None:
    """Add what an error code means to the history, if an entry of a status log says it."""
    if entry.error_code_description or entry.error_code_customer_action:
        row = {
            "error_code": entry.error_code,
            "vendor_id": entry.vendor_id,
            "vendor_error_code": entry.vendor_error_code,
            "description": entry.error_code_description,
            "customer_action": entry.error_code_customer_action,
        }
        changes.observe("error_description", {"digest": digest(row), **row})


def observe_consumption(changes: ChangeSet, session_id: int, point: resources.ConsumptionPoint) -> None:
    """Add a point of a session's consumption to the history."""
    row = {"measured_at": point.timestamp, "energy_wh": point.energy, "power_w": point.power}
    changes.observe("consumption_point", {"session_id": session_id, **row})


def _belongs(child: str, child_id: int, parent_id: int) -> Fact:
    """Make the fact that a child belongs to a parent, which any read of the child's parent outranks."""
    return fact_from_notification(child, child_id, "presence", BEGINNING, {MIRRORS[child].parent_key: parent_id})


def presence(
    kind: str,
    entity_id: int,
    *,
    began_at: datetime,
    gone: bool,
    parent_id: int | None = None,
    gone_at: datetime | None = None,
) -> Fact:
    """Make the fact that a read found an entity, or that it did not, which is a tombstone.

    Parameters:
        kind: the kind of the entity.
        entity_id: its id.
        began_at: when the read began, by the tenant's clock.
        gone: whether the read did not find it.
        parent_id: the id of a child's parent, which was read.
        gone_at: the time of the tombstone, if it is another one than ``began_at``.
    """
    values: dict[str, Any] = {"deleted_at": (gone_at or began_at) if gone else None}
    if parent_id is not None:
        values[MIRRORS[kind].parent_key] = parent_id
    return fact_from_read(kind, entity_id, "presence", began_at, values, began_at=began_at, rank="0" if gone else "1")


def read_fact_factory(began_at: datetime) -> FactFactory:
    """Return the fact factory of a read.

    Parameters:
        began_at: when the read began, by the tenant's clock.
    """
    return partial(fact_from_read, began_at=began_at)
