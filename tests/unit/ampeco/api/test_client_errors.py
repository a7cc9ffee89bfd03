from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from ampeco import errors
from ampeco.api.client import Client
from tests.unit.ampeco.samples import sample
from tests.unit.ampeco.tenant import BASE_URL, TOKEN, FakeTenant, answer

CALLBACK_URL = "https://hooks.example.com/ampeco"


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind", "message"),
        [
            (400, errors.Invalid, "Bad filter."),
            (401, errors.Unauthorized, "Unauthenticated."),
            (403, errors.Forbidden, "This action is unauthorized."),
            (404, errors.NotFound, "The record is not found"),
            (405, errors.Invalid, "Not that way."),
            (409, errors.Conflict, "Not now."),
            (410, errors.NotFound, "It left."),
            (422, errors.Invalid, "The given data was invalid."),
            (429, errors.RateLimited, "Too many requests."),
        ],
    )
    def test_each_refusal_has_its_own_error_and_is_not_repeated(
        self, status: int, kind: type[errors.ApiError], message: str
    ) -> None:
        tenant = FakeTenant(answer({"message": message}, status))

        with tenant.client() as client, pytest.raises(kind) as caught:
            client.session(7)

        assert str(caught.value) == f"GET /public-api/resources/sessions/v1.0/7 answered {status}: {message}"
        assert caught.value.status == status
        assert len(tenant.requests) == 1

    def test_an_invalid_request_carries_ampecos_sentences_by_field(self) -> None:
        tenant = FakeTenant(answer(sample("rest/error_422.json"), 422))

        with tenant.client() as client, pytest.raises(errors.Invalid) as caught:
            client.subscribe(CALLBACK_URL, [])

        assert caught.value.errors == {"notifications": ("The notifications field is required.",)}

    @pytest.mark.parametrize("status", [400, 401, 403, 409, 422, 429])
    @pytest.mark.parametrize("content", [b"<html>Forbidden</html>", b"", b"[1]", b'{"message": 7, "errors": [1]}'])
    def test_a_refusal_without_readable_json_is_still_that_refusal(self, status: int, content: bytes) -> None:
        tenant = FakeTenant(httpx.Response(status, content=content))

        with tenant.client() as client, pytest.raises(errors.ApiError) as caught:
            client.session(7)

        assert caught.value.status == status
        assert "<html>" not in str(caught.value)

    @pytest.mark.parametrize("status", [404, 410])
    @pytest.mark.parametrize("content", [b"<html>This domain is for sale</html>", b"", b"Not Found", b"[]"])
    def test_a_page_that_is_not_ampecos_makes_nothing_look_deleted(self, status: int, content: bytes) -> None:
        tenant = FakeTenant(httpx.Response(status, content=content))

        with tenant.client() as client, pytest.raises(errors.Unavailable, match="not AMPECO's own"):
            client.session(7)

    @pytest.mark.parametrize(
        "reply",
        [
            httpx.Response(500),
            httpx.Response(502, text="<html>Bad gateway</html>"),
            httpx.Response(503),
            httpx.Response(408),
            httpx.Response(200, text="<html>Please log in</html>"),
            httpx.Response(302, headers={"Location": "https://elsewhere.example.com/"}),
            httpx.ConnectError("refused"),
            httpx.ReadTimeout("slow"),
            httpx.RemoteProtocolError("cut off"),
        ],
        ids=["500", "502", "503", "408", "html", "redirect", "refused", "timeout", "cut off"],
    )
    def test_without_a_usable_answer_a_read_is_repeated_and_then_unavailable(
        self, reply: httpx.Response | Exception, waits: list[float]
    ) -> None:
        tenant = FakeTenant(reply)

        with tenant.client(max_attempts=3) as client, pytest.raises(errors.Unavailable):
            client.session(7)

        assert len(tenant.requests) == 3
        assert len(waits) == 2
        assert waits[0] <= 0.5
        assert waits[1] <= 1

    def test_a_read_that_succeeds_on_repetition_is_a_success(self) -> None:
        tenant = FakeTenant(httpx.ConnectError("refused"), answer(sample("rest/session_read.json")))

        with tenant.client() as client:
            assert client.session(77120).resource.id == 77120

    def test_a_redirect_is_not_followed(self) -> None:
        tenant = FakeTenant(httpx.Response(302, headers={"Location": "https://elsewhere.example.com/"}))

        with tenant.client(max_attempts=1) as client, pytest.raises(errors.Unavailable, match="check the base URL"):
            client.session(7)

        assert {request.url.host for request in tenant.requests} == {"tenant.example.com"}

    def test_a_tenant_under_maintenance_is_left_alone_for_as_long_as_it_asks(self) -> None:
        tenant = FakeTenant(httpx.Response(503, headers={"Retry-After": "60"}))

        with tenant.client() as client, pytest.raises(errors.Unavailable) as caught:
            client.session(7)

        assert caught.value.retry_after_seconds == 60
        assert len(tenant.requests) == 1


