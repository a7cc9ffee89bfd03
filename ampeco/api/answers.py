"""Turn the JSON of an API answer into the resources in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ampeco import errors
from ampeco.api.transport import Exchange
from ampeco.faults import describe_faults
from ampeco.model import Model
from ampeco.privacy.redaction import redact

M = TypeVar("M", bound=Model)
M_co = TypeVar("M_co", bound=Model, covariant=True)


@dataclass(frozen=True, slots=True)
class Answer(Generic[M_co]):
    """One resource of an answer.

    ``raw`` is its JSON without secrets, ready to be stored. ``tenant_time`` is the tenant's
    clock when the read began. It dates facts that carry no time of their own: the resource is at
    least as new as that.
    """

    resource: M_co
    raw: dict[str, Any]
    tenant_time: datetime


def unwrapped(body: Any) -> Any:
    """Return the content of ``{"data": ...}``, or the body itself, because some answers have no such wrapper."""
    return body["data"] if isinstance(body, dict) and "data" in body else body


def read_answer(model: type[M], item: Any, exchange: Exchange) -> Answer[M]:
    """Parse one resource of an exchange.

    Raises:
        Malformed: the item is not such a resource. The error names the faulty fields, not their values.
    """
    if not isinstance(item, dict):
        raise errors.Malformed(*exchange.call, f"a {model.__name__} that is not an object")
    try:
        raw = redact({key: value for key, value in item.items() if key not in model.NOT_KEPT})
        return Answer(model.read(raw), raw, exchange.tenant_time)
    except ValidationError as error:
        reason = describe_faults(error)
    except ValueError as error:
        reason = str(error)
    # Raised outside the except blocks: a cause or context would contain the resource, and with it a driver's data.
    raise errors.Malformed(*exchange.call, f"{model.__name__} {str(item.get('id'))[:40]}: {reason}")
