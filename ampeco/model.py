"""What every model of AMPECO's JSON has in common."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ampeco.redaction import CleanObject, redact

#: Annotates a field that may be absent, but without which the object would say something else. An
#: unreadable value of it fails the object, as an unreadable value of a field without a default does.
DECISIVE = "decisive"

#: The faults of an object by key. Each has its place in a list or a map, or None or a key for a whole value.
Faults = dict[str, set[int | str | None]]


class Unreadable(NamedTuple):
    """A value that cannot be read, as it was sent; of a list or a map, the parts that cannot be read."""

    value: Any


class Model(BaseModel):
    """A JSON object of AMPECO's, read leniently.

    - Fields carry AMPECO's own names in snake_case; both spellings of a key are read, as
      AMPECO writes camelCase almost everywhere and snake_case in a few places.
    - An absent key and a null are the same: AMPECO omits what it does not know. Only what
      identifies the entity and orders the fact is required, whatever the schema says.
    - A value that cannot be read counts as absent, unless its field is required or ``DECISIVE``.
      Of a list or a map, only the unreadable parts are left out, unless no part can be read.
      ``model_extra`` keeps under the field's key what was left out, as ``Unreadable``.
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

    @classmethod
    def in_present_words(cls, sent: dict[str, Any]) -> dict[str, Any]:
        """Return the object under the keys that the model reads; a model of an older shape renames them."""
        return sent

    def was_read(self, name: str) -> bool:
        """Return whether everything that was sent for a field could be read.

        Parameters:
            name: of the field, in snake_case.
        """
        extra = self.model_extra or {}
        keys = (name, type(self).model_fields[name].alias or name)
        return not any(isinstance(extra.get(key), Unreadable) for key in keys)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            # PHP spells an empty object as an empty array.
            return read({} if value == [] else value)
        sent = cls.in_present_words(value if isinstance(value, CleanObject) else redact(value))
        try:
            return read(sent)
        except ValidationError as error:
            if not (faults := _dispensable_faults(cls, error)):
                raise
            return cls._read_the_rest(sent, faults, read)

    @classmethod
    def _read_the_rest(cls, sent: dict[str, Any], faults: Faults, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Read an object without the values that cannot be read and that it need not have.

        Raises:
            ValidationError: others cannot be read either.
        """
        rest = CleanObject(sent)
        unreadable: dict[str, Unreadable] = {}
        while True:
            for key, places in faults.items():
                kept, lost = _split(rest.pop(key), places)
                if kept:
                    rest[key] = kept
                    before = unreadable.get(key)
                    unreadable[key] = Unreadable([*(before.value if before else ()), *lost])
                elif sent[key] is not None:  # a null is as good as absent
                    unreadable[key] = Unreadable(sent[key])
            try:
                model = read(rest)
            except ValidationError as error:
                if not (faults := _dispensable_faults(cls, error)):
                    raise
            else:
                assert model.model_extra is not None, "unknown keys are kept"
                model.model_extra.update(unreadable)
                return model


@cache
def _dispensable_keys(model: type[Model]) -> frozenset[str]:
    """Return the keys, in either spelling, that an object need not have."""
    return frozenset(
        key
        for name, field in model.model_fields.items()
        if not field.is_required() and DECISIVE not in field.metadata
        for key in (name, field.alias or name)
    )


def _dispensable_faults(model: type[Model], error: ValidationError) -> Faults:
    """Return the faults of those values of an object that it need not have."""
    keys = _dispensable_keys(model)
    found: Faults = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = fault["loc"]
        if place and place[0] in keys:
            found.setdefault(str(place[0]), set()).add(place[1] if len(place) > 1 else None)
    return found


def _split(value: Any, places: set[int | str | None]) -> tuple[Any, list[Any]]:
    """Return a list or a map without the parts at some places, and those parts.

    Where the places are no places in it, nothing is kept.
    """
    if not isinstance(value, list | dict) or not places <= set(range(len(value))):
        return None, [value]
    parts = list(value.items() if isinstance(value, dict) else value)
    kept = [part for place, part in enumerate(parts) if place not in places]
    lost = [part for place, part in enumerate(parts) if place in places]
    if isinstance(value, dict):
        return dict(kept), [held for _, held in lost]
    return kept, lost
