"""Traces by OpenTelemetry, with the extra ``otel``; imported only by a process with ``RECEIVER_TRACING``.

Exporter, sampler and limits are configured by OpenTelemetry's own variables, such as ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter


def create_exporter() -> SpanExporter:
    """Return the exporter of a process."""
    return OTLPSpanExporter()


def create_tracer_provider(process: str) -> TracerProvider:
    """Return the source of spans of a process, which sends them from a thread of its own; call it after any fork.

    The last spans are sent when the interpreter exits.

    Parameters:
        process: its name, such as ``serve`` or ``work apply``.
    """
    ours = Resource(
        {
            "service.name": "ampeco-receiver",
            "service.version": version("ampeco-receiver"),
            "ampeco.process": process,
        }
    )
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(create_exporter()))
    return provider
