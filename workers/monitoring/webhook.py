"""The webhook that takes messages to people: their forms, and one attempt to send one.

The URL is a secret. No error contains it, and neither does what an answer quotes of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

import httpx

from ampeco.api.transport import tls_context
from runtime.alerts import Alerts, Format
from storage.clock import clock
from storage.ids import uuid7
from storage.monitoring.alerts import Incident, Kind

#: The longest wait for each part of an answer, seconds.
TIMEOUT_SECONDS = 5.0

#: How much of an answer is read for a person, bytes. Slack answers with a word.
MAX_ANSWER_BYTES = 1_000

#: Parts of a URL that are at least so long may be secrets; shorter ones are words of an answer, too.
_MIN_SECRET = 8

#: The most characters of the text of a block that Slack takes are 3000.
_MAX_TEXT = 2_900

#: The page of the console that shows what a kind of incident is about.
_PAGES: dict[Kind, str] = {
    "traffic_gap": "/tenants",
    "subscription_wrong": "/tenants",
    "token_rejected": "/tenants",
    "notifications_failed": "/notifications",
    "not_applied": "/notifications",
    "finding": "/findings",
    "process_lost": "/",
}


class WebhookError(Exception):
    """The webhook did not accept a message; the text is the reason, without the URL."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to people.

    Attributes:
        state: ``open``, ``resolved`` or ``test``. Receivers recognize a repeated message by it and ``incident_id``.
        tenant: the tenant's name; None if it concerns the service as a whole.
        link: the page of the console that shows more; None if no console is configured.
    """

    state: Literal["open", "resolved", "test"]
    incident_id: str
    tenant: str | None
    kind: str
    subject: str
    summary: str
    opened_at: datetime
    resolved_at: datetime | None = None
    link: str | None = None

    @property
    def text(self) -> str:
        """The message as one line for people."""
        tenant = f"{self.tenant}: " if self.tenant else ""
        if self.resolved_at is None:
            return f"{tenant}{self.summary}"
        return f"{tenant}Resolved since {self.resolved_at:%Y-%m-%d %H:%M} UTC: {self.summary}"


def incident_message(incident: Incident, console_url: str | None) -> Message:
    """Return the message of an incident that is to be sent."""
    assert incident.to_send is not None
    return Message(
        incident.to_send,
        str(incident.incident_id),
        incident.tenant or None,
        incident.kind,
        incident.subject,
        incident.summary,
        incident.opened_at,
        incident.resolved_at,
        None if console_url is None else console_url + _PAGES[incident.kind],
    )


def sample_message(console_url: str | None) -> Message:
    """Return a message by which a person tries the webhook."""
    summary = "This is a test of the alerts of ampeco-receiver; nothing is wrong."
    link = None if console_url is None else f"{console_url}/"
    return Message("test", str(uuid7()), None, "test", "", summary, clock.now(), link=link)


def document(message: Message, form: Format) -> dict[str, Any]:
    """Return the JSON of a message in one of the forms."""
    return _slack(message) if form == "slack" else _json(message)


def _json(message: Message) -> dict[str, Any]:
    return {
        "incident_id": message.incident_id,
        "state": message.state,
        "tenant": message.tenant,
        "kind": message.kind,
        "subject": message.subject,
        "summary": message.summary,
        "opened_at": message.opened_at.isoformat(),
        "resolved_at": None if message.resolved_at is None else message.resolved_at.isoformat(),
        "link": message.link,
    }


_ICONS = {"open": ":red_circle:", "resolved": ":large_green_circle:", "test": ":white_circle:"}


def _slack(message: Message) -> dict[str, Any]:
    """Return the form of Slack's incoming webhooks; the text is what notifications on a phone show."""
    details = " · ".join(_details(message))
    return {
        "text": _escape(message.text[:_MAX_TEXT]),
        "blocks": [
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": f"{_ICONS[message.state]} {_escape(message.text[:_MAX_TEXT])}"},
            },
            {"type": "context", "elements": [{"type": "mrkdwn", "text": details}]},
        ],
    }


def _details(message: Message) -> Iterator[str]:
    yield f"{message.kind} since {message.opened_at:%Y-%m-%d %H:%M} UTC"
    if message.subject:
        yield _escape(message.subject[: _MAX_TEXT // 2])
    if message.link is not None:
        yield f"<{_escape(message.link)}|console>"
    yield f"incident {message.incident_id}"


def _escape(text: str) -> str:
    """Escape what Slack takes for markup: ``<!channel>`` would alert everyone."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True, slots=True)
class Webhook:
    """The configured webhook; safe to share between threads, because each message has a connection of its own."""

    alerts: Alerts

    def send(self, message: Message, *, reads_answer: bool = False) -> str:
        """Send a message once, and return what the webhook answered.

        Parameters:
            reads_answer: whether to read the beginning of the answer's body, too, for a person.

        Raises:
            WebhookError: it did not answer with a success.
        """
        body = ""
        try:
            with (
                # A redirect could lead the message to another host.
                httpx.Client(timeout=TIMEOUT_SECONDS, verify=tls_context(), follow_redirects=False) as client,
                client.stream(
                    "POST", self.alerts.url.get_secret_value(), json=document(message, self.alerts.format)
                ) as response,
            ):
                status = response.status_code
                if reads_answer:
                    body = _beginning(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = self._safe(f"no answer: {type(error).__name__}: {error}")
        else:
            answer = self._safe(f"{_status(status)}{body and ': '}{body}")
            if response.is_success:
                return answer
            failure = f"{answer}, a redirect, which is not followed" if 300 <= status < 400 else answer
        # Raised outside the except block: a cause or context would contain the request, and with it the URL.
        raise WebhookError(failure)

    def _safe(self, text: str) -> str:
        """Return a text from outside as one line without the URL and the parts of it that may be secret."""
        secret = self.alerts.url.get_secret_value()
        url = httpx.URL(secret)
        parts = [secret, str(url), url.raw_path.decode(), url.username, url.password]
        parts += [*url.path.split("/"), *url.params.values()]
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _MIN_SECRET:
                text = text.replace(part, "[url]")
        # An answer could control the terminal of the person that tries the webhook.
        return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _beginning(response: httpx.Response) -> str:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    read = b""
    for part in response.iter_raw():
        read += part
        if len(read) >= MAX_ANSWER_BYTES or time.monotonic() > deadline:
            break
    return read[:MAX_ANSWER_BYTES].decode(errors="replace")
