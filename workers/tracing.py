"""A span for each message that a worker handles; imported only by a process with ``RECEIVER_TRACING``."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from dramatiq import Broker
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Middleware
from opentelemetry.trace import Link, Span, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.tracing import create_tracer_provider
from workers.broker import TRACEPARENTS


class TraceMessages(Middleware):
    """Makes a span of each message, with links to the requests whose notifications it announces.

    A message and its span belong to one thread from the beginning to the end. It is the outermost middleware, so that a
    span shows the failure that the others handle.

    Parameters:
        process: the name of the process.
    """

    def __init__(self, process: str) -> None:
        self._tracer = create_tracer_provider(process).get_tracer("ampeco-receiver")
        self._current = threading.local()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Begin the span."""
        span: AbstractContextManager[Span] = self._tracer.start_as_current_span(
            message.actor_name,
            kind=SpanKind.CONSUMER,
            links=[_link(traceparent) for traceparent in message.options.get(TRACEPARENTS, ())],
            attributes={
                "messaging.system": "dramatiq",
                "messaging.destination.name": message.queue_name,
                "messaging.message.id": message.message_id,
            },
        )
        span.__enter__()
        self._current.span = span

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """End the span, with the exception if there was one."""
        span: AbstractContextManager[Span] = self._current.__dict__.pop("span")
        if exception is None:
            span.__exit__(None, None, None)
        else:
            span.__exit__(type(exception), exception, exception.__traceback__)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """End the span of a message that is not handled."""
        self.after_process_message(broker, message)


def _link(traceparent: str) -> Link:
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    return Link(get_current_span(context).get_span_context())
