"""Our own endpoints answer as their OpenAPI documents say, whatever they are sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ampeco.signature import sign
from receiver.accept import app
from receiver.accept import endpoint as notifications
from receiver.accept import protocol as connections
from receiver.admin.app import create_admin_app
from tests.support.service import TOKEN, Service, running

DOCS = Path(__file__).parents[2] / "docs"
PUBLIC = schemathesis.openapi.from_path(DOCS / "openapi.yaml")
ADMIN = schemathesis.openapi.from_path(DOCS / "openapi-admin.yaml")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

ADMIN_TOKEN = "an-admin-token-of-some-length"


def operations(schema: Any) -> dict[str, Any]:
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


def send(case: Any, url: str, **headers: str) -> requests.Response:
    """Send a case as it stands, but for headers of ours; hold the answer against the document."""
    prepared = requests.Request(**case.as_transport_kwargs(base_url=url, headers=headers)).prepare()
    return judged(case, prepared)


def judged(case: Any, prepared: requests.PreparedRequest) -> requests.Response:
    with requests.Session() as session:
        answer = session.send(prepared, allow_redirects=False, timeout=30)
    case.validate_response(answer, checks=CHECKS)
    return answer


def drawn(strategy: Any, examples: int, judge: Callable[[Any, bool], None]) -> None:
    """Draw so many cases, the same in every run, and a coin with each."""

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=strategy, coin=st.booleans())
    def run(case: Any, coin: bool) -> None:
        judge(case, coin)

    run()


EXAMPLES = [40, pytest.param(3_000, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])]


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the library's own, where it mutates
@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_a_notification_is_answered_as_documented(service: Service, mode: GenerationMode, examples: int) -> None:
    accepted: set[str] = set()

    def judge(case: Any, is_signed: bool) -> None:
        if not is_signed:
            assert send(case, service.url).status_code in {401, 404}
            return
        case.path_parameters = {"tenant": "demo"}
        prepared = requests.Request(**case.as_transport_kwargs(base_url=service.url)).prepare()
        body: Any = prepared.body or b""
        prepared.headers["X-Signature"] = sign(body.encode() if isinstance(body, str) else body, TOKEN)
        answer = judged(case, prepared)
        assert answer.status_code == 202
        accepted.add(answer.json()["id"])

    drawn(operations(PUBLIC)["POST /notifications/{tenant}"].as_strategy(mode), examples, judge)
    # Whatever was acknowledged is in the log, and ends
    service.apply()
    states = service.states()
    assert accepted == set(states)
    assert len(accepted) > examples / 10
    assert {state for state, _ in states.values()} <= {"applied", "ignored", "failed"}


@pytest.mark.parametrize("label", ["GET /healthz", "GET /readyz"])
def test_a_public_page_is_answered_as_documented(service: Service, label: str) -> None:
    def request(case: Any, _is_known: bool) -> None:
        send(case, service.url)

    drawn(operations(PUBLIC)[label].as_strategy(), 5, request)


@pytest.mark.parametrize("label", operations(ADMIN))
def test_an_admin_endpoint_is_answered_as_documented(service: Service, label: str) -> None:
    settings_with_token = service.settings.model_copy(update={"admin_token": SecretStr(ADMIN_TOKEN)})
    with running(create_admin_app(settings_with_token)) as url:

        def judge(case: Any, is_admin: bool) -> None:
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"} if is_admin else {"Authorization": "Bearer no"}
            assert send(case, url, **headers).status_code == (200 if is_admin else 401)

        drawn(operations(ADMIN)[label].as_strategy(), 6, judge)


@pytest.mark.parametrize("label", operations(PUBLIC))
def test_another_method_is_answered_with_the_allowed_ones(service: Service, label: str) -> None:
    operation = operations(PUBLIC)[label]
    for method in ("PUT", "PATCH", "DELETE", "TRACE"):
        answer = service.client.request(method, operation.path.replace("{tenant}", "demo"))
        assert answer.status_code == 405
        assert operation.method.upper() in answer.headers["Allow"]


def test_every_route_is_documented_and_no_other() -> None:
    source = Path(app.__file__).read_text()
    routes = {f"{app.NOTIFICATIONS_PATH}{{tenant}}", *re.findall(r'Route\("(/\w+)"', source)}
    assert routes == {operation.path for operation in operations(PUBLIC).values()}


def test_every_refusal_is_documented() -> None:
    source = Path(notifications.__file__).read_text()
    answers = {int(status) for status in re.findall(r"_refuse\(send, \"\w+\", (\d{3})", source)}
    answers |= {int(answer.split()[1]) for answer in connections._ANSWERS.values()}
    assert len(answers) >= 5
    documented = operations(PUBLIC)["POST /notifications/{tenant}"].definition.raw["responses"]
    assert {str(status) for status in answers} <= set(documented)
    codes = PUBLIC.raw_schema["components"]["schemas"]["Error"]["properties"]["error"]["enum"]
    assert set(re.findall(r"_refuse\(send, \"(\w+)\"", source)) <= set(codes)
