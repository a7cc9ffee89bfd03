"""Records of hardware: makes, error codes, firmware, terminals, templates, jobs, parking spaces."""

from __future__ import annotations

from simulator.fleet.makes import ERROR_CODES, FIRST_MODEL, FIRST_VENDOR, MAKES
from simulator.fleet.records.record import Draft, Fields, RecordKind, next_of, rename
from simulator.fleet.resources import CURRENCY, TARIFF_GROUP_ID, TAX_ID

FIRST_TERMINAL = 7_800

#: What a downtime period is for: an exempt one does not count against the uptime.
_NOTICES = (
    ("exempt", "Planned maintenance"),
    ("exempt", "Power cut by the utility"),
    ("exempt", "Vandalism"),
    ("downtime", "Fault of the hardware"),
)

_JOBS = ("new", "in_progress", "completed")


def _vendor(draft: Draft) -> Fields:
    return {"name": draft.of(MAKES)[0]}


def _model(draft: Draft) -> Fields:
    model = draft.of(MAKES)[1]
    return {
        "name": model,
        "vendorId": FIRST_VENDOR + draft.number % len(MAKES),
        "defaultPhoto": f"https://files.example/{model}.png",
        "userManual": None,
    }


def _error_code(draft: Draft) -> Fields:
    vendor, code, description, action = draft.of(ERROR_CODES)
    return {
        "vendorId": vendor,
        "errorCode": code,
        "errorCodeDescription": description,
        "errorCodeCustomerAction": action,
    }


def _firmware(draft: Draft) -> Fields:
    _, model, version = draft.of(MAKES)
    return {
        "firmwareVersion": version,
        "details": "Fixes of the meter.",
        "chargePointVendorId": FIRST_VENDOR + draft.number % len(MAKES),
        "fileUrl": f"https://files.example/{model}-{version}.bin",
        "models": [FIRST_MODEL + draft.number % len(MAKES)],
        "createdAt": draft.created,
    }


def _configuration_template(draft: Draft) -> Fields:
    return {
        "name": draft.of(("Default", "Quiet heartbeat")),
        "ocppVersion": draft.of(("ocpp 1.6", "ocpp 2.0.1")),
    }


def _template(draft: Draft) -> Fields:
    evse = {
        "id": 1,
        "status": "active",
        "maxPower": 22_000,
        "networkId": "1",
        "currentType": "ac",
        "tariffGroupId": TARIFF_GROUP_ID,
        "allowsReservation": False,
    }
    return {"name": draft.of(("Home charger", "Street charger")), "evses": [evse], "subscriptionPlanIds": []}


def _certificate(draft: Draft) -> Fields:
    return {
        "pcId": f"WVWZZZ{draft.number:011d}",
        "name": "Company car",
        "vehicleType": "company",
        "userId": draft.id_of(draft.tenant.users),
        "idTags": [
            {
                "id": draft.id_of(draft.tenant.id_tags),
                "type": "emaid",
                "name": f"BG-AMP-C{draft.number:08d}",
                "paymentMethod": "pm-1",
                "status": "active",
            }
        ],
    }


def _notice(draft: Draft) -> Fields:
    type_, notice = draft.of(_NOTICES)
    return {"type": type_, "notice": notice, "description": f"{notice}.", "createdAt": draft.created}


def _installer_job(draft: Draft) -> Fields:
    return {
        "status": draft.of(_JOBS),
        "installationAndMaintenanceCompanyId": 81,
        "locationId": draft.id_of(draft.tenant.locations),
        "installerAdminId": 2,
        "pin": f"90{draft.number:04d}",
        "description": "Mount the charge point and test it.",
        "createdAt": draft.created,
        "chargePoints": [{"id": draft.id_of(draft.tenant.charge_points)}],
    }


def _parking_space(draft: Draft) -> Fields:
    return {
        "label": f"P{draft.number + 1}",
        "locationId": draft.id_of(draft.tenant.locations),
        "externalId": f"PS-{draft.number}",
        "status": "enabled",
        "occupancyStatus": draft.of(("available", "occupied")),
        "disabilitiesAccessible": draft.number % 3 == 0,
        "evses": [draft.id_of(draft.tenant.evses)],
    }


def _terminal(draft: Draft) -> Fields:
    """Return a terminal with the secrets of its make, which AMPECO sends too."""
    make = draft.of(("Ampeco", "AdyenCastles", "Nayax"))
    fields: Fields = {
        "name": f"Terminal {draft.number + 1}",
        "integrationId": 9,
        "terminalType": make,
        "operatorId": 1,
        "chargePointId": draft.id_of(draft.tenant.charge_points),
        "serialNumber": f"PT-{draft.number:05d}",
        "externalId": f"PT-{draft.number}",
        "defaultLanguage": "en",
    }
    if make == "Nayax":
        return fields | {"verificationCode": f"terminal-verification-code-{draft.number}"}
    fields |= {
        "adminToken": f"terminal-admin-token-{draft.number}",
        "networkStatus": "online",
        "currencyCode": CURRENCY,
        "networkStatusMonitoringEnabled": True,
        "kioskModeEnabled": False,
    }
    if make == "AdyenCastles":
        return fields | {"merchantAccount": "Merchant", "adyenApiKey": f"terminal-adyen-api-key-{draft.number}"}
    return fields | {"isOnline": True, "preauthorizeAmount": 50, "currencyId": 1, "valueAddedTaxId": TAX_ID}


KINDS = (
    RecordKind("charge-point-vendors", FIRST_VENDOR, _vendor, count=len(MAKES)),
    RecordKind("charge-point-models", FIRST_MODEL, _model, count=len(MAKES)),
    RecordKind("vendor-error-codes", 7_400, _error_code, count=len(ERROR_CODES)),
    RecordKind("firmware-versions", 7_600, _firmware, edit=rename("details"), is_replaceable=True),
    RecordKind("payment-terminals", FIRST_TERMINAL, _terminal, count=6, edit=rename()),
    RecordKind("configuration-templates", 8_000, _configuration_template, count=2, edit=rename(), is_replaceable=True),
    RecordKind("templates", 8_200, _template, count=2, edit=rename(), is_replaceable=True),
    RecordKind("provisioning-certificates", 8_400, _certificate, edit=rename(), is_replaceable=True),
    RecordKind("downtime-period-notices", 2_400, _notice, count=len(_NOTICES), edit=rename("description")),
    RecordKind("installer-jobs", 8_600, _installer_job, count=4, edit=next_of("status", _JOBS), is_replaceable=True),
    RecordKind(
        "parking-spaces",
        8_800,
        _parking_space,
        count=8,
        edit=next_of("occupancyStatus", ("available", "occupied")),
        is_replaceable=True,
    ),
)
