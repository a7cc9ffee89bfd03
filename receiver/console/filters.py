"""Read the filters of a page from its address; what cannot be meant is left out."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

#: The largest id that Postgres can hold.
_MAX_ID = 2**63 - 1

#: A longer text is no filter that a person types.
_MAX_TEXT = 200


def text_filter(request: Request, name: str) -> str | None:
    """Return the text of a filter, which may be empty; None if the address has none."""
    value = request.query_params.get(name)
    return None if value is None else value.replace("\0", "").strip()[:_MAX_TEXT]


def id_filter(request: Request, name: str) -> int | None:
    """Return the id of a filter; None if the address has none, or something else."""
    return _id(request.query_params.get(name, ""))


def id_of_path(request: Request) -> int:
    """Return the id of the thing that a page is about.

    Raises:
        HTTPException: 404, this is no id.
    """
    found = _id(str(request.path_params["id"]))
    if found is None:
        raise HTTPException(404, "An id is a number.")
    return found


def _id(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= _MAX_ID else None
