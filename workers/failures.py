"""What is recorded of an error: what, and where, without the values that were at hand."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from ampeco.values import clean_text

#: Of an error's text so much is kept: names in it may be the sender's.
LONGEST_ERROR = 500

#: Innermost frames of an error that are kept.
FRAMES_KEPT = 5

_PACKAGES = frozenset({"ampeco", "storage", "workers", "receiver"})


def describe(error: BaseException) -> str:
    """Return one line about an error, without what was sent, fit for Postgres."""
    return clean_text(_told(error))[:LONGEST_ERROR]


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
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}" for one in found[:5])
    if isinstance(error, DBAPIError):
        message = getattr(getattr(error.orig, "diag", None), "message_primary", None) or ""
        return f"{type(error.orig).__name__}: {message}"
    return f"{type(error).__name__}: {error}"
