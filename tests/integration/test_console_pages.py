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


#: What is no id: no number, one below zero, one larger than any that is stored, and one with more digits than are read.
NO_IDS = ("x", "-1", "9" * 20, "9" * 5_000)


@pytest.mark.parametrize("path", [path for path in PAGES if path.endswith("id}")])
@pytest.mark.parametrize("wrong", NO_IDS, ids=("text", "negative", "large", "very long"))
def test_an_address_with_what_is_no_id_is_not_found(console: RunningConsole, path: str, wrong: str) -> None:
    place = path.replace("{tenant}", "demo").replace("{kind}", "session").rpartition("/")[0]
    assert console.looker.get(f"{place}/{wrong}").status_code == 404


#: Values that cannot be meant, by page.
LEFT_OUT = {
    "/fleet": ("state", "location", "charge_point"),
    "/sessions": ("outcome", "evse", "from", "min_kwh"),
    "/notifications": ("state", "session", "from"),
    "/findings": ("state", "rule", "severity", "kind", "before"),
    "/uptime": ("month", "by", "sort", "part"),
    PAGES["/tenants/{tenant}/uptime/{evse_id}"].partition("?")[0]: ("month", "outages", "entry"),
    "/why": ("kind", "id"),
}


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in LEFT_OUT.items() for name in names])
def test_a_page_says_what_of_its_filter_is_left_out(console: RunningConsole, page: str, name: str) -> None:
    answer = console.looker.get(f"{page}?tenant=demo&{name}=wrong!")
    assert answer.status_code == 200
    assert answer.text.count(" is left out, because its value is not ") == 1


def routes_of(app: object) -> list[Route]:
    """The routes of the console's app, which is wrapped by the function that ignores trailing slashes."""
    (inner,) = [cell.cell_contents for cell in app.__closure__]  # type: ignore[attr-defined]
    return [route for route in inner.routes if isinstance(route, Route)]
