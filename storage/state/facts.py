"""Make facts from AMPECO's models: which columns each source fills, and which clock orders its facts.

A snapshot (a session update, a master-data notification, a read) fills its column group.
A start or stop notice is a partial fact. The functions for snapshots take a fact factory, which makes
facts of a notification or of a read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from ampeco.notifications import hints, notices, payloads
from ampeco.privacy.people import NOBODY
from ampeco.resources import charging as resources
from ampeco.resources.commercial import Resource
from ampeco.resources.kinds import READ_RULES, named_ids, readable_ids
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


def changes_from_notification(payload: payloads.Payload, body: dict[str, Any], notification_id: UUID) -> ChangeSet:
    """Return the change set of one notification.

    Parameters:
        payload: the parsed notification.
        body: its JSON without secrets, for the column ``raw`` and for details of notices.
        notification_id: recorded with the observations.

    Raises:
        TypeError: this function does not handle the notification's model.
    """
    changes = ChangeSet()
    _mark(changes, payload)
    match payload:
        case payloads.SessionStartStop():
            _start_stop(changes, payload)
        case payloads.SessionUpdate():
            session_facts(changes, payload.session, body.get("session", {}), fact_from_notification)
        case payloads.SessionMeterValues():
            _meter_values(changes, payload, notification_id)
        case payloads.HardwareStatus():
            _hardware_status(changes, payload, notification_id)
        case payloads.NetworkStatusChanged():
            _network_status(changes, payload, notification_id)
        case payloads.Boot():
            _boot(changes, payload)
        case payloads.ChargePointSnapshotChanged():
            _charge_point_snapshot(changes, payload, body)
        case payloads.LocationChanged():
            _snapshot(changes, "location", payload.location, body, payload)
        case hints.TariffChanged():
            _snapshot(changes, "tariff", payload.tariff, body, payload)
        case hints.UserChanged():
            _snapshot(changes, "user", payload.user, body, payload)
        case notices.Notice():
            _notice(changes, payload, body, notification_id)
        case hints.Hint() | payloads.ChargePointChanged() | payloads.EvseChanged():
            pass  # these only request reads
        case _:
            raise TypeError(f"{type(payload).__name__} has a model but no place in the tables")
    return changes


def reads_of_unusable(body: dict[str, Any]) -> ChangeSet:
    """Return a change set with reads of the entities that an unusable notification names.

    The entities that the notification is about are read even if they are stored, because its facts are lost.

    Parameters:
        body: the JSON of the notification; ids in it that cannot be parsed are left out.
    """
    changes = ChangeSet()
    named = [
        (kind, rule, entity_id)
        for kind, rule, entity_id in readable_ids(body)
        if kind.name != "user" or entity_id != NOBODY
    ]
    is_mentioned_only = all(rule.urgency == "unknown" for _, rule, _ in named)
    for kind, rule, entity_id in named:
        if kind.reference_filter is not None:
            changes.look_up(kind.name, entity_id)
        elif rule.urgency == "unknown" and not is_mentioned_only:
            changes.read_if_unknown(kind.name, entity_id)
        else:
            changes.require_read(kind.name, entity_id, "changed")
    return changes


def _mark(changes: ChangeSet, payload: payloads.Payload) -> None:
    """Request reads of the entities that a notification names, by the rules of :mod:`ampeco.resources.kinds`."""
    for kind, rule in READ_RULES.get(payload.notification or "", ()):
        if rule.urgency == "unusable":
            continue
        for entity_id in named_ids(payload, rule):
            if kind.name == "user" and entity_id == NOBODY:
                continue  # an erased user cannot be read
            if kind.reference_filter is not None:
                changes.look_up(kind.name, entity_id)
            elif rule.urgency == "unknown":
                changes.read_if_unknown(kind.name, entity_id)
            else:
                changes.require_read(kind.name, entity_id, rule.urgency)


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
    if session.authorization is not None:
        _session_authorization(changes, session.authorization, raw.get("authorization") or {})
    changes.read_if_unknown("evse", session.evse_id)
    changes.read_if_unknown("charge_point", session.charge_point_id)


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


def _start_stop(changes: ChangeSet, notice: payloads.SessionStartStop) -> None:
    """Add the partial facts of a start or stop notice; a read completes them unless a snapshot arrives first."""
    if notice.action not in ("start", "stop"):
        changes.require_read("session", notice.session_id, "changed")  # only a read shows what changed
        return
    stopped = notice.action == "stop"
    at, session_id = notice.last_updated_at, notice.session_id
    state = {
        "status": "finished" if stopped else "active",
        "charge_point_id": notice.charge_point_id,
        "evse_id": notice.evse_id,
        "started_at": notice.started_at_timestamp,
        "stopped_at": notice.stopped_at_timestamp if stopped else None,
        "stop_reason": notice.reason if stopped else None,
        "energy_wh": notice.energy_consumed if stopped else Decimal(0),
    }
    # At the start the meter register of the stop is unknown, whatever the notice contains.
    meter = {"meter_start_wh": notice.meter_start, "meter_stop_wh": notice.meter_stop if stopped else None}
    changes.facts.append(fact_from_notification("session", session_id, "state", at, state, final=stopped, partial=True))
    changes.facts.append(fact_from_notification("session", session_id, "meter", at, meter, final=stopped))
    if not stopped:
        detail = {
            "user_id": notice.user_id,
            "id_tag": notice.id_tag,
            "external_session_id": notice.external_session_id,
        }
        changes.facts.append(fact_from_notification("session", session_id, "detail", at, detail, partial=True))


def _meter_values(changes: ChangeSet, payload: payloads.SessionMeterValues, notification_id: UUID) -> None:
    ordinals: dict[tuple[datetime, str], int] = {}
    for sample in payload.meter_values:
        measurand = sample.measurand or ""
        ordinal = ordinals[sample.timestamp, measurand] = ordinals.get((sample.timestamp, measurand), -1) + 1
        changes.observe(
            "meter_value",
            {
                "session_id": payload.session_id,
                "measured_at": sample.timestamp,
                "measurand": measurand,
                "ordinal": ordinal,
                "value": sample.value,
                "unit": sample.unit,
                "location": sample.location,
                "evse_id": payload.evse_id,
                "charge_point_id": payload.charge_point_id,
                "notification_id": notification_id,
            },
        )


def _hardware_status(changes: ChangeSet, payload: payloads.HardwareStatus, notification_id: UUID) -> None:
    if not payload.was_read("hardware_status"):
        # A null status would mean that it never reported one.
        subject = (
            ("evse", payload.evse_id) if payload.evse_id is not None else ("charge_point", payload.charge_point_id)
        )
        changes.require_read(*subject, "changed")
        return
    status = {
        "hardware_status": payload.hardware_status,
        "error_code": payload.error_code,
        "error_info": payload.info,
        "vendor_id": payload.vendor_id,
        "vendor_error_code": payload.vendor_error_code,
    }
    observation = status | {
        "charge_point_id": payload.charge_point_id,
        "observed_at": payload.timestamp,
        "source": "notification",
        "notification_id": notification_id,
    }
    if payload.evse_id is None:  # OCPP connector 0: the charge point itself
        changes.facts.append(
            fact_from_notification("charge_point", payload.charge_point_id, "hardware", payload.timestamp, status)
        )
        changes.observe("charge_point_hardware_observation", observation)
        return
    changes.facts.append(fact_from_notification("evse", payload.evse_id, "hardware", payload.timestamp, status))
    # Until the EVSE itself is read, this is the only source of its charge point.
    parent = {"charge_point_id": payload.charge_point_id}
    changes.facts.append(fact_from_notification("evse", payload.evse_id, "master", BEGINNING, parent, partial=True))
    changes.observe("evse_status_observation", observation | {"evse_id": payload.evse_id})


def _network_status(changes: ChangeSet, payload: payloads.NetworkStatusChanged, notification_id: UUID) -> None:
    if payload.network_status is None:
        changes.require_read("charge_point", payload.charge_point_id, "changed")
        return
    status = {"network_status": payload.network_status}
    changes.facts.append(
        fact_from_notification("charge_point", payload.charge_point_id, "network", payload.timestamp, status)
    )
    changes.observe(
        "charge_point_network_observation",
        status
        | {
            "charge_point_id": payload.charge_point_id,
            "observed_at": payload.timestamp,
            "source": "notification",
            "notification_id": notification_id,
        },
    )


def _boot(changes: ChangeSet, payload: payloads.Boot) -> None:
    boot = payload.boot_notification
    if boot.model_fields_set:
        changes.facts.append(
            fact_from_notification(
                "charge_point", payload.charge_point_id, "boot", payload.timestamp, boot_values(boot)
            )
        )


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


def _charge_point_snapshot(
    changes: ChangeSet, payload: payloads.ChargePointSnapshotChanged, body: dict[str, Any]
) -> None:
    """Add the facts of the deprecated snapshot of a charge point.

    Its vocabulary is older and it has fewer columns, so the facts are provisional until a read.
    """
    if payload.action == "deleted":
        return
    charge_point = payload.charge_point
    raw = body.get("chargePoint") or body.get("charge-point") or {}
    clock = charge_point.last_updated_at or payload.last_updated_at
    if clock is not None:  # without a time it is only a hint
        charge_point_facts(changes, charge_point, raw, partial(fact_from_notification, partial=True), at=clock)
    raw_evses = _by_id(raw.get("evses"))
    for evse in payload.evses:
        # The notification has no time of the EVSE. The time of the charge point may be later than the EVSE's own
        # last update, and then a read of the EVSE could never win.
        evse_facts(
            changes, evse, raw_evses.get(evse.id, {}), partial(fact_from_notification, partial=True), at=BEGINNING
        )


def _by_id(raws: Any) -> dict[int, dict[str, Any]]:
    """Return the JSON of several entities by their ids, without those whose id cannot be parsed."""
    by_id: dict[int, dict[str, Any]] = {}
    for raw in raws if isinstance(raws, list) else [raws]:
        if isinstance(raw, dict):
            with contextlib.suppress(ValidationError):
                by_id[Resource.model_validate({"id": raw.get("id")}).id] = raw
    return by_id


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
                "tags": charge_point.tags and list(charge_point.tags),
                "created_at": charge_point.created_at,
                "raw": raw,
            },
        )
    )
    changes.read_if_unknown("location", charge_point.location_id)


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
    changes.read_if_unknown("charge_point", evse.charge_point_id)


def _snapshot(
    changes: ChangeSet,
    kind: str,
    resource: Any,
    body: dict[str, Any],
    payload: payloads.LocationChanged | hints.TariffChanged | hints.UserChanged,
) -> None:
    """Add the provisional facts of an entity that the body contains under the name of its kind."""
    if payload.action in ("deleted", "permanently deleted"):
        return  # the read decides, and a deleted entity's snapshot may contain less than is stored
    if kind == "user" and resource.id == NOBODY:
        return  # an erased user
    clock = resource.last_updated_at or payload.last_updated_at
    if clock is not None:  # without a time it is only a hint
        entity_facts(
            changes, kind, resource, body.get(kind, {}), partial(fact_from_notification, partial=True), at=clock
        )


def _notice(changes: ChangeSet, notice: notices.Notice, body: dict[str, Any], notification_id: UUID) -> None:
    """Add the row of a notice, which its subject, its time and its content identify."""
    details = {name: value for name, value in body.items() if name != "notification"}
    changes.observe(
        "notice",
        {
            "subject": notice.subject,
            "observed_at": notice.observed_at,
            "digest": digest(details),
            "charge_point_id": notice.charge_point_id,
            "evse_id": notice.evse_id,
            "session_id": notice.session_id,
            "user_id": notice.user_id,
            "circuit_id": notice.circuit_id,
            "details": details,
            "notification_id": notification_id,
        },
    )


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
    changes.read_if_unknown("authorization", authorization.id)


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
