"""The kinds around charging: sessions, authorizations, reservations and bookings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ampeco.resources import charging as resources
from ampeco.resources import commercial
from ampeco.resources.commercial import Resource
from ampeco.resources.kind import DAY, HOUR, Kind, ReadRule

SESSION = Kind(
    "session",
    resources.Session,
    "sessions/v1.0",
    group="sessions",
    parts=(
        ("withAuthorization", "true"),
        ("withChargingPeriods", "true"),
        ("withPriceBreakdown", "true"),
        ("withChargingPeriodsPriceBreakdown", "true"),
    ),
    paging="empty cursor",
    read_rules=(
        ReadRule("session.start.stop.notification", "session_id", "provisional"),
        ReadRule("SessionStartStopNotification", "session_id", "provisional"),
        ReadRule("SessionMeterValuesNotification", "session_id", "unknown"),
        ReadRule("SessionUpdateNotification", "session.id", "unusable"),
    ),
)

AUTHORIZATION = Kind(
    "authorization",
    resources.Authorization,
    "authorizations/v2.1",
    group="sessions",
    paging="empty cursor",
    read_rules=(
        ReadRule("authorization.changed", "authorization_id"),
        ReadRule("AuthorizationNotification", "authorization_id"),
    ),
)

RESERVATION = Kind(
    "reservation",
    commercial.Reservation,
    "reservations/v1.0",
    group="sessions",
    paging="page",
    changed_filters=("reserved_from",),
    changed_margin=timedelta(days=1),  # a reservation lasts minutes or hours, and changes until it ends
    read_rules=(ReadRule("reservation.changed", "reservation_id"),),
)

SESSIONS: tuple[Kind[Any], ...] = (
    SESSION,
    AUTHORIZATION,
    RESERVATION,
    Kind(
        "booking",
        Resource,
        "bookings/v1.0",
        group="sessions",
        changed_filters=("end_after",),
        changed_margin=DAY,
        changed_every=HOUR,
    ),
    Kind(
        "booking_request",
        Resource,
        "booking-requests/v1.0",
        group="sessions",
        changed_filters=("created_after",),
        changed_margin=DAY,
        changed_every=HOUR,
    ),
)
