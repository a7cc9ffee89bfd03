"""Faults of notifications do what they say."""

from __future__ import annotations

from datetime import timedelta

from simulator.delivery.faults import FaultInjector
from simulator.fleet.fleet import Fleet, Notification
from simulator.settings import Faults
from tests.unit.simulator.support import START, small

NOW = START + timedelta(hours=3)


def generated() -> list[Notification]:
    return Fleet(small()).advance(NOW)


def fault_injector(**faults: float) -> FaultInjector:
    made = FaultInjector(seed=1)
    made.faults = Faults.model_validate(faults)
    return made


def test_without_faults_everything_passes_as_it_came() -> None:
    assert fault_injector().pass_on(generated(), NOW) == generated()


def test_drop_of_one_lets_nothing_pass() -> None:
    dropping = fault_injector(drop=1)
    assert dropping.pass_on(generated(), NOW) == []
    assert dropping.counts["dropped"] == len(generated())


def test_duplicate_of_one_sends_everything_twice() -> None:
    assert fault_injector(duplicate=1).pass_on(generated(), NOW) == [one for one in generated() for _ in range(2)]


def test_a_share_is_about_that_share() -> None:
    passed = len(fault_injector(drop=0.25).pass_on(generated(), NOW))
    assert 0.65 < passed / len(generated()) < 0.85


def test_reorder_of_one_shuffles_within_its_window() -> None:
    shuffling = fault_injector(reorder=1, reorder_seconds=60)
    passed = shuffling.pass_on(generated(), NOW + timedelta(seconds=60))
    assert sorted(passed, key=lambda one: (one.at, one.body)) == sorted(generated(), key=lambda one: (one.at, one.body))
    assert passed != generated()
    latest = passed[0].at
    for one in passed:
        assert latest - one.at <= timedelta(seconds=60)
        latest = max(latest, one.at)


def test_delay_holds_back_for_its_time_by_the_tenants_clock() -> None:
    delaying = fault_injector(delay=1, delay_min_seconds=600, delay_max_seconds=900)
    (one, *_) = generated()
    assert delaying.pass_on([one], one.at) == []
    assert delaying.pass_on([], one.at + timedelta(seconds=599)) == []
    assert delaying.pass_on([], one.at + timedelta(seconds=900)) == [one]


def test_what_is_held_back_can_be_let_go_at_once() -> None:
    delaying = fault_injector(delay=1, delay_min_seconds=600)
    delaying.pass_on(generated(), START)
    assert len(delaying.let_go()) == len(generated())
    assert delaying.held == 0


def test_the_same_seed_meets_the_same_faults() -> None:
    faults = {"drop": 0.3, "duplicate": 0.3, "reorder": 0.3}
    assert fault_injector(**faults).pass_on(generated(), NOW) == fault_injector(**faults).pass_on(generated(), NOW)
