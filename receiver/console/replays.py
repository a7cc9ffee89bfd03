"""Replays that operators start from pages: one at a time, in a thread, whether or not a page watches.

A replay survives the page that started it. It ends early if a user stops it or the console stops, after the chunk that
is being applied; the record of the action then says so, and starting it again is harmless.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from receiver.console.command_lines import replay_command
from runtime.errors import cause
from runtime.logging import get_logger
from storage import operator_actions
from storage.clock import clock
from storage.log.read import count
from storage.log.scope import Scope
from storage.operator_actions import Action
from workers.maintenance.replay import Replayed, replay

logger = get_logger(__name__)

#: How many replays are kept for pages that show their results.
KEPT = 50


class ReplayStoppedError(Exception):
    """A user stopped the replay, or the console stops, so it ends before its time."""


@dataclass(slots=True)
class StartedReplay:
    """A replay that waits, is under way or has ended.

    Attributes:
        action_id: the id of its record.
        scope: what is applied again.
        actor: the user who started it.
        expected: how many notifications the scope selected when the user confirmed it.
        total: what was done so far.
        began_at: when it began; None while it waits for another one.
        ended_at: when it ended.
        left: how many notifications the scope selects after it; None while that is not known.
        stopped_by: the user who stopped it; None if no user did.
        error: why it ended early.
    """

    action_id: UUID
    scope: Scope
    actor: str
    expected: int
    total: Replayed = field(default_factory=Replayed)
    began_at: datetime | None = None
    ended_at: datetime | None = None
    left: int | None = None
    stopped_by: str | None = None
    error: str | None = None

    @property
    def command(self) -> str:
        """The command that does the same."""
        return replay_command(self.scope)


class Replays:
    """The replays of this console.

    Parameters:
        engine: the engine of actions.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._started: dict[UUID, StartedReplay] = {}
        self._is_stopping = threading.Event()
        # One at a time, because each keeps a connection and a core of Postgres busy.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay")

    def start(self, scope: Scope, actor: str, expected: int) -> StartedReplay:
        """Record a replay as an action, and start it, or let it wait for the one that is under way.

        Parameters:
            expected: how many notifications the user was shown.
        """
        stack = contextlib.ExitStack()
        details = {**_filter_of(scope), "expected": expected}
        action = stack.enter_context(operator_actions.recorded(self._engine, scope.tenant, actor, "replay", details))
        started = StartedReplay(action.action_id, scope, actor, expected)
        self._started[action.action_id] = started
        for old in list(self._started)[:-KEPT]:
            del self._started[old]
        self._executor.submit(self._run, started, action, stack)
        return started

    def named(self, tenant: str, action_id: UUID) -> StartedReplay | None:
        """Return a replay of a tenant; None if this console did not start it, or no longer keeps it."""
        started = self._started.get(action_id)
        return started if started is not None and started.scope.tenant == tenant else None

    def under_way(self, tenant: str) -> list[StartedReplay]:
        """Return the replays of a tenant that have not ended."""
        return [each for each in self._started.values() if each.scope.tenant == tenant and each.ended_at is None]

    def stop_one(self, started: StartedReplay, actor: str) -> None:
        """End a replay after its present chunk, or before its first one if it waits, and record who stopped it.

        Parameters:
            actor: the user who stops it.
        """
        if started.ended_at is not None or started.stopped_by is not None:
            return
        details = {"replay": str(started.action_id)}
        with operator_actions.recorded(self._engine, started.scope.tenant, actor, "stop_replay", details) as action:
            started.stopped_by = actor
            action.affected = 1

    def stop(self) -> None:
        """End the replay that is under way after its present chunk, and those that wait."""
        self._is_stopping.set()
        self._executor.shutdown()

    def _run(self, started: StartedReplay, action: Action, stack: contextlib.ExitStack) -> None:
        started.began_at = clock.now()
        try:
            with stack:
                left = self._replay(started, action)
            # After the record has its end, so that a page which shows the result agrees with the list of actions.
            started.left = left
        except ReplayStoppedError:
            by_user = f"{started.stopped_by} stopped it."
            started.error = "The console was stopped." if started.stopped_by is None else by_user
        except Exception as error:
            started.error = cause(error)
            logger.exception("replay failed", tenant=started.scope.tenant, actor=started.actor)
        finally:
            started.ended_at = clock.now()
        logger.info(
            "replayed from the console",
            tenant=started.scope.tenant,
            actor=started.actor,
            notifications=started.total.seen,
            failed=started.total.failed,
        )

    def _replay(self, started: StartedReplay, action: Action) -> int:
        """Apply chunk after chunk, and return how many notifications the scope selects afterwards.

        Raises:
            ReplayStoppedError: it was stopped before the last one.
        """
        chunks = replay(self._engine, started.scope)
        while started.stopped_by is None and not self._is_stopping.is_set():
            replayed = next(chunks, None)
            if replayed is None:
                with self._engine.begin() as connection:
                    return count(connection, started.scope)
            started.total.add(replayed)
            action.affected = started.total.seen
        raise ReplayStoppedError


def _filter_of(scope: Scope) -> dict[str, Any]:
    """Return what selects the notifications, for the record of the action.

    The text that bodies contain stays out: it may be of a person, who could then not be erased.
    """
    selection = {
        "from": scope.since.isoformat(),
        "to": scope.until.isoformat(),
        "type": scope.notification_type,
        "state": scope.state,
        "reason": scope.reason,
        "session": scope.session_id,
        "evse": scope.evse_id,
        "charge_point": scope.charge_point_id,
        "containing": None if scope.containing is None else f"a text of {len(scope.containing)} characters",
        "id": None if scope.notification_id is None else str(scope.notification_id),
    }
    return {name: value for name, value in selection.items() if value is not None}
