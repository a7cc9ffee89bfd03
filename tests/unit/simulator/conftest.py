"""A tenant's day, lived once for all tests that only look at it."""

from __future__ import annotations

import gc
from datetime import timedelta

import pytest

from simulator.app import Simulator
from simulator.fleet.fleet import Fleet
from simulator.settings import TenantSettings
from tests.unit.simulator.support import START, TOKEN, Day, small


@pytest.fixture(scope="session")
def day() -> Day:
    """A day of a tenant of the usual size."""
    fleet = Fleet(TenantSettings(start=START))
    day = Day(fleet, fleet.advance(START + timedelta(days=1)))
    gc.freeze()  # it stays for the whole run: no collection need look at it
    return day


@pytest.fixture
def simulator() -> Simulator:
    """A small tenant after six hours and one more, whose clock stands still."""
    simulator = Simulator(small(), token=TOKEN, first_retry_seconds=0.01)
    simulator.fleet.advance(START + timedelta(hours=1))
    return simulator
