"""Commands that finish what they have in hand before they stop."""

from __future__ import annotations

import signal

import pytest

from receiver.commands.progress import until_told_to_stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_was_told_to_stop_ends_with_the_code_of_the_signal(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with until_told_to_stop() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        assert stop.exit_code == 128 + number
    assert signal.getsignal(number) == before
