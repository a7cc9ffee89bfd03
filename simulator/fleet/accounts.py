"""The tenant's accounts: receipts, invoices, partners' revenues and expenses, settlement reports.

It has a random generator of its own, so that it does not change what the seed makes of the rest.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from simulator.fleet.build import contract_id
from simulator.fleet.model import Record, Session, Transaction
from simulator.fleet.records.partners import FEE_PER_CHARGE_POINT, FEE_PER_EVSE, PARTNER_SHARE
from simulator.fleet.records.record import Fields, add
from simulator.fleet.resources import COUNTRY, CURRENCY, TAX_ID, TAX_PERCENTAGE, instant
from simulator.fleet.world import World

#: The share of paid sessions that are invoiced, because the driver asks for it.
INVOICED = 0.1

RECEIPTS, INVOICES = "receipts", "invoices"
REVENUES, EXPENSES, REPORTS = "partner-revenues", "partner-expenses", "partner-settlement-reports"

_FIRST = {RECEIPTS: 1_000_000, INVOICES: 1_500_000, REVENUES: 2_000_000, EXPENSES: 2_500_000, REPORTS: 2_600_000}
_CENT = Decimal("0.01")


class Accounts:
    """The simulation of the bookkeeping."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = random.Random(f"accounts {seed}")  # noqa: S311 - a simulation, not a secret
        self._uncollected: dict[int, Record] = {}  # by session
        self._unsettled: dict[int, list[Record]] = {}  # by partner
        self._tenant.records |= {kind: {} for kind in _FIRST}
        world.follow("transaction.changed", self._transaction_changed)
        self._settle(_month(world.second))

    def expect(self) -> None:
        """Schedule the first settlement, which comes with the next month."""
        next_month = _month(_month(self._world.now) + timedelta(days=32))
        self._world.timeline.after(next_month - self._world.now, self._end_month)

    def _add(self, kind: str, fields: Fields) -> Record:
        return add(self._tenant, kind, _FIRST[kind], fields, self._world.second)

    def _transaction_changed(self, body: dict[str, Any]) -> None:
        transaction = self._tenant.transactions[body["transactionId"]]
        session = self._tenant.sessions[transaction.session_id]
        if body["action"] == "created":
            self._share(session)
        elif transaction.status == "finalized" and not transaction.is_deleted:
            self._issue_receipt(session, transaction)
            if self._rng.random() < INVOICED:
                transaction.invoice_id = self._add(INVOICES, _invoice(session, transaction)).id
            revenue = self._uncollected.pop(session.id, None)
            if revenue is not None:
                revenue.fields |= {"collectedAt": instant(self._world.second), "remainingRevenue": 0}
                revenue.changed_at = self._world.second

    def _issue_receipt(self, session: Session, transaction: Transaction) -> None:
        fields: Fields = {
            "receiptNo": f"R-{transaction.id}",
            "userId": transaction.user_id,
            "totalKwh": session.energy_wh / 1000,
            "periodStart": None,
            "periodEnd": None,
            "totalAmount": float(transaction.amount),
            "tax": {"taxId": TAX_ID, "taxPercentage": TAX_PERCENTAGE},
            "paymentStatus": "paid",
            "downloadUrl": f"https://tenant.example/receipts/{transaction.id}?signature=receipt-signature",
        }
        transaction.receipt_id = session.receipt_id = self._add(RECEIPTS, fields).id

    def _share(self, session: Session) -> None:
        """Share the revenue of a finished session at a partner's charge point."""
        charge_point = self._tenant.charge_points[session.charge_point_id]
        if charge_point.partner_id is None or session.stopped_at is None:
            return
        partner_share = (session.amount_without_tax * PARTNER_SHARE / 100).quantize(_CENT)
        revenue = self._add(
            REVENUES,
            {
                "partnerId": charge_point.partner_id,
                "partnerName": self._tenant.partners[charge_point.partner_id].name,
                "date": instant(self._world.second),
                "origin": "session-cpo",
                "totalAmount": {"withoutTax": float(session.amount_without_tax)},
                "operatorShare": float(session.amount_without_tax - partner_share),
                "partnerShare": float(partner_share),
                "currencyCode": CURRENCY,
                "settlementReportId": None,
                "chargingSessionId": session.id,
                "startedAt": instant(session.started_at),
                "duration": str(session.stopped_at - session.started_at),
                "chargePointName": charge_point.name,
                "authorization": "local",
                "electricityCost": None,
                "remainingRevenue": float(partner_share),
                "collectedAt": None,
            },
        )
        self._uncollected[session.id] = revenue
        self._unsettled.setdefault(charge_point.partner_id, []).append(revenue)

    def _end_month(self) -> None:
        self._settle(_month(self._world.second))
        self.expect()

    def _settle(self, end: datetime) -> None:
        """Charge each partner the fees of the month that ended, and report its revenues to it."""
        start = _month(end - timedelta(days=1))
        for partner in [partner for partner in self._tenant.partners.values() if not partner.is_deleted]:
            expense = self._add(EXPENSES, self._fees(partner.id, partner.name, start, end))
            revenues = self._unsettled.pop(partner.id, [])
            fields = _report(partner.id, partner.name, start, end, expense, revenues)
            sessions = (self._tenant.sessions[revenue.fields["chargingSessionId"]] for revenue in revenues)
            fields["totalEnergyCpoWh"] = sum(session.energy_wh for session in sessions)
            report = self._add(REPORTS, fields)
            for record in (expense, *revenues):
                record.fields["settlementReportId"] = report.id
                record.changed_at = self._world.second

    def _fees(self, partner_id: int, name: str, start: datetime, end: datetime) -> Fields:
        charge_points = [row for row in self._tenant.live_charge_points() if row.partner_id == partner_id]
        evses = [evse for row in charge_points for evse in self._tenant.evses_of(row.id)]
        ac = sum(evse.current_type == "ac" for evse in evses)
        dc = len(evses) - ac
        breakdown = {
            "partnerContractId": contract_id(partner_id),
            "numberOfChargePoints": len(charge_points),
            "totalPlatformFeeChargePoints": len(charge_points) * FEE_PER_CHARGE_POINT,
            "numberOfAcEvses": ac,
            "totalPlatformFeeAcEvses": ac * FEE_PER_EVSE,
            "numberOfDcEvses": dc,
            "totalPlatformFeeDcEvses": dc * FEE_PER_EVSE,
        }
        return {
            "partnerId": partner_id,
            "partnerName": name,
            "date": instant(end),
            "origin": "platform-fee-cpo",
            "period": f"{start:%B %Y}",
            "totalAmount": {"withoutTax": len(charge_points) * FEE_PER_CHARGE_POINT + len(evses) * FEE_PER_EVSE},
            "currencyCode": CURRENCY,
            "settlementReportId": None,
            "breakdown": [breakdown],
        }


