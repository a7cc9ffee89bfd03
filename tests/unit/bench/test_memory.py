"""The table of memory shows the end of each quarter, and no single reading decides."""

from __future__ import annotations

import pytest

from bench.memory import Held, shown


def readings(*mib: float) -> list[Held]:
    return [Held(minute, {"serve": each}) for minute, each in enumerate(mib, start=1)]


def test_growth_is_shown_by_quarters_whatever_a_single_reading_is() -> None:
    held = readings(*(100.0 + minute for minute in range(40)))
    held[39].mib["serve"] = 900.0
    assert shown(held, "serve") == [107.0, 117.0, 127.0, 137.0]


@pytest.mark.parametrize("minutes", range(4, 12))
def test_a_short_run_has_a_figure_for_each_column(minutes: int) -> None:
    assert len(shown(readings(*[50.0] * minutes), "serve")) == 4
