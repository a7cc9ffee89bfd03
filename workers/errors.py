"""Why something failed, in one line that may be shown to an operator.

Postgres and Redis say what is wrong in the first line of what they answer: a password, a certificate,
a standby, a full disk. The lines after it, and the notes that libraries add, repeat or advise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ampeco.values import clean_text

#: Of a message so much is shown.
LONGEST_CAUSE = 300

#: The user and password of a URL, should a library quote one.
_CREDENTIALS = re.compile(r"(?<=://)\S*@")

#: What a library adds to its messages for those who program.
_NOTES = re.compile(r"\s*\(Background on this error at: \S+\)")


def cause(error: BaseException) -> str:
    """Return the first line of the message of the server or library at fault, without credentials.

    Parameters:
        error: what was raised, by SQLAlchemy, psycopg, redis-py or the operating system.

    Returns:
        One line of at most ``LONGEST_CAUSE`` characters. Parameters of a statement are not in it.
    """
    original = getattr(error, "orig", None) or error  # SQLAlchemy keeps what its driver raised
    first = next(_lines(original), type(original).__name__)
    return _NOTES.sub("", _CREDENTIALS.sub("", clean_text(first)))[:LONGEST_CAUSE]


def _lines(error: BaseException) -> Iterator[str]:
    """Yield the lines of an error's message that say something."""
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    # redis-py takes the code off the message of some answers.
    code = getattr(error, "status_code", None)
    yield from (f"{code} {line}" if code else line for line in map(str.strip, message.splitlines()) if line)
