"""The command ``resend``, which requests that AMPECO send undelivered notifications again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from receiver.commands.times import require_past, time_option
from receiver.environment import TenantOption, chosen_tenants, require_migrated, running
from receiver.terminal import console, errors
from storage.monitoring import resends
from storage.monitoring.resends import Resend
from storage.monitoring.subscriptions import ManagedSubscription, managed_subscriptions
from workers.api.context import Context, create_context
from workers.monitoring.resend import ask

SinceOption = Annotated[
    datetime | None,
    time_option("--since", "Only what failed at this time or later; by default, everything that AMPECO has kept"),
]


def resend(since: SinceOption = None, tenant: TenantOption = None) -> None:
    """Ask AMPECO to send undelivered notifications again; at most once in 15 minutes for each subscription."""
    require_past(since, "--since")
    with running("resend") as settings:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        with create_context(settings, process="resend") as context:
            with context.engine.begin() as connection:
                managed = managed_subscriptions(connection, names)
            accepted = [_resend_one(context, subscription, since) for subscription in managed]
    for name in sorted({*names} - {subscription.tenant for subscription in managed}):
        errors.print(f"{name}: there is no managed subscription; `ampeco-receiver subscribe` makes one")
    if not managed or not all(accepted):
        raise typer.Exit(1)


def _resend_one(context: Context, subscription: ManagedSubscription, since: datetime | None) -> bool:
    """Request a resend for one subscription and print the result; return whether AMPECO accepted."""
    with context.engine.begin() as connection:
        requested = resends.request_resend(connection, subscription, "manual", since)
    resend = ask(context, subscription.tenant, subscription.callback_url, subscription) or requested
    console.print(
        f"{subscription.tenant}: subscription {subscription.subscription_id}: {_result(resend)}", soft_wrap=True
    )
    return resend.state == "asked"


def _result(resend: Resend) -> str:
    if resend.state == "asked":
        return "AMPECO sends the undelivered notifications again"
    if resend.state == "failed":
        return f"AMPECO refused: {resend.error}"
    later = f"the workers will ask at {resend.due_at:%H:%M} UTC"
    return f"AMPECO may be asked once in 15 minutes; {later}" if resend.error is None else f"{resend.error}; {later}"
