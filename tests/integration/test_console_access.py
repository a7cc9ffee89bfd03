"""No person sees or does anything in the console without being allowed to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from receiver.console.access import sign_in
from receiver.console.access.sign_in import COOKIE
from receiver.console.serve import serve_console
from runtime.settings import SettingsError
from tests.support.console import NAMES, TOKENS, RunningConsole, serving_console
from tests.support.service import Service


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


def test_without_signing_in_every_page_leads_to_the_form_and_back(console: RunningConsole) -> None:
    answer = console.anybody.get("/?tenant=demo")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?then=%2F%3Ftenant%3Ddemo")
    form = {"token": TOKENS["look"], "then": "/?tenant=demo"}
    assert console.anybody.post("/sign-in", data=form).headers["location"] == "/?tenant=demo"
    assert console.anybody.get("/live/unknown").status_code == 404


@pytest.mark.parametrize(
    "then", ["https://example.org/", "//example.org/", "/\\example.org", "javascript:alert(1)", "//[example.org"]
)
def test_signing_in_never_leads_to_another_site(console: RunningConsole, then: str) -> None:
    answer = console.anybody.post("/sign-in", data={"token": TOKENS["look"], "then": then})
    assert answer.headers["location"] == "/"
    assert console.anybody.get("/sign-in", params={"then": then}).status_code == 200


def test_the_cookie_is_out_of_reach_and_cannot_be_forged(console: RunningConsole) -> None:
    cookie = console.anybody.post("/sign-in", data={"token": TOKENS["look"]}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKENS["look"] not in cookie
    value = console.anybody.cookies[COOKIE]
    console.anybody.cookies.clear()
    for forged in (value.replace(NAMES["look"], NAMES["act"]), value[:-1], NAMES["act"], ""):
        console.anybody.cookies.set(COOKIE, forged)
        assert console.anybody.get("/").status_code == 303, forged


def test_a_sign_in_ends_after_twelve_hours(console: RunningConsole, monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.looker.get("/").status_code == 200
    monkeypatch.setattr(sign_in, "SIGNED_IN_FOR", timedelta(seconds=-1))
    assert console.looker.get("/").status_code == 303


def test_guessing_is_stopped(console: RunningConsole) -> None:
    answers = [console.anybody.post("/sign-in", data={"token": f"guess {number}"}) for number in range(12)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2
    assert console.anybody.post("/sign-in", data={"token": TOKENS["act"]}).status_code == 429


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "", "Origin": "https://example.org"},
        {"Sec-Fetch-Site": ""},
    ],
)
def test_nothing_is_done_for_a_page_of_another_site(console: RunningConsole, headers: dict[str, str]) -> None:
    assert console.actor.post("/sign-out", headers=headers).status_code == 403
    assert console.actor.get("/").status_code == 200


@pytest.mark.parametrize("origin", ["https://example.org", "https://[example.org", "null"])
def test_an_old_browser_does_nothing_for_a_page_of_another_site(console: RunningConsole, origin: str) -> None:
    # It sends no header of its own that says where the page came from
    answer = httpx.post(f"{console.anybody.base_url}/sign-out", headers={"Origin": origin})
    assert answer.status_code == 403


def test_a_console_without_users_answers_only_to_names_of_this_machine(service: Service) -> None:
    with serving_console(service.settings, has_users=False) as console:
        assert console.anybody.get("/").status_code == 200
        assert console.anybody.get("/", headers={"Host": "evil.example:8082"}).status_code == 421


def test_a_console_without_users_does_not_listen_where_others_reach_it(service: Service) -> None:
    settings = service.settings.model_copy(update={"console_host": "0.0.0.0", "console_port": 0})
    with pytest.raises(SettingsError, match="the console needs users"):
        serve_console(settings)


@pytest.mark.parametrize("path", ["/", "/sign-in", "/static/console.css", "/not-there", "/healthz"])
def test_every_answer_forbids_what_a_page_does_not_need(console: RunningConsole, path: str) -> None:
    for client in (console.actor, console.anybody):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