class TestRateLimits:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, 30),
            ({"Retry-After": "7"}, 7),
            ({"Retry-After": "0"}, 1),
            ({"Retry-After": "999999"}, 86_400),
            ({"Retry-After": "Wed, 04 Mar 2026 07:02:00 GMT"}, 120),
            ({"Retry-After": "Wed, 04 Mar 2026 06:00:00 GMT"}, 1),
            ({"Retry-After": "later"}, 30),
            ({"Retry-After": "nan"}, 30),
            ({"Retry-After": "-5"}, 30),
            ({"X-RateLimit-Reset": "1772607645"}, 45),
            ({"X-RateLimit-Reset": "12"}, 12),
            ({"X-RateLimit-Reset": "soon"}, 30),
            ({"Retry-After": "7", "X-RateLimit-Reset": "1772607645"}, 7),
        ],
    )
    def test_the_delay_is_the_one_asked_for_by_the_tenants_own_clock(
        self, headers: dict[str, str], seconds: float
    ) -> None:
        headers = {"Date": "Wed, 04 Mar 2026 07:00:00 GMT", **headers}
        tenant = FakeTenant(httpx.Response(429, json=sample("rest/error_429.json"), headers=headers))

        with tenant.client() as client, pytest.raises(errors.RateLimited) as caught:
            client.session(7)

        assert caught.value.retry_after_seconds == seconds
        assert len(tenant.requests) == 1


class TestToken:
    def test_the_token_is_in_no_text_form_of_the_client(self) -> None:
        with FakeTenant().client() as client:
            assert repr(client) == "Client('https://tenant.example.com')"
            assert TOKEN not in str(vars(client))

    def test_the_token_is_taken_out_of_an_answer_that_echoes_it(self) -> None:
        body = {"message": f"Bearer {TOKEN} expired", "errors": {"token": [TOKEN, {"value": TOKEN}]}}
        tenant = FakeTenant(answer(body, 422))

        with tenant.client() as client, pytest.raises(errors.Invalid) as caught:
            client.session(7)

        assert str(caught.value).endswith("Bearer [token] expired")
        assert TOKEN not in str(vars(caught.value))

    def test_a_failed_connections_error_leads_to_no_request_that_holds_the_token(self) -> None:
        tenant = FakeTenant(httpx.ConnectError(f"refused {TOKEN}"))

        with tenant.client(max_attempts=1) as client, pytest.raises(errors.Unavailable) as caught:
            client.session(7)

        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("token", ["", "two words", "line\n", "täken", "nul\x00"])
    def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(self, token: str) -> None:
        with pytest.raises(ValueError, match="one word of printable ASCII") as caught:
            Client(BASE_URL, SecretStr(token))

        assert not token or token not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["tenant.example.com", "ftp://tenant.example.com", "https://", "https://a:b@c.example"]
    )
    def test_a_base_url_that_is_no_plain_web_address_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="base URL"):
            Client(url, SecretStr(TOKEN))
