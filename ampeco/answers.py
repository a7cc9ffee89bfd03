"""From the JSON of an answer to the resources in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ampeco import errors
from ampeco.faults import describe_faults
from ampeco.model import Model
from ampeco.redaction import redact
from ampeco.transport import Exchange

M = TypeVar("M", bound=Model)
M_co = TypeVar("M_co", bound=Model, covariant=True)


@dataclass(frozen=True, slots=True)
class Answer(Generic[M_co]):
    """One resource as the tenant answered it.

    ``raw`` is its JSON without secrets, ready to be stored. ``tenant_time`` is the tenant's
    clock when the read began, for facts that carry no time of their own: the resource is at
    least as new as that.
    """

    resource: M_co
    raw: dict[str, Any]
    tenant_time: datetime


def unwrapped(body: Any) -> Any:
    """Return what ``{"data": ...}`` holds; some answers come without that wrapper."""
    return body["data"] if isinstance(body, dict) and "data" in body else body


def read_answer(model: type[M], item: Any, exchange: Exchange) -> Answer[M]:
    """Read one resource out of an exchange.

    Raises:
        Malformed: it is not that resource. The error names the faulty fields, not their values.
    """
    if not isinstance(item, dict):
        raise errors.Malformed(*exchange.call, f"a {model.__name__} that is not an object")
    try:
        raw = redact(item)
        return Answer(model.model_validate(raw), raw, exchange.tenant_time)
    except ValidationError as error:
        what = describe_faults(error)
    except ValueError as error:
        what = str(error)
    # Raised here, as a cause or context would hold the resource, and with it a driver's data.
    raise errors.Malformed(*exchange.call, f"{model.__name__} {str(item.get('id'))[:40]}: {what}")
