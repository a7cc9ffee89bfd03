"""Whatever is lost, repeated, late or out of order, the database ends as the tenant's API shows.

A machine draws histories of a living tenant and of everything that goes wrong on the way. At the end
of each, what was accepted is applied, what is wanted is read, one reconcile runs, and
every row is compared with the API. ``make soak`` continues with new ones for ``SOAK_MINUTES``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, settings
from hypothesis import seed as first_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ampeco.resources.kinds import KINDS
from tests.support.comparison import SHOWN
from tests.support.service import TOKEN
from tests.support.tenant import OTHER_TOKEN, Tenant, tenant

#: Histories, and steps of each, in an ordinary run.
HISTORIES = 5
STEPS = 20

#: The kinds that are reconciled again and again; the others, of which little changes, once at the end of a history.
CHANGING = [
    name for name in SHOWN if KINDS[name].read_rules or name in ("evse_downtime_period", "receipt", "partner_revenue")
]

seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from((0.1, 0.5, 1.0))

#: Entities compared in all histories of this run.
compared_in_all = 0


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenant]:
    # People are busy: what is there comes and goes, with all that belongs to it, and is put up elsewhere.
    monkeypatch.setattr("simulator.fleet.edits.REBUILD_EVERY", timedelta(hours=1))
    monkeypatch.setattr("simulator.fleet.edits.RESITE_EVERY", timedelta(hours=3))
    monkeypatch.setattr("simulator.fleet.removals.REMOVE_EVERY", timedelta(minutes=20))
    monkeypatch.setattr("simulator.fleet.removals.MOVE_EVERY", timedelta(hours=1))
    # Its clock is months behind ours.
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC)) as made:
        yield made


class Histories(RuleBasedStateMachine):
    """Random histories of one tenant and of its service."""

    tenant: Tenant

    @initialize(seed=st.integers(1, 10_000), backfilled=st.booleans())
    def begin(self, seed: int, backfilled: bool) -> None:
        self.chance = Random(seed)
        self.tenant.begin_again(seed)
        if backfilled:
            self.tenant.sync_run(full=True)

    @rule(minutes=st.sampled_from((1, 10, 60, 240)))
    def live(self, minutes: int) -> None:
        self.tenant.live(minutes)

    @rule(share=shares, in_order=st.booleans())
    def deliver(self, share: float, in_order: bool) -> None:
        self.tenant.deliver(share, self.chance, in_order=in_order)

    @rule(count=st.integers(1, 30))
    def repeat(self, count: int) -> None:
        self.tenant.repeat(count, self.chance)

    @rule(share=shares)
    def lose(self, share: float) -> None:
        self.tenant.lose(share, self.chance)

    @rule()
    def apply(self) -> None:
        self.tenant.service.apply()

    @rule()
    def refresh(self) -> None:
        self.tenant.refresh()

    @rule(pages=st.sampled_from((1, 2, None)))
    def reconcile(self, pages: int | None) -> None:
        self.tenant.sync_run(full=False, pages=pages, kinds=CHANGING)

    @rule()
    def kill_worker(self) -> None:
        self.tenant.kill_worker()

    @rule()
    def empty_redis(self) -> None:
        self.tenant.context.redis.flushdb()

    @rule()
    def rotate_signing_token(self) -> None:
        self.tenant.signing_token = OTHER_TOKEN if self.tenant.signing_token == TOKEN else TOKEN

    @rule(share=st.sampled_from((0.3, 1.0)), answer=st.sampled_from(("api_500", "api_429")))
    def break_api(self, share: float, answer: str) -> None:
        self.tenant.set_faults(**{answer: share})

    @rule(refused=st.booleans())
    def refuse_token(self, refused: bool) -> None:
        self.tenant.refuse_token(refused)

    @rule()
    def repair_api(self) -> None:
        self.tenant.set_faults()
        self.tenant.refuse_token(False)

    def teardown(self) -> None:
        global compared_in_all
        self.tenant.live(1)  # a sync run begins later than the one before it
        self.tenant.settle()
        self.tenant.reconcile()
        compared, found = self.tenant.differences()
        assert found == []
        # Hours later, AMPECO sends much of it again.
        self.tenant.repeat(200, self.chance)
        self.tenant.settle()
        assert self.tenant.differences() == (compared, [])
        failed = self.tenant.service.query("SELECT * FROM ingest.outcome WHERE state = 'failed'")
        assert failed == []
        compared_in_all += compared


@pytest.mark.timeout(400)  # a minute alone, and longer while coverage is measured
def test_every_history_ends_as_the_tenant_shows_it(living: Tenant) -> None:
    class Own(Histories):
        tenant = living

    # Without shrinking: a history takes seconds, and its steps are printed.
    own = settings(max_examples=HISTORIES, stateful_step_count=STEPS, phases=(Phase.explicit, Phase.generate))
    run_state_machine_as_test(Own, settings=own)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_new_histories_end_so_too_for_as_long_as_is_asked(living: Tenant) -> None:
    class Own(Histories):
        tenant = living

    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    began, histories = time.monotonic(), 0
    while time.monotonic() - began < minutes * 60:
        histories += HISTORIES
        own = settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            phases=(Phase.generate,),
            derandomize=False,
            database=None,
            print_blob=True,
        )
        run_state_machine_as_test(first_seed(int(time.time()))(Own), settings=own)
        print(  # noqa: T201 - a run of an hour shows its progress
            f"{time.monotonic() - began:5.0f} s: {histories} histories, {compared_in_all} entities compared, 0 differences"
        )
