"""The commands for subscriptions: ``subscribe``, ``unsubscribe`` and ``subscriptions``.

A subscription that ``subscribe`` makes is recorded in the database; the subscription monitor checks it from then on.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.status import Status
from rich.table import Table
from sqlalchemy import Engine

from ampeco.api.client import Client
from ampeco.errors import ApiError
from ampeco.resources.charging import Subscription
from ampeco.tenants import Tenant
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.reconcile import backfill
from receiver.commands.urls import url_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.exits import print_failure
from receiver.terminal import console, errors
from runtime.settings import Settings, SettingsError, load_settings
from storage.monitoring import subscriptions as store
from storage.monitoring.subscriptions import SubscriptionLock, locked
from workers.monitoring import subscriptions as logic
from workers.monitoring.subscriptions import callback_url

#: How long a command waits for the subscription monitor, which may be checking the same subscriptions.
LOCK_WAIT_SECONDS = 60.0

UrlOption = Annotated[
    str | None,
    url_option("--public-url", "URL at which AMPECO reaches the receiver; by default, RECEIVER_PUBLIC_URL."),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace", help="Make a new subscription, then remove older ones: a new one is signed with the current token."
    ),
]


def subscribe(
    tenant: TenantOption = None, public_url: UrlOption = None, replace_existing: ReplaceOption = False
) -> None:
    """Make sure that each tenant has exactly one subscription for this receiver, and monitor it from now on."""
    new: list[str] = []
    failures = _Failures()
    with _session("subscribe", tenant, public_url) as session:
        for configured, client, url in session.tenants:
            with failures.of(configured.name):
                with _asking(configured.name), session.locked(configured) as lock:
                    result = logic.subscribe_and_manage(
                        lock, client, configured, url, replace_existing=replace_existing
                    )
                disabled = "; it is disabled at AMPECO" if result.is_disabled else ""
                console.print(
                    f"{configured.name}: subscription {result.subscription_id} {result.action}, {url},"
                    f" {len(configured.notifications)} notifications{disabled}",
                    soft_wrap=True,
                )
                for removed in result.removed:
                    console.print(f"{configured.name}: another subscription {removed} for the same URL removed")
                if result.action == "created" and not replace_existing:
                    new.append(configured.name)
    for name in new:
        _offer_backfill(name)
    failures.end()


def _offer_backfill(tenant: str) -> None:
    """Offer a backfill, because notifications do not show what existed before the subscription."""
    if console.is_terminal and sys.stdin.isatty():
        if typer.confirm(f"{tenant}: read the existing data from AMPECO now? You can also do it later", default=True):
            # From the start, because an earlier subscription that is gone may have had its backfill.
            backfill(again=True, tenant=tenant)
    else:
        console.print(f"{tenant}: `ampeco-receiver backfill --tenant {tenant}` reads the existing data from AMPECO.")


def unsubscribe(tenant: TenantOption = None, public_url: UrlOption = None) -> None:
    """Remove every subscription of each tenant for this receiver."""
    failures = _Failures()
    with _session("unsubscribe", tenant, public_url) as session:
        for configured, client, url in session.tenants:
            with failures.of(configured.name):
                with _asking(configured.name), session.locked(configured) as lock:
                    current = logic.find_managed_id(lock, configured.name, url)
                    # Released first, because the monitor must not make it again whatever happens next.
                    with lock.begin() as connection:
                        store.release(connection, configured.name, url)
                    removed = logic.unsubscribe(client, url, current)
                ids = ", ".join(map(str, removed))
                console.print(
                    f"{configured.name}: " + (f"subscription {ids} removed" if ids else "there was no subscription")
                )
    failures.end()


def subscriptions(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List every subscription of each tenant, including those for other receivers."""
    listed: list[tuple[str, Subscription]] = []
    failures = _Failures()
    with _clients(load_settings(), tenant) as clients:
        for configured, client in clients:
            with failures.of(configured.name), _asking(configured.name):
                listed += [(configured.name, subscription) for subscription in client.subscriptions()]
    if as_json:
        print_json({"subscriptions": [_document(name, subscription) for name, subscription in listed]})
    elif listed or not failures:
        console.print(_table(listed))
    failures.end()


