"""Traces follow a notification from its request to the message that applies it, and cost nothing where they are off."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import runtime.tracing
from receiver.accept.notifier import MAX_TRACEPARENTS, Notifier
from runtime.settings import SettingsError, load_settings
from storage.inbox.commit import CommitGroup, Entry
from tests.support.facts import sample
from tests.support.processes import end, processes
from tests.support.sender import Sender
from tests.support.service import Service, eventually, serving
from workers.broker import TRACEPARENTS, apply_message, create_broker, create_redis
from workers.process import work

BODY = sample("HardwareStatusNotification.evse")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that all processes of the test have ended."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(runtime.tracing, "create_exporter", lambda: exporter)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    return exporter


@pytest.fixture
def traced(database_url: str, redis_url: str, tmp_path: Path, spans: InMemorySpanExporter) -> Iterator[Service]:
    with serving(database_url, redis_url, tmp_path, tracing=True) as service:
        yield service


def ended(spans: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.kind == kind]


def apply_in_a_worker(service: Service) -> None:
    """Run a worker until every notification is applied."""
    stop = threading.Event()
    worker = threading.Thread(target=work, args=(service.settings, {"apply"}, stop))
    worker.start()
    try:
        eventually(lambda: not service.query("SELECT FROM ingest.batch WHERE applied_at IS NULL"))
    finally:
        stop.set()
        worker.join(60)


def test_the_message_that_applies_a_batch_links_to_the_requests_of_its_notifications(
    traced: Service, spans: InMemorySpanExporter
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert traced.post(BODY, Traceparent=parent).status_code == 202
    (request,) = eventually(lambda: ended(spans, SpanKind.SERVER))
    assert request.name == "POST /notifications/{tenant}"
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}" == parent.split("-")[1]

    apply_in_a_worker(traced)

    (message,) = eventually(lambda: [span for span in ended(spans, SpanKind.CONSUMER) if span.links])
    assert message.name == "apply"
    assert [link.context.span_id for link in message.links] == [request.context.span_id]
    assert [link.context.trace_id for link in message.links] == [request.context.trace_id]
    assert message.resource.attributes["ampeco.process"] == "work apply"


def test_a_refused_request_has_a_span_and_a_check_of_health_has_none(
    traced: Service, spans: InMemorySpanExporter
) -> None:
    assert traced.client.get("/healthz").status_code == 200
    assert traced.client.get("/readyz").status_code == 200
    assert traced.post(BODY, token="wrong").status_code == 401
    (request,) = eventually(lambda: ended(spans, SpanKind.SERVER))
    assert request.attributes is not None
    assert 401 in request.attributes.values()
    assert not any("X-Signature" in str(value) for value in request.attributes.items())


def test_a_message_that_fails_has_a_span_that_says_so(
    traced: Service, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("workers.actors.derive_tenant", fail)
    stop = threading.Event()
    worker = threading.Thread(target=work, args=(traced.settings, {"derive"}, stop))
    worker.start()
    try:
        message = eventually(lambda: ended(spans, SpanKind.CONSUMER))[0]
    finally:
        stop.set()
        worker.join(60)
    assert (message.name, message.status.status_code) == ("derive", StatusCode.ERROR)


def test_a_wake_up_that_replaces_others_leads_to_their_requests_up_to_a_limit(redis_url: str) -> None:
    client = create_redis(redis_url)
    broker = create_broker(client)
    notifier = Notifier(broker)
    group = CommitGroup("demo", [Entry("demo", b"{}", {}, "t", "hex", traceparent=f"{n}") for n in range(100)])
    bare = CommitGroup("demo", [Entry("demo", b"{}", {}, "t", "hex")])
    notifier.notify([bare, group, group])
    notifier.start()
    notifier.stop()
    consumer = broker.consume("apply", timeout=1_000)
    message = next(consumer)
    assert message is not None
    assert len(message.options[TRACEPARENTS]) == MAX_TRACEPARENTS
    consumer.close()
    client.close()
    assert TRACEPARENTS not in apply_message(bare.batch_id).options


def test_a_collector_that_is_down_keeps_no_request_from_its_answer_and_no_process_from_its_end(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = {"RECEIVER_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    settings["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    with processes(database_url, redis_url, tmp_path, **settings) as service:
        receiver = service.serve()
        worker = service.work()

        with Sender(service.urls) as sender:
            sender.wait_for(20)
        assert sender.answers[202] >= 20
        for process in (receiver, worker):
            assert end(process, signal.SIGTERM) == 0


def test_traces_without_their_packages_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import importlib.metadata as metadata\n"
        "def missing(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = missing\n"
        "from runtime.settings import SettingsError, load_settings\n"
        "try:\n    load_settings()\nexcept SettingsError as error:\n    print(error)\n"
    )
    monkeypatch.setenv("RECEIVER_TRACING", "true")
    assert load_settings().tracing
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout
        == f"{SettingsError('RECEIVER_TRACING needs packages that are missing: install `ampeco-receiver[otel]`, or unset it.')}\n"
    )


WITHOUT_OPENTELEMETRY = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import receiver.accept.serve, workers.process
assert "runtime.tracing" not in sys.modules
"""


def test_without_traces_the_service_needs_nothing_of_opentelemetry() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_OPENTELEMETRY], check=True)
