"""What every model of AMPECO's JSON has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from ampeco.redaction import CleanObject, redact


class Model(BaseModel):
    """A JSON object of AMPECO's, read leniently.

    - Fields carry AMPECO's own names in snake_case; both spellings of a key are read, as
      AMPECO writes camelCase almost everywhere and snake_case in a few places.
    - An absent key and a null are the same: AMPECO omits what it does not know. Only what
      identifies the entity and orders the fact is required, whatever the schema says.
    - Unknown keys are kept (``model_extra``) and words beyond the documented ones are
      accepted, as AMPECO adds both without notice.
    - Secrets are gone before anything is read, so no attribute and no dump holds one.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        # The text of a validation error is stored and shown; a payload holds personal data.
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _cleaned(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value if isinstance(value, CleanObject) else redact(value)
        # PHP spells an empty object as an empty array.
        return {} if value == [] else value