def _table(listed: list[tuple[str, Subscription]]) -> Table | str:
    if not listed:
        return "There is no subscription."
    table = Table("Tenant", "Id", "Via", "Callback URL", "Notifications")
    for name, subscription in listed:
        names = ", ".join(subscription.notifications)
        table.add_row(name, str(subscription.id), subscription.via, _url_of(subscription) or "–", names)
    return table


def _document(tenant: str, subscription: Subscription) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "subscription_id": subscription.id,
        "via": subscription.via,
        "callback_url": _url_of(subscription),
        "notifications": subscription.notifications,
        "is_disabled": subscription.is_disabled,
    }


def _url_of(subscription: Subscription) -> str | None:
    return subscription.webhook.callback_url if subscription.webhook else None


def _asking(tenant: str) -> Status:
    """Show on a terminal that AMPECO is asked, which takes long if it does not answer."""
    return errors.status(f"{tenant}: asking AMPECO")


class _Failures:
    """The tenants for which a command failed; each is reported at once, and keeps none of the others waiting."""

    def __init__(self) -> None:
        self._tenants: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._tenants)

    @contextlib.contextmanager
    def of(self, tenant: str) -> Iterator[None]:
        """Do a tenant's part of the command; if that fails, say so in one sentence that names the tenant."""
        try:
            yield
        except (ApiError, _LockedError) as error:
            self._tenants.append(tenant)
            what = f"AMPECO: {error}" if isinstance(error, ApiError) else str(error)
            print_failure(f"{tenant}: {what}")

    def end(self) -> None:
        """End the command as failed if it failed for a tenant."""
        if self._tenants:
            raise typer.Exit(2)


class _LockedError(Exception):
    """Another process is changing the subscriptions of the tenant."""


class _Session:
    """The tenants of one command with their clients and callback URLs, and the database."""

    def __init__(self, engine: Engine, tenants: list[tuple[Tenant, Client, str]]) -> None:
        self._engine = engine
        self.tenants = tenants

    @contextlib.contextmanager
    def locked(self, tenant: Tenant) -> Iterator[SubscriptionLock]:
        """Hold the lock of a tenant's subscriptions during the block.

        Raises:
            _LockedError: another process has it.
        """
        with locked(self._engine, tenant.name, wait_seconds=LOCK_WAIT_SECONDS) as lock:
            if lock is None:
                raise _LockedError("another process is changing its subscriptions; try again.")
            yield lock


@contextlib.contextmanager
def _session(process: str, only: str | None, public_url: str | None) -> Iterator[_Session]:
    settings = load_settings()
    urls = {name: _callback_url(settings, public_url, name) for name in chosen_tenants(settings, only)}
    with running(process) as ready, database(ready, pool_size=2) as engine, _clients(ready, only) as clients:
        require_migrated(ready)
        yield _Session(engine, [(tenant, client, urls[tenant.name]) for tenant, client in clients])


@contextlib.contextmanager
def _clients(settings: Settings, only: str | None) -> Iterator[list[tuple[Tenant, Client]]]:
    tenants = [settings.tenants[name] for name in chosen_tenants(settings, only)]
    with contextlib.ExitStack() as stack:
        timeout = settings.api_timeout.total_seconds()
        yield [
            (tenant, stack.enter_context(Client(tenant.url, tenant.api_token(), timeout_seconds=timeout)))
            for tenant in tenants
        ]


def _callback_url(settings: Settings, option: str | None, tenant: str) -> str:
    public_url = option or settings.public_url
    if public_url is None:
        raise SettingsError("RECEIVER_PUBLIC_URL is not set, and no --public-url was given: AMPECO needs this URL.")
    return callback_url(public_url, tenant)
