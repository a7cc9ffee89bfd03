"""Change sets of notifications: the facts, observations and refresh requests of each notification type."""

from __future__ import annotations

import contextlib
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from ampeco.notifications import hints, notices, payloads
from ampeco.privacy.people import ERASED_USER_ID
from ampeco.resources.commercial import Resource
from ampeco.resources.read_rules import READ_RULES, named_ids, readable_ids
from storage.state.changes import ChangeSet
from storage.state.facts import boot_values, charge_point_facts, entity_facts, evse_facts, session_facts
from storage.state.fold import BEGINNING, fact_from_notification
from storage.state.version import digest

#: The actions of hints after which a read shows the entity with the time of the change. A deprecated hint has none.
_CHANGES_THAT_READS_SHOW = (None, "created", "updated")


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
    _request_reads(changes, payload)
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
        if kind.name != "user" or entity_id != ERASED_USER_ID
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


def _request_reads(changes: ChangeSet, payload: payloads.Payload) -> None:
    """Request reads of the entities that a notification names, by the rules of :mod:`ampeco.resources.kinds`."""
    seen_at = _seen_at(payload)
    for kind, rule in READ_RULES.get(payload.notification or "", ()):
        if rule.urgency == "unusable":
            continue
        for entity_id in named_ids(payload, rule):
            if kind.name == "user" and entity_id == ERASED_USER_ID:
                continue  # an erased user cannot be read
            if kind.reference_filter is not None:
                changes.look_up(kind.name, entity_id)
            elif rule.urgency == "unknown":
                changes.read_if_unknown(kind.name, entity_id, seen_at=seen_at)
            else:
                changes.require_read(kind.name, entity_id, rule.urgency, changed_at=_changed_at(payload))


def _changed_at(payload: payloads.Payload) -> datetime | None:
    """Return when the entity of a hint changed, by the tenant's clock; None if a read must decide, as of a deletion."""
    if getattr(payload, "action", None) not in _CHANGES_THAT_READS_SHOW:
        return None
    at: datetime | None = getattr(payload, "last_updated_at", None)
    return at


def _seen_at(payload: payloads.Payload) -> datetime | None:
    """Return the time for which a notification shows that the entities that it names existed; None if it has none."""
    match payload:
        case payloads.SessionStartStop():  # the stop names what it started with, even if that is deleted
            return min(payload.started_at_timestamp or payload.last_updated_at, payload.last_updated_at)
        case payloads.SessionMeterValues():
            return max((sample.timestamp for sample in payload.meter_values), default=None)
        case payloads.HardwareStatus() | payloads.NetworkStatusChanged() | payloads.Boot():
            return payload.timestamp
        case notices.Notice():
            return payload.observed_at
        case hints.Hint():
            return payload.last_updated_at
        case _:
            return None


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
    if kind == "user" and resource.id == ERASED_USER_ID:
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
