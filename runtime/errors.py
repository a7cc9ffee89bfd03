"""Texts about errors: the cause for an operator, and a description without values for what is recorded.

The first line of an answer of Postgres or Redis names the cause: a password, a certificate, a standby, a full disk.
The lines after it, and the notes that libraries add, only repeat it or give advice.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from ampeco.faults import describe_faults
from ampeco.values import clean_text

#: Longest cause, characters.
MAX_CAUSE = 300

#: The user and password of a URL, in case a library quotes one.
_CREDENTIALS = re.compile(r"(?<=://)\S*@")

#: The link to its documentation that a library adds to its messages.
_NOTES = re.compile(r"\s*\(Background on this error at: \S+\)")


def cause(error: BaseException) -> str:
    """Return the first line of the message of the server or library at fault, without credentials.

    Parameters:
        error: an exception of SQLAlchemy, psycopg, redis-py or the operating system.

    Returns:
        One line of at most ``MAX_CAUSE`` characters. It does not contain parameters of a statement.
    """
    original = getattr(error, "orig", None) or error  # the exception of SQLAlchemy's driver
    first = next(_lines(original), type(original).__name__)
    return _NOTES.sub("", _CREDENTIALS.sub("", clean_text(first)))[:MAX_CAUSE]


def _lines(error: BaseException) -> Iterator[str]:
    """Yield the lines of an error's message that are not empty."""
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    # redis-py removes the code from the message of some answers.
    code = getattr(error, "status_code", None)
    yield from (f"{code} {line}" if code else line for line in map(str.strip, message.splitlines()) if line)


#: Longest description that is kept, characters: it may contain names that the sender chose.
MAX_ERROR = 500

#: How many of the innermost frames of an error are kept.
FRAMES_KEPT = 5

#: The packages of the service, whose frames :func:`place` looks for.
_PACKAGES = frozenset({"ampeco", "storage", "runtime", "analytics", "workers", "receiver"})


def describe(error: BaseException) -> str:
    """Return one line about an error that contains no values of a notification and that Postgres can store."""
    return clean_text(_type_and_message(error))[:MAX_ERROR]


def frames(error: BaseException) -> list[str]:
    """Return the innermost frames of an error's traceback: file, line and function."""
    innermost = traceback.extract_tb(error.__traceback__)[-FRAMES_KEPT:]
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in innermost]


def place(error: BaseException) -> str:
    """Return the innermost frame of our own code in an error's traceback: file, line and function; or empty."""
    ours = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_ours(frame)]
    frame, line = ours[-1] if ours else (None, 0)
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _PACKAGES


def _type_and_message(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return describe_faults(error)
    if isinstance(error, DBAPIError):
        message = getattr(getattr(error.orig, "diag", None), "message_primary", None) or ""
        return f"{type(error.orig).__name__}: {message}"
    return f"{type(error).__name__}: {error}"
