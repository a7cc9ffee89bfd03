"""Records of roaming: connections, operators, providers and their tariffs."""

from __future__ import annotations

from simulator.fleet.build import ROAMING_OPERATOR
from simulator.fleet.records.record import Draft, Fields, RecordKind, rename
from simulator.fleet.resources import COUNTRY, CURRENCY, TARIFF_GROUP_ID


def _connection(draft: Draft) -> Fields:
    return {
        "protocol": draft.of(("OCPI", "Hubject OICP 2.3")),
        "endpoint": f"https://hub-{draft.number}.example/ocpi",
        "ocpi": draft.of(({"token": f"roaming-connection-token-{draft.number}"}, None)),
    }


def _operator(draft: Draft) -> Fields:
    return _role(draft, "CPO") | {
        "enabled": True,
        "cpoSettings": {
            "cpoQrcodePrefix": None,
            "manualEvseManagement": False,
            "applyCustomTariffsToEvsesWithRoamingTariff": False,
            "sendsPeriodicMeterUpdates": True,
            "externalTariffIntegration": None,
        },
    }


def _provider(draft: Draft) -> Fields:
    return _role(draft, "EMSP")


def _role(draft: Draft, role: str) -> Fields:
    return {
        "role": role,
        "hubjectId": None,
        "businessName": f"{draft.of(('Charge Away', 'Volt Abroad', 'Plug Atlas'))} {role}",
        "platformId": draft.record_id("roaming-connections"),
        "partnerId": None,
        "countryCode": COUNTRY,
        "partyId": draft.of(("CHA", "VOA", "PLA")),
    }


def _tariff(draft: Draft) -> Fields:
    roaming_id = f"BG-CHA-T{draft.number}"
    element = {"price_components": [{"type": "ENERGY", "price": 0.5, "step_size": 1}]}
    return {
        "roamingIds": [roaming_id],
        "roamingTariffHumanReadable": "0.50 EUR/kWh",
        "rawRoamingTariffs": [{"id": roaming_id, "currency": CURRENCY, "elements": [element]}],
        "operatorId": draft.record_id("roaming-operators"),
        "tariffGroupId": draft.of((None, TARIFF_GROUP_ID)),
    }


KINDS = (
    RecordKind("roaming-connections", 5_500, _connection, count=2),
    RecordKind("roaming-operators", ROAMING_OPERATOR, _operator, edit=rename("businessName")),
    RecordKind("roaming-providers", 5_700, _provider, edit=rename("businessName"), is_replaceable=True),
    RecordKind("roaming-tariffs", 5_900, _tariff, edit=rename("roamingTariffHumanReadable"), is_replaceable=True),
)
