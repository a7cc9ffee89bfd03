"""A span for each notification that arrives; imported only by a process with ``RECEIVER_TRACING``."""

from __future__ import annotations

from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.types import ASGIApp

from receiver.accept.acceptor import Acceptor
from runtime.tracing import create_tracer_provider

#: What load balancers and service managers ask for every few seconds.
_UNTRACED = r"^\w+://[^/]*/(healthz|readyz)"


def traced(app: ASGIApp, acceptor: Acceptor) -> ASGIApp:
    """Return the app with a span for each request; its parent is the one that the sender or its proxy names.

    Parameters:
        acceptor: remembers with each notification the trace context of its request.
    """
    provider = create_tracer_provider("serve")
    acceptor.traceparent = current_traceparent
    return OpenTelemetryMiddleware(app, excluded_urls=[_UNTRACED], tracer_provider=provider)


def current_traceparent() -> str | None:
    """Return the W3C trace context of the request that is being handled; None if its span is not recorded."""
    if not get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
