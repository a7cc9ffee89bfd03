"""A real browser: Debian's Chromium, driven by Playwright, with the content security policy in force."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.console import CHROMIUM, TOKENS, RunningConsole, serving_console
from tests.support.tenant import Tenant, tenant

# A condition that comes true ends the wait; on a busy machine it may take long.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A browser for these tests alone: while Playwright runs, no other test can run an event loop of its own."""
    if not CHROMIUM.exists():
        assert "CI" not in os.environ, "CI installs chromium"
        pytest.skip(f"{CHROMIUM} is missing: install Debian's chromium")
    with sync_playwright() as playwright:
        # Its sandbox cannot be used by root, as which CI runs.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def fleet(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant that has run for two hours, of which everything was delivered, read and derived."""
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC), size=6) as made:
        yield made


@pytest.fixture
def console(fleet: Tenant) -> Iterator[RunningConsole]:
    """A console on the data of the fleet."""
    with serving_console(fleet.service.settings) as running:
        yield running


@pytest.fixture
def page(browser: Browser, console: RunningConsole) -> Iterator[Page]:
    """A page that is signed in with the role act; an error in the browser's console fails the test."""
    context = browser.new_context(base_url=console.url)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto("/")
    opened.get_by_label("Token").fill(TOKENS["act"])
    opened.get_by_role("button", name="Sign in").click()
    opened.wait_for_selector("nav")
    yield opened
    context.close()
    assert errors == []
