"""Records of prices and payments: currencies, taxes, plans, subscriptions, vouchers, fees, tariff groups."""

from __future__ import annotations

from simulator.fleet.records.record import Draft, Fields, RecordKind, next_of, rename, reprice, retranslate, text
from simulator.fleet.resources import COUNTRY, CURRENCY, TARIFF_GROUP_ID, TARIFF_SNAPSHOT_ID, TAX_ID, TAX_PERCENTAGE

_CURRENCIES = (("Euro", CURRENCY, "978", "€"), ("Pound Sterling", "GBP", "826", "£"), ("US Dollar", "USD", "840", "$"))
_PLANS = ("Commuter", "Fleet", "Weekend")
_SWITCH = ("enabled", "disabled")
_STATUSES = ("active", "suspended", "canceled", "expired")


def _currency(draft: Draft) -> Fields:
    name, code, number, sign = draft.of(_CURRENCIES)
    return {
        "name": f"{code} ({name})",
        "alphabeticCode": code,
        "numericCode": number,
        "prefix": sign,
        "suffix": None,
        "decimal": 2,
        "unitPriceAndCalculationsDecimal": 4,
        "enableUseOfMinorCurrencyUnit": False,
        "minorUnitSign": None,
    }


def _currency_rate(draft: Draft) -> Fields:
    return {"base": CURRENCY, "target": draft.of(("GBP", "USD")), "rate": draft.of((0.87, 1.16))}


def _tax_number(draft: Draft) -> Fields:
    return {"name": draft.of(("BG-204112233", "BG-204112244"))}


def _tax(draft: Draft) -> Fields:
    return {
        "name": draft.of(("VAT", "Reduced VAT")),
        "displayName": text(draft.of(("VAT", "Reduced VAT"))),
        "percentage": draft.of((TAX_PERCENTAGE, 9)),
        "taxIdentificationNumberId": draft.record_id("tax-identification-numbers"),
    }


def _tariff_group(draft: Draft) -> Fields:
    live = [tariff.id for tariff in draft.tenant.tariffs.values() if not tariff.is_deleted]
    return {
        "name": draft.of(("Public", "Staff", "Partners' own")),
        "tariffIds": live[draft.number % 2 :],
        "partnerId": draft.id_of(draft.tenant.partners) if draft.number else None,
    }


def _tariff_snapshot(draft: Draft) -> Fields:
    tariff = draft.tenant.tariffs[draft.id_of(draft.tenant.tariffs)]
    return {
        "tariffId": tariff.id,
        "name": tariff.name,
        "type": "standard",
        "pricing": {"pricePerKwh": tariff.price_per_kwh, "connectionFee": 0, "taxID": TAX_ID},
        "currency": CURRENCY,
        "externalId": None,
    }


def _subscription_plan(draft: Draft) -> Fields:
    name = draft.of(_PLANS)
    return {
        "name": text(name),
        "description": text(f"{name} charging for a month."),
        "renewalCycle": "monthly",
        "freeRenewalPeriods": 0,
        "type": "pre-paid",
        "baseFee": 9.9 + draft.number,
        "baseFeeAppliesPerEachHomeCharger": False,
        "postPaidChargingSessionsAccumulation": "none",
        "billingUsageThreshold": None,
        "billingType": "default",
        "status": "enabled",
        "allowance": {
            "resetCycle": "as_renewal_cycle",
            "type": "combined",
            "homeChargersOnly": False,
            "includedCountries": [COUNTRY],
            "excludedCountries": [],
            "excludeRoaming": True,
            "combined": 50_000,
        },
    }


def _subscription(draft: Draft) -> Fields:
    return {
        "planId": draft.record_id("subscription-plans"),
        "userId": draft.id_of(draft.tenant.users),
        "startDate": draft.created,
        "endDate": draft.hence(days=20 + draft.number),
        "status": "active",
        "statusDate": draft.created,
        "remainingAllowance": {"combined": 50_000 - draft.number, "ac": None, "dc": None},
        "remainingFreeRenewalPeriods": 0,
        "shouldUseExternalBilling": draft.number % 3 == 2,
    }


def _custom_fee(draft: Draft) -> Fields:
    return {
        "createdAt": draft.created,
        "transactionId": 40_000 + draft.number,  # long before the transactions that the tenant still shows
        "createdByAdminId": 2,
        "amount": 15,
        "currency": CURRENCY,
        "bankMessage": "Overstay fee",
    }


def _voucher(draft: Draft) -> Fields:
    is_redeemed = draft.number % 3 == 0
    return {
        "code": f"VOUCHER-CODE-{draft.number:04d}",
        "createdAt": draft.created,
        "type": draft.of(("voucher", "promo_code")),
        "promoCode": draft.of((None, f"PROMO-{draft.number}")),
        "status": "enabled",
        "expireDate": draft.hence(days=180)[:10],
        "validityPeriod": "6 months",
        "assignBeforeDate": None,
        "redeemedAt": draft.hence(days=-3) if is_redeemed else None,
        "redeemedByUserId": draft.id_of(draft.tenant.users) if is_redeemed else None,
        "amount": 25,
        "currencyCode": CURRENCY,
        "description": None,
        "transactionId": None,
        "createdByAdminId": 2,
        "remainingAmount": 0 if is_redeemed else 25,
        "title": text("A gift"),
    }


def _top_up_package(draft: Draft) -> Fields:
    return {"price": draft.of((20, 50, 100)), "bonus": draft.of((0, 5, 15)), "enabled": True}


KINDS = (
    RecordKind("currencies", 1, _currency),
    RecordKind("currency-rates", 40, _currency_rate, count=2, edit=reprice("rate")),
    RecordKind("tax-identification-numbers", 2_900, _tax_number, count=2),
    RecordKind("taxes", TAX_ID, _tax, count=2, edit=rename()),
    RecordKind("tariff-groups", TARIFF_GROUP_ID, _tariff_group, edit=rename()),
    RecordKind("tariff-snapshots", TARIFF_SNAPSHOT_ID, _tariff_snapshot),
    RecordKind("subscription-plans", 3_100, _subscription_plan, edit=retranslate("description")),
    RecordKind("subscriptions", 3_300, _subscription, count=8, edit=next_of("status", _STATUSES), is_replaceable=True),
    RecordKind("custom-fees", 3_500, _custom_fee, is_replaceable=True),
    RecordKind("vouchers", 3_700, _voucher, count=6, edit=next_of("status", _SWITCH), is_replaceable=True),
    RecordKind("top-up-packages", 3_900, _top_up_package, edit=next_of("enabled", (True, False)), is_replaceable=True),
)
