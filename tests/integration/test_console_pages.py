"""Every page of the console: for each role, signed out, and with hostile names from the fleet."""

from __future__ import annotations

import pytest
from starlette.routing import Route

from receiver.console.app import create_console_app
from tests.support.console import RunningConsole
from tests.support.console_pages import PAGES, store_for_pages
from tests.support.service import Service

#: What is no page: parts, streams and files.
NO_PAGES = {"/sign-in", "/healthz", "/live/{topic}", "/tenants/{tenant}/replays/{action_id:uuid}/progress"}


@pytest.fixture(scope="module")
def console(shared_service: Service, shared_console: RunningConsole) -> RunningConsole:
    store_for_pages(shared_service)
    return shared_console


def test_every_page_is_tested(shared_service: Service) -> None:
    app = create_console_app(shared_service.settings)
    shown = {route.path for route in routes_of(app) if "GET" in (route.methods or ())}
    assert shown - NO_PAGES == PAGES.keys()


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_answers_both_roles_and_no_one_else(console: RunningConsole, path: str) -> None:
    assert console.looker.get(path).status_code == 200
    assert console.actor.get(path).status_code == 200
    answer = console.anybody.get(path)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_of_another_tenant_or_with_a_foreign_filter_is_an_answer(console: RunningConsole, path: str) -> None:
    for change in ("tenant=unknown", "page=x&span=%00&from=yesterday&state=%27&tenant=demo"):
        assert console.actor.get(f"{path.partition('?')[0]}?{change}").status_code in {200, 400, 404}, change


def routes_of(app: object) -> list[Route]:
    """The routes of the console's app, which is wrapped by the function that ignores trailing slashes."""
    (inner,) = [cell.cell_contents for cell in app.__closure__]  # type: ignore[attr-defined]
    return [route for route in inner.routes if isinstance(route, Route)]
