"""What is told of an error: to an operator, why something failed; in what is recorded, what and where, without values.

Postgres and Redis say what is wrong in the first line of what they answer: a password, a certificate,
a standby, a full disk. The lines after it, and the notes that libraries add, repeat or advise.
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

#: Of a message so much is shown.
MAX_CAUSE = 300

#: The user and password of a URL, should a library quote one.
_CREDENTIALS = re.compile(r"(?<=://)\S*@")

#: What a library adds to its messages for those who program.
_NOTES = re.compile(r"\s*\(Background on this error at: \S+\)")


def cause(error: BaseException) -> str:
    """Return the first line of the message of the server or library at fault, without credentials.

    Parameters:
        error: what was raised, by SQLAlchemy, psycopg, redis-py or the operating system.

    Returns:
        One line of at most ``MAX_CAUSE`` characters. Parameters of a statement are not in it.
    """
    original = getattr(error, "orig", None) or error  # SQLAlchemy keeps what its driver raised
    first = next(_lines(original), type(original).__name__)
    return _NOTES.sub("", _CREDENTIALS.sub("", clean_text(first)))[:MAX_CAUSE]


def _lines(error: BaseException) -> Iterator[str]:
    """Yield the lines of an error's message that say something."""
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    # redis-py takes the code off the message of some answers.
    code = getattr(error, "status_code", None)
    yield from (f"{code} {line}" if code else line for line in map(str.strip, message.splitlines()) if line)


#: Of an error's text so much is kept: names in it may be the sender's.
MAX_ERROR = 500

#: Innermost frames of an error that are kept.
FRAMES_KEPT = 5

_PACKAGES = frozenset({"ampeco", "storage", "workers", "receiver"})


def describe(error: BaseException) -> str:
    """Return one line about an error, without what was sent, fit for Postgres."""
    return clean_text(_told(error))[:MAX_ERROR]


def frames(error: BaseException) -> list[str]:
    """Return where an error was raised: its innermost frames, by file, line and function."""
    found = traceback.extract_tb(error.__traceback__)[-FRAMES_KEPT:]
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in found]


def place(error: BaseException) -> str:
    """Return the last line of ours that an error came through, by file, line and function."""
    found = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_ours(frame)]
    frame, line = found[-1] if found else (None, 0)
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _PACKAGES


def _told(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return describe_faults(error)
    if isinstance(error, DBAPIError):
        message = getattr(getattr(error.orig, "diag", None), "message_primary", None) or ""
        return f"{type(error.orig).__name__}: {message}"
    return f"{type(error).__name__}: {error}"
