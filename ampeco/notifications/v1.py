"""Rename the keys of AMPECO's first API to those of the present one.

ChargePointChangedNotification still has a charge point and its EVSEs with the keys of charge
points v1.0. Here the keys get their v2.0 names, so that one model parses both. An absent key stays
absent, and a key without a successor keeps its name. ``ampeco.values`` translates words that differ
as values (``active`` for ``enabled``).
"""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
Places = dict[str, tuple[str, ...]]

#: Old key -> its new place: a key, or an object's name and the key in it.
_CHARGE_POINT: Places = {
    "networkId": ("network", "id"),
    "networkProtocol": ("network", "protocol"),
    "networkIp": ("network", "ip"),
    "networkPort": ("network", "port"),
    "accessType": ("type",),
    "firstConnection": ("firstContactAt",),
    "autoFaultRecovery": ("enableAutoFaultRecovery",),
    "displayTariffsAndCosts": ("displayTariffAndCosts",),
    "currentSecurityProfile": ("security", "currentProfile"),
    "desiredSecurityProfile": ("security", "desiredProfile"),
    "desiredSecurityProfileStatus": ("security", "desiredProfileStatus"),
    "hardwareEnabledSecurityProfile": ("security", "hardwareEnabledProfile"),
    "ownerUserId": ("user", "id"),
    "ownerPartnerId": ("partner", "id"),
    "ownerPartnerContractId": ("partner", "contractId"),
    "partnerCorporateBillingAsDefault": ("partner", "corporateBillingAsDefault"),
    "partnerAccessType": ("partner", "accessType"),
}

_EVSE: Places = {
    "maxPower": ("powerOptions", "maxPower"),
    "maxVoltage": ("powerOptions", "maxVoltage"),
    "maxAmperage": ("powerOptions", "maxAmperage"),
}


def charge_point(old: JsonObject) -> tuple[JsonObject, list[Any]]:
    """Return a v1.0 charge point with v2.0's keys, and its EVSEs, which v2.0 keeps apart.

    Each EVSE gets its v2.1 keys and its charge point's id. Values are not checked here: an EVSE
    that is not an object is returned as it is, and the model refuses it.
    """
    new = _renamed(old, _CHARGE_POINT)
    if isinstance(capabilities := new.get("capabilities"), list):
        new["capabilities"] = [word.lower() if isinstance(word, str) else word for word in capabilities]
    evses = new.pop("evses", None)
    if not isinstance(evses, list):
        return new, [] if evses is None else [evses]
    return new, [_evse(evse, new.get("id")) for evse in evses]


def _evse(old: Any, charge_point_id: Any) -> Any:
    if not isinstance(old, dict):
        return old
    return {"chargePointId": charge_point_id, **_renamed(old, _EVSE)}


def _renamed(old: JsonObject, places: Places) -> JsonObject:
    new: JsonObject = {key: value for key, value in old.items() if key not in places}
    for key, (outer, *inner) in places.items():
        if key not in old:
            continue
        if inner:
            present = new.get(outer)
            new[outer] = {**(present if isinstance(present, dict) else {}), inner[0]: old[key]}
        else:
            new[outer] = old[key]
    return new
