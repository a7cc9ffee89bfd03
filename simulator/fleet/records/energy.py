"""Records of energy: circuits, meters, electricity rates, utilities, flexibility."""

from __future__ import annotations

from simulator.fleet.records.record import Draft, Fields, RecordKind, next_of, rename, reprice


def _utility(draft: Draft) -> Fields:
    return {
        "name": draft.of(("North Grid", "City Power")),
        "chargePointsCount": 0,
        "electricityRatesCount": 1,
        "createdAt": draft.created,
    }


def _rate(draft: Draft) -> Fields:
    return {
        "name": draft.of(("Flat", "Spot")),
        "utilityId": draft.record_id("utilities"),
        "defaultPrice": draft.of((0.15, 0.11)),
        "taxPercentage": 20,
        "type": draft.of(("admin_defined", "nord_pool")),
    }


def _meter(draft: Draft) -> Fields:
    return {
        "name": f"Meter {draft.number + 1}",
        "integrationId": 12,
        "integrationParameters": {"serialNumber": f"EM-{draft.number}", "apiKey": f"meter-api-key-{draft.number}"},
    }


def _circuit(draft: Draft) -> Fields:
    charge_point_id = draft.id_of(draft.tenant.charge_points)
    return {
        "name": f"Circuit {draft.number + 1}",
        "parentCircuitId": None,
        "phases": "three_phase",
        "phaseRotation": "RST",
        "electricalConfiguration": "star",
        "maxVoltage": "400",
        "maxCurrent": 125,
        "minChargePointCurrent": 6,
        "setSessionLimitToZeroOnIdle": False,
        "electricityMeterId": draft.record_id("electricity-meters"),
        "offlineReservedCurrent": None,
        "loadBalancingIntegration": None,
        "chargePointPriorities": [{"id": charge_point_id, "priority": 1, "evses": []}],
        "userPriorities": [],
        "socPriorities": None,
        "consumption": [{"phase": phase, "consumption": 11.5, "lastUpdatedAt": draft.created} for phase in _PHASES],
        "unmanagedLoad": [],
    }


_PHASES = ("L1", "L2", "L3")


def _asset(draft: Draft) -> Fields:
    return {
        "dlmCircuitId": draft.record_id("circuits"),
        "chargePointId": None,
        "evseId": None,
        "description": "Reserve",
        "downwardRegulationLimit": 0,
        "upwardRegulationLimit": 50_000,
        "integrationId": 14,
        "integrationParameters": {"apiKey": f"flexibility-api-key-{draft.number}"},
        "status": "enabled",
        "endsAt": draft.hence(days=300),
    }


def _activation(draft: Draft) -> Fields:
    period = {
        "startTime": draft.hence(hours=1),
        "endTime": draft.hence(hours=2),
        "energy": None,
        "maxPower": 20_000,
    }
    return {"timestamp": draft.created, "assetId": draft.record_id("flexibility-assets"), "periods": [period]}


KINDS = (
    RecordKind("utilities", 9_000, _utility, count=2, edit=rename()),
    RecordKind("electricity-rates", 9_100, _rate, count=2, edit=reprice("defaultPrice"), is_replaceable=True),
    RecordKind("electricity-meters", 9_200, _meter, edit=rename()),
    RecordKind("circuits", 9_300, _circuit, edit=next_of("maxCurrent", (125, 160, 250)), is_replaceable=True),
    RecordKind("flexibility-assets", 9_400, _asset, count=2, edit=next_of("status", ("enabled", "disabled"))),
    RecordKind("flexibility-activation-requests", 9_500, _activation, is_replaceable=True),
)
