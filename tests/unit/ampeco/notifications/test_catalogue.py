from __future__ import annotations

from pathlib import Path

import pytest

from ampeco.notifications.catalogue import (
    CATALOGUE,
    DEFAULT_SUBSCRIPTION,
    SUBSCRIBABLE,
    NotificationType,
    lookup,
    why_unknown,
)

DOCUMENT = Path(__file__).parents[4] / "docs" / "ampeco.md"


def test_every_name_is_there_once_and_found_by_it() -> None:
    names = [known.name for known in CATALOGUE]

    assert len(names) == len(set(names))
    assert all(lookup(known.name) is known for known in CATALOGUE)


def test_a_name_that_is_not_there_is_not_found() -> None:
    assert lookup("later.added") is None


def test_a_name_that_is_not_there_is_told_with_the_one_that_may_be_meant() -> None:
    assert why_unknown("BootNotification") is None
    assert str(why_unknown("BootNotificatoin")).endswith("Did you mean BootNotification?")
    assert str(why_unknown("xyzzy")).endswith("would change nothing.")


def test_a_successor_is_itself_in_the_catalogue_and_current() -> None:
    for known in CATALOGUE:
        if known.successor is not None:
            successor = lookup(known.successor)
            assert successor is not None, known.name
            assert successor.status == "current", known.name


def test_a_deprecated_name_has_a_successor() -> None:
    assert all(known.successor for known in CATALOGUE if known.status == "deprecated")


def test_the_default_subscription_is_every_current_name() -> None:
    assert set(DEFAULT_SUBSCRIPTION) == {known.name for known in CATALOGUE if known.status == "current"}


def test_only_undocumented_and_empty_notifications_have_no_handler() -> None:
    assert {known.name for known in CATALOGUE if known.handler is None} == {
        "PartnerInviteChangedNotification",
        "PaymentMethodChangedNotification",
        "ReservationChangedNotification",
        "subscriptionPlan.changed",
        "PartnerChangedNotification",
    }


def test_the_one_name_that_ampeco_sends_and_does_not_let_subscribe_is_not_offered() -> None:
    assert {known.name for known in CATALOGUE} - set(SUBSCRIBABLE) == {"PartnerChangedNotification"}


@pytest.mark.parametrize("known", CATALOGUE, ids=lambda known: known.name)
def test_the_documentation_names_each_notification_with_its_status_and_successor(known: NotificationType) -> None:
    table, _, _ = DOCUMENT.read_text().partition("### What a payload must hold")
    (row,) = [line for line in table.splitlines() if line.startswith(f"| `{known.name}` |")]

    _, _, status, successor, use, _ = (cell.strip() for cell in row.split("|"))
    assert status == known.status
    assert successor.startswith("–" if known.successor is None else f"`{known.successor}`")
    assert (use == "kept in the log") == (known.handler is None)
