"""The command ``resend``: ask AMPECO to send again what it could not deliver."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from receiver.invocation import TenantOption, chosen_tenants, require_migrated, running
from receiver.terminal import console
from receiver.times import time_option
from storage import resends
from storage.resends import Resend
from storage.subscriptions import ManagedSubscription, managed_subscriptions
from workers.context import Context, create_context
from workers.resend import ask

SinceOption = Annotated[
    datetime | None,
    time_option("--since", "Only what failed at this time or later; left out, all that AMPECO has kept"),
]


def resend(since: SinceOption = None, tenant: TenantOption = None) -> None:
    """Ask AMPECO to send again what it could not deliver; at most once in 15 minutes for a subscription."""
    with running("resend") as settings:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        with create_context(settings, process="resend") as context:
            with context.engine.begin() as connection:
                found = managed_subscriptions(connection, names)
            accepted = [_one(context, subscription, since) for subscription in found]
    for name in sorted({*names} - {subscription.tenant for subscription in found}):
        console.print(f"{name}: no subscription is ours; `ampeco-receiver subscribe` makes one")
    if not found or not all(accepted):
        raise typer.Exit(1)


def _one(context: Context, subscription: ManagedSubscription, since: datetime | None) -> bool:
    """Ask for one subscription and say what came of it; returns whether AMPECO accepted."""
    with context.engine.begin() as connection:
        wanted = resends.request_resend(connection, subscription, "manual", since)
    made = ask(context, subscription.tenant, subscription.callback_url, subscription) or wanted
    console.print(
        f"{subscription.tenant}: subscription {subscription.subscription_id}: {_outcome(made)}", soft_wrap=True
    )
    return made.state == "asked"


def _outcome(made: Resend) -> str:
    if made.state == "asked":
        return "AMPECO sends again what it could not deliver"
    if made.state == "failed":
        return f"AMPECO refused: {made.error}"
    later = f"the workers will ask at {made.due_at:%H:%M} UTC"
    return f"AMPECO may be asked once in 15 minutes; {later}" if made.error is None else f"{made.error}; {later}"
