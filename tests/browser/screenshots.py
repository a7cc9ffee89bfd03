"""Renew the pictures of the console in the documentation: ``python -m tests.browser.screenshots``.

They show a simulated tenant with a fixed seed, so that they change only if the pages do, apart from times.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from playwright.sync_api import Page, sync_playwright
from sqlalchemy import Engine, text

from analytics.derive import derive_round
from receiver.processes.embedded import embedded_postgres, embedded_redis
from receiver.processes.service import bring_up_to_date
from runtime.settings import Settings
from storage.monitoring import minutes
from tests.support.console import CHROMIUM, TOKENS, serving_console
from tests.support.tenant import Tenant, tenant

PICTURES = Path(__file__).parents[2] / "docs" / "images"

#: How long the tenant has lived: a day of it is over.
HOURS = 50

#: The pictures: a name, and the address.
SHOWN = {
    "now": "/",
    "fleet": "/fleet?tenant=demo",
    "session": "/tenants/demo/sessions/{session}",
    "uptime": "/uptime?tenant=demo",
}


def main() -> None:
    """Take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-") as made,
        embedded_postgres(Path(made) / "postgres") as database_url,
        embedded_redis(Path(made) / "redis") as redis_url,
    ):
        bring_up_to_date(Settings(database_url=database_url, redis_url=redis_url))
        start = datetime.now(UTC) - timedelta(hours=HOURS)
        with tenant(database_url, redis_url, Path(made), size=12, start=start) as living:
            live(living)
            session = most_sampled_session(living.service.engine)
            with serving_console(living.service.settings) as console, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(base_url=console.url, viewport={"width": 1280, "height": 900})
                sign_in(page)
                for name, path in SHOWN.items():
                    page.goto(path.format(session=session))
                    page.wait_for_timeout(1_500)  # charts and the first live message
                    page.screenshot(path=PICTURES / f"console-{name}.png")
                browser.close()


def live(living: Tenant) -> None:
    """Let the tenant live until now, with a receiver that is alive all the time."""
    chance, engine = Random(1), living.service.engine
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:start, now())"), {"start": living.now})
    for _ in range(HOURS * 2):
        living.live(30)
        living.deliver(1, chance, in_order=True)
        living.service.apply()
        with engine.begin() as connection:
            minutes.record(connection, "demo")
    living.reconcile()
    derive(engine)


def derive(engine: Engine) -> None:
    """Derive what is marked."""
    while (done := derive_round(engine, "demo")) is None or not done.is_done:
        pass


def most_sampled_session(engine: Engine) -> int:
    """Return the session with the most meter values, whose curves show most."""
    statement = text("""
        SELECT session_id FROM charging.meter_value WHERE tenant = 'demo' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1
    """)
    with engine.connect() as connection:
        return int(connection.execute(statement).scalar_one())


def sign_in(page: Page) -> None:
    """Sign in with the role act."""
    page.goto("/")
    page.get_by_label("Token").fill(TOKENS["act"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("nav")


if __name__ == "__main__":
    main()
