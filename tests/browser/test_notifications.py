"""The pages about notifications in a browser, and a console that is killed under an open page."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from storage.state import notifications
from tests.support.console import TOKENS, USERS, RunningConsole
from tests.support.processes import processes
from tests.support.replay import faulted_at
from tests.support.service import eventually, free_port
from tests.support.tenant import Tenant


def test_a_failed_notification_is_found_and_replayed(
    page: Page, fleet: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(notifications, "_hardware_status", lambda *_: 1 / 0)
        for second in (1, 2):
            assert fleet.service.post(faulted_at(second)).status_code == 202
        fleet.service.apply()
    page.get_by_role("link", name="Notifications", exact=True).click()
    causes = page.get_by_role("region", name="Table of causes")
    cause = causes.get_by_role("row", name="cannot be applied")
    expect(cause).to_contain_text("ZeroDivisionError")
    cause.get_by_role("link", name="Show").click()
    found = page.get_by_role("region", name="Table of notifications")
    found.get_by_role("row", name="HardwareStatusNotification").first.get_by_role("link").first.click()
    expect(page.locator("#error")).to_have_text("ZeroDivisionError: division by zero")
    page.go_back()
    # The count is said before it
    page.get_by_role("link", name="Replay all that match").click()
    expect(page.locator("#command")).to_contain_text("ampeco-receiver replay --tenant demo")
    page.get_by_role("button", name="Replay 2 notifications").click()
    # and after it, without loading the page again
    expect(page.get_by_role("heading", name="Done")).to_be_visible(timeout=30_000)
    expect(page.locator("#applied")).to_have_text("2, 2 of them for the first time")
    expect(page.locator("#left")).to_have_text("0")
    page.get_by_role("navigation").get_by_role("link", name="Actions").click()
    row = page.get_by_role("row", name="arno")
    expect(row).to_contain_text("replay")
    expect(row.get_by_role("cell").nth(5)).to_have_text("2")


def test_a_page_outlives_a_console_that_is_killed_and_stays_signed_in(
    browser: Browser, fleet: Tenant, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (directory := tmp_path / "processes").mkdir()
    with (
        processes(database_url, redis_url, directory, RECEIVER_CONSOLE_PORT=str(port)) as started,
        browser.new_context() as context,
    ):
        tenants = Path(started.environment["TENANTS_FILE"])
        tenants.write_text(tenants.read_text() + USERS)
        console = started.start("-m", "receiver", "console")
        eventually(lambda: answers(url))
        page = context.new_page()
        page.goto(url)
        page.get_by_label("Token").fill(TOKENS["look"])
        page.get_by_role("button", name="Sign in").click()
        root = page.locator("html")
        expect(page.get_by_role("heading", name="Now", exact=True)).to_be_visible()
        console.kill()
        expect(root).to_have_class(re.compile("stale"), timeout=30_000)
        started.start("-m", "receiver", "console")
        expect(root).not_to_have_class(re.compile("stale"), timeout=60_000)
        page.get_by_role("navigation").get_by_role("link", name="Tenants").click()
        expect(page.get_by_role("heading", name="Tenants")).to_be_visible()


def test_a_stream_that_could_not_be_opened_is_opened_later(browser: Browser, console: RunningConsole) -> None:
    with browser.new_context(base_url=console.url) as context:
        page = context.new_page()
        page.route("**/live/now", lambda route: route.abort())
        page.goto("/")
        page.get_by_label("Token").fill(TOKENS["look"])
        page.get_by_role("button", name="Sign in").click()
        root = page.locator("html")
        expect(root).to_have_class(re.compile("stale"), timeout=30_000)
        page.unroute("**/live/now")
        expect(root).not_to_have_class(re.compile("stale"), timeout=30_000)


def answers(url: str) -> bool:
    """Whether a console answers."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/healthz").is_success
    return False
