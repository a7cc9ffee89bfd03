"""The guardian: what ``subscribe`` made at AMPECO is there, is alone, and is as configured.

It acts on what is claimed and on nothing else: see :mod:`storage.subscriptions`. It mends only what
this deployment's own address leads to, so a copy of the database, started elsewhere, looks and
leaves everything as it is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ampeco.errors import ApiError, RateLimited, Unauthorised, Unavailable
from storage import subscriptions
from storage.subscriptions import Claim, State, SubscriptionLock
from workers.backoff import hold_back
from workers.budget import HeldBackError
from workers.context import Context
from workers.logs import get_logger
from workers.metrics import SUBSCRIPTION_REPAIRS
from workers.pause import recovered
from workers.subscriptions import Finding, callback_url, look, mend

logger = get_logger(__name__)

#: At its start a process looks at what nobody has looked at for this long: processes that start
#: together look once.
AT_START = timedelta(minutes=1)


class Guardian:
    """One process's share of the watch; any number may stand side by side.

    Parameters:
        public_url: how AMPECO reaches this deployment; None: it looks, and mends nothing.
        interval: how often a subscription is looked at.
    """

    def __init__(self, context: Context, *, public_url: str | None, interval: timedelta) -> None:
        self._context = context
        self._public_url = public_url
        self._interval = interval
        self._due_after = min(AT_START, interval)

    def run(self) -> int:
        """Look at every subscription that is due; returns at how many."""
        with self._context.engine.begin() as connection:
            tenants = subscriptions.due(connection, self._context.tenants, self._due_after)
        looked = sum(self._tenant(tenant) for tenant in tenants)
        self._due_after = self._interval
        return looked

    def _tenant(self, tenant: str) -> int:
        with subscriptions.locked(self._context.engine, tenant) as lock:
            # Another process has it, or had it while we waited for our turn.
            if lock is None:
                return 0
            with lock.begin() as connection:
                if not subscriptions.due(connection, [tenant], self._due_after):
                    return 0
                claims = subscriptions.claims(connection, [tenant])
            for claim in claims:
                self._look(lock, claim)
            return len(claims)

    def _look(self, lock: SubscriptionLock, claim: Claim) -> None:
        tenant = self._context.tenants[claim.tenant]
        client = self._context.client(claim.tenant, "guardian")
        try:
            finding = look(client, tenant, claim.callback_url, claim.subscription_id)
            if not finding.wrong:
                _note(lock, claim, "sound", subscription_id=_id(finding))
            elif not self._may_mend(claim):
                self._leave(lock, claim, finding)
            else:
                self._mend(lock, claim, finding)
        except HeldBackError as held:
            _note(lock, claim, "unknown", error=held.why)
        except ApiError as error:
            logger.warning("subscription could not be checked", **_labels(claim), error=str(error))
            _note(lock, claim, "unknown", error=str(error))
            if isinstance(error, RateLimited | Unauthorised | Unavailable):
                hold_back(self._context, claim.tenant, error)
        else:
            recovered(self._context.redis, claim.tenant)

    def _may_mend(self, claim: Claim) -> bool:
        return self._public_url is not None and claim.callback_url == callback_url(self._public_url, claim.tenant)

    def _leave(self, lock: SubscriptionLock, claim: Claim, finding: Finding) -> None:
        wrong = "; ".join(finding.wrong)
        logger.warning("subscription is wrong, and not ours to mend here", **_labels(claim), finding=wrong)
        told = f"{wrong}; not mended, as RECEIVER_PUBLIC_URL does not lead to this address"
        _note(lock, claim, "wrong", subscription_id=_id(finding), finding=told)

    def _mend(self, lock: SubscriptionLock, claim: Claim, finding: Finding) -> None:
        tenant = self._context.tenants[claim.tenant]
        client = self._context.client(claim.tenant, "guardian")
        result = mend(client, tenant, claim.callback_url, finding, before_create=lock.prove)
        repair = "; ".join(finding.wrong)
        SUBSCRIPTION_REPAIRS.labels(claim.tenant).inc()
        logger.warning(
            "subscription mended",
            **_labels(claim),
            subscription_id=result.subscription_id,
            action=result.action,
            removed=list(result.removed),
            finding=repair,
        )
        still = "AMPECO says that it is still disabled: enable it in the back office" if result.is_disabled else None
        _note(
            lock,
            claim,
            "wrong" if still else "sound",
            subscription_id=result.subscription_id,
            finding=still,
            repair=repair,
        )


def _note(lock: SubscriptionLock, claim: Claim, state: State, **details: Any) -> None:
    with lock.begin() as connection:
        subscriptions.note(connection, claim, state, **details)


def _id(finding: Finding) -> int | None:
    return None if finding.kept is None else finding.kept.id


def _labels(claim: Claim) -> dict[str, object]:
    return {"tenant": claim.tenant, "callback_url": claim.callback_url}
