"""A token is rotated as docs/operations/running.md says, and not one notification is refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import text

from ampeco.api.client import Client
from receiver.accept.app import create_app
from receiver.admin.monitoring import Token, watched
from runtime.settings import Settings
from storage.monitoring.subscriptions import locked
from tests.support.monitored import Watch, watching
from tests.support.service import TOKEN, eventually, free_port, running
from workers.api.context import create_context
from workers.monitoring.subscriptions import callback_url, subscribe_and_manage
from workers.monitoring.traffic import monitor_traffic

NEW = "the-new-token-93b1"


@dataclass
class Deployment:
    """A receiver on one address that is restarted with other tokens."""

    watch: Watch
    path: Path
    port: int

    @property
    def url(self) -> str:
        return callback_url(f"http://127.0.0.1:{self.port}", "demo")

    @contextlib.contextmanager
    def started(self, token: str, *signing_tokens: str) -> Iterator[Settings]:
        """The receiver with these tokens; the tenant rests while it is started and stopped."""
        api_url = self.watch.service.settings.tenants["demo"].url
        self.path.write_text(
            f'[tenants.demo]\nbase_url = "{api_url}"\ntoken = "{token}"\n'
            f"signing_tokens = {json.dumps(signing_tokens)}\ncalls_per_minute = 6000\n"
        )
        settings = self.watch.service.settings.model_copy(update={"tenants_file": self.path})
        settings.__dict__.pop("tenants", None)
        with running(create_app(settings), self.port):
            self.watch.simulator.runner.resume()
            yield settings
            self.watch.simulator.runner.pause()
            eventually(lambda: self.watch.simulator.delivery.waiting == 0)

    def subscribe(self, settings: Settings, token: str, *, replace_existing: bool = False) -> None:
        tenant = settings.tenants["demo"]
        with Client(tenant.url, SecretStr(token)) as client, locked(self.watch.service.engine, "demo") as lock:
            assert lock is not None
            subscribe_and_manage(lock, client, tenant, self.url, replace_existing=replace_existing)

    def await_notifications(self) -> None:
        """Wait until more notifications have come."""
        before = self.watch.service.count("ingest.notification")
        eventually(lambda: self.watch.service.count("ingest.notification") > before + 5)

    def tokens(self, settings: Settings) -> dict[str, Token]:
        """What `status` says of the tokens: of the API's, and of the old one."""
        with create_context(settings, process="tests") as context:
            monitor_traffic(context, timedelta(0))
            with context.engine.connect() as connection:
                found = watched(connection, settings.tenants).tokens
        return {"api" if token.is_api_token else "old": token for token in found}

    def pass_a_day(self) -> None:
        with self.watch.service.engine.begin() as connection:
            connection.execute(text("DELETE FROM ingest.notification"))
            connection.execute(text("UPDATE ingest.token_use SET last_used_at = last_used_at - interval '25 h'"))


def test_old_and_new_verify_until_the_old_one_is_unused_for_a_day(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with watching(database_url, redis_url, tmp_path) as watch:
        deployment = Deployment(watch, tmp_path / "rotated.toml", free_port())
        with deployment.started(TOKEN) as settings:
            deployment.subscribe(settings, TOKEN)
            deployment.await_notifications()
        # 1, 2: the new token is where the API's is found, and the old one beside it.
        with deployment.started(NEW, TOKEN) as settings:
            # AMPECO knows the new one; the subscription still signs with the old one.
            rotated = {"token": NEW, "resign": False}
            api_url = settings.tenants["demo"].url
            assert watch.service.client.post(f"{api_url}/control/rotate-token", json=rotated).is_success
            deployment.await_notifications()
            # 3: which one signs?
            found = deployment.tokens(settings)
            assert found["old"].last_used_at is not None
            assert found["api"].last_used_at is None
            assert not found["old"].may_be_removed
            # 4: the subscription is made again.
            deployment.subscribe(settings, NEW, replace_existing=True)
            assert [one.token for one in watch.simulator.subscribers.by_id.values()] == [NEW]
            deployment.await_notifications()
            assert not deployment.tokens(settings)["old"].may_be_removed
            deployment.pass_a_day()
            deployment.await_notifications()
            # 5: a day later the old one may go.
            assert deployment.tokens(settings)["old"].may_be_removed
        with deployment.started(NEW) as settings:
            deployment.await_notifications()
            assert set(deployment.tokens(settings)) == {"api"}
        # Not one was refused on the way.
        state = watch.simulator.delivery.state()
        assert (state["refused"], state["failed"]) == (0, 0)
