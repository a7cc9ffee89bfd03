"""Records of partners and people: contracts, invitations, groups, bookings, terms, questions."""

from __future__ import annotations

from simulator.fleet.build import FIRST_CONTRACT, PARTNERS
from simulator.fleet.records.record import Draft, Fields, RecordKind, next_of, rename, retranslate, text

#: The partner's share of a session's revenue, in percent.
PARTNER_SHARE = 70

#: The monthly fees that a contract names.
FEE_PER_CHARGE_POINT, FEE_PER_EVSE = 5.0, 2.5

_BOOKED = ("accepted", "reserved", "completed")
_DECISIONS = ("pending", "approved", "rejected")


def _contract(draft: Draft) -> Fields:
    partner = draft.tenant.partners[draft.id_of(draft.tenant.partners)]
    return {
        "title": f"Contract with {partner.name}",
        "partnerId": partner.id,
        "startDate": draft.created,
        "endDate": None,
        "autoRenewal": True,
        "externalId": f"C-{partner.id}",
        "accessAndPermissions": {"sessionsRemoteControl": True, "resetChargePoint": True, "firmwareUpdate": False},
        "revenueSharing": {
            "partnerSharePercentageAcEvse": PARTNER_SHARE,
            "partnerSharePercentageDcEvse": PARTNER_SHARE,
            "excludeConnectionFee": False,
            "deductElectricityCost": False,
            "reimburseForElectricityCost": False,
        },
        "monthlyPlatformFees": {
            "perChargePoint": FEE_PER_CHARGE_POINT,
            "perAcEvse": FEE_PER_EVSE,
            "perDcEvse": FEE_PER_EVSE,
        },
    }


def _invite(draft: Draft) -> Fields:
    is_accepted = draft.number % 2 == 1
    return {
        "partnerId": draft.id_of(draft.tenant.partners),
        "sendViaEmail": True,
        "email": f"driver.{draft.number}@example.com",
        "language": "en",
        "acceptUrl": f"https://tenant.example/invites/accept-token-{draft.number}",
        "options": {
            "allowCorporateAccountBilling": True,
            "limitCorporateAccountBillingToPartnerChargePoints": True,
            "allowAccessToPrivateChargePoints": True,
        },
        "status": "accepted" if is_accepted else "sent",
        "createdAt": draft.created,
        "acceptedAt": draft.created if is_accepted else None,
        "userId": draft.id_of(draft.tenant.users) if is_accepted else None,
    }


def _sub_operator(draft: Draft) -> Fields:
    name = draft.of(("Coast Charging", "City Charging"))
    return {"name": name, "partner_ids": [draft.id_of(draft.tenant.partners)]}


def _user_group(draft: Draft) -> Fields:
    return {
        "name": draft.of(("Staff", "Taxi drivers", "Residents")),
        "partnerId": None if draft.number % 2 else draft.id_of(draft.tenant.partners),
        "description": None,
        "externalId": f"G-{draft.number}",
    }


def _booking(draft: Draft) -> Fields:
    return {
        "userId": draft.id_of(draft.tenant.users),
        "locationId": draft.id_of(draft.tenant.locations),
        "startAt": draft.hence(hours=12 + draft.number),
        "endAt": draft.hence(hours=13 + draft.number),
        "status": draft.of(_BOOKED),
        "accessMethods": ["OPEN"],
        "createdAt": draft.created,
        "bookedEvses": [{"id": draft.id_of(draft.tenant.evses)}],
    }


def _booking_request(draft: Draft) -> Fields:
    return {
        "type": "create",
        "userId": draft.id_of(draft.tenant.users),
        "locationId": draft.id_of(draft.tenant.locations),
        "externalId": f"B-{draft.number}",
        "startAt": draft.hence(hours=12 + draft.number),
        "endAt": draft.hence(hours=13 + draft.number),
        "evseCriteria": {"currentType": "ac", "minPower": 7_400},
        "status": draft.of(_DECISIONS),
        "createdAt": draft.created,
    }


def _faq(draft: Draft) -> Fields:
    question = draft.of(("How do I start a session?", "How do I pay?", "Why did my session stop?"))
    return {"question": text(question), "answer": text("Use the app.")}


def _terms(draft: Draft) -> Fields:
    title = draft.of(("Terms of use", "Privacy policy"))
    return {
        "document": {
            "id": 70 + draft.number,
            "title": text(title),
            "subtitle": text(title),
            "consentText": text(f"I have read the {title.lower()}."),
            "termType": "signup",
            "consentRequired": True,
            "consentCollection": "explicit",
            "consentCheckboxDefaultState": False,
            "showOnSignup": True,
        },
        "validFrom": draft.created,
        "summary": text(f"{title} in short."),
        "content": text(f"{title} at length."),
        "status": "active",
    }


KINDS = (
    RecordKind("partner-contracts", FIRST_CONTRACT, _contract, count=PARTNERS, edit=rename("title")),
    RecordKind("partner-invites", 4_500, _invite, count=4, edit=next_of("language", ("en", "bg")), is_replaceable=True),
    RecordKind("sub-operators", 4_700, _sub_operator, count=2, edit=rename()),
    RecordKind("user-groups", 4_900, _user_group, edit=rename(), is_replaceable=True),
    RecordKind("bookings", 6_600, _booking, count=4, edit=next_of("status", _BOOKED), is_replaceable=True),
    RecordKind(
        "booking-requests", 6_800, _booking_request, count=4, edit=next_of("status", _DECISIONS), is_replaceable=True
    ),
    RecordKind("faqs", 7_000, _faq, edit=retranslate("answer"), is_replaceable=True),
    RecordKind("terms-and-policies", 7_200, _terms, count=2, edit=retranslate("summary")),
)