def _invoice(session: Session, transaction: Transaction) -> Fields:
    assert transaction.finalized_at is not None
    tax_amount = session.amount_with_tax - session.amount_without_tax
    return {
        "type": "invoice",
        "number": f"INV-{transaction.id}",
        "date": instant(transaction.finalized_at),
        "userId": transaction.user_id,
        "periodFrom": instant(transaction.created_at),
        "periodTo": instant(transaction.created_at),
        "totalEnergy": session.energy_wh,
        "totalAmount": float(transaction.amount),
        "taxRate": TAX_PERCENTAGE,
        "taxAmount": float(tax_amount),
        "service": "Charging",
        "quantity": 1,
        "unitPrice": float(session.amount_without_tax),
        "subtotal": float(session.amount_without_tax),
        "downloadUrl": f"https://tenant.example/invoices/{transaction.id}?signature=invoice-signature",
        "client": {
            "type": "individual",
            "name": f"Driver {transaction.user_id}",
            "email": f"driver.{transaction.user_id}@example.com",
            "country": COUNTRY,
            "region": None,
            "city": "Varna",
            "post_code": "9000",
            "address": f"{transaction.user_id} Quay Street",
        },
    }


def _report(
    partner_id: int, name: str, start: datetime, end: datetime, expense: Record, revenues: list[Record]
) -> Fields:
    earned = sum(row.fields["partnerShare"] for row in revenues)
    collected = sum(row.fields["partnerShare"] for row in revenues if row.fields["collectedAt"])
    expenses = expense.fields["totalAmount"]["withoutTax"]
    return {
        "partnerId": partner_id,
        "number": f"S-{partner_id}-{start:%Y%m}",
        "date": f"{end:%Y-%m-%d}",
        "periodStart": f"{start:%Y-%m-%d}",
        "periodEnd": f"{end - timedelta(days=1):%Y-%m-%d}",
        "currencyCode": CURRENCY,
        "totalAmount": {"withoutTax": round(collected - expenses, 2)},
        "totalExpenses": expenses,
        "totalRevenue": round(earned, 2),
        "totalAwaitedRevenue": round(earned - collected, 2),
        "totalCollectedRevenue": round(collected, 2),
        "totalCollectedRevenueFromPreviousPeriod": 0,
        "totalEnergyEmspWh": 0,
        "supplier": _party("The Operator Ltd"),
        "customer": _party(name) | _bank(partner_id),
        "downloadUrl": f"https://tenant.example/settlements/{partner_id}-{start:%Y%m}?signature=report-signature",
    }


def _party(name: str) -> Fields:
    return {
        "type": "company",
        "name": name,
        "contactPerson": "A. Petrova",
        "region": None,
        "city": "Varna",
        "postCode": "9000",
        "address": "1 Quay Street",
        "regNo": "204112233",
        "taxId": "BG204112233",
        "phone": "+359 52 000 000",
        "email": "office@example.com",
        "country": COUNTRY,
        "state": None,
    }


def _bank(partner_id: int) -> Fields:
    return {
        "bankIban": f"BG80BNBG9661{partner_id:010d}",
        "bankName": "A Bank",
        "bankAddress": "2 Quay Street",
        "bankCode": "BNBGBGSF",
        "bankAccountNumber": None,
        "bankAccountType": None,
    }


def _month(moment: datetime) -> datetime:
    """Return the beginning of a time's month."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
