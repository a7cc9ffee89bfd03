"""What ``status`` says of traffic, tokens and resends, in each of their states."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from uuid import UUID

import pytest
from rich.console import Console
from rich.table import Table

from receiver.admin.monitoring import Token, Watched
from receiver.commands.monitoring_tables import resend_lines, token_table, watch_table
from storage.monitoring.resends import Resend
from storage.monitoring.subscriptions import ManagedSubscription
from storage.monitoring.traffic import TrafficStatus

AT = datetime(2026, 3, 4, 7, tzinfo=UTC)
USUAL = TrafficStatus("t", AT, AT, 1_000, 20.0, 3, 60.0, 58, None)
RESEND = Resend("t", UUID(int=1), "https://x", "outage", None, "waiting", AT, AT, None, 0, None)
SOUND = ManagedSubscription("t", "https://x", 21, AT, AT, "sound", None, None, 0, None, None)


def printed(table: Table) -> str:
    """Print a table on a terminal that is wide enough for every cell."""
    output = StringIO()
    Console(file=output, width=400).print(table)
    return output.getvalue()


def shown(watched: Watched) -> str:
    return printed(watch_table(watched))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (None, "no notifications yet"),
        (replace(USUAL, last_received_at=None), "no notifications yet"),
        (replace(USUAL, gap_since_at=AT, received=1), "traffic gap: 1 of 60 expected since 2026-03-04 07:00"),
        (replace(USUAL, gap_since_at=AT, expected=None), "traffic gap: since 2026-03-04 07:00"),
        (replace(USUAL, learned_hours=100), "learning: 4 of 21 days"),
        (replace(USUAL, min_expected=None), "too irregular to judge"),
        (USUAL, "as usual"),
        (replace(USUAL, judged_hours=None), "as usual: little is expected now"),
    ],
)
def test_traffic_is_said_in_each_state(status: TrafficStatus | None, sentence: str) -> None:
    assert sentence in shown(Watched(("t",), [SOUND], [] if status is None else [status], [], []))


@pytest.mark.parametrize(
    ("subscription", "sentence"),
    [
        (None, "none is managed: run `subscribe`"),
        (SOUND, "21 sound"),
        (replace(SOUND, state="wrong", finding="it was disabled"), "21 wrong: it was disabled"),
        (replace(SOUND, state="unknown", error="down"), "21 unknown: down"),
        (replace(SOUND, repairs=2, repaired_at=AT, last_repair="it was not there"), "it was not there (2 in all)"),
    ],
)
def test_a_subscription_is_said_in_each_state(subscription: ManagedSubscription | None, sentence: str) -> None:
    assert sentence in shown(Watched(("t",), [] if subscription is None else [subscription], [USUAL], [], []))


def test_tokens_are_shown_where_there_are_several() -> None:
    one = Token("t", "aaaa", True, AT, AT, False)
    assert token_table([one]).row_count == 0
    unused = Token("t", "bbbb", False, AT, None, True)
    unknown = Token("t", "cccc", False, None, None, False)
    text = printed(token_table([one, unused, unknown]))
    assert "API, signatures" in text
    assert "never; known for" in text
    assert "unused for more than a day: may be removed" in text
    assert "never " in text.splitlines()[-2]


@pytest.mark.parametrize(
    ("resend", "sentence"),
    [
        (RESEND, "t: the resend of failed notifications will be requested at 2026-03-04 07:00."),
        (replace(RESEND, since_at=AT, state="asked", tried_at=AT), "since 2026-03-04 07:00 was requested at 2026"),
        (replace(RESEND, error="down"), "will be requested at 2026-03-04 07:00; down."),
        (replace(RESEND, state="failed", error="409"), "could not be requested; 409."),
    ],
)
def test_a_resend_is_said_in_each_state(resend: Resend, sentence: str) -> None:
    assert sentence in resend_lines([resend])[0]
