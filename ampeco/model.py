"""The base class of every model of AMPECO's JSON."""

from __future__ import annotations

import contextlib
from functools import cache
from types import MethodType
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import SchemaValidator

from ampeco.privacy.redaction import CleanObject, redact

#: Annotates a field that may be absent, but whose absence changes the meaning of the object. An
#: unreadable value of it fails the object, like an unreadable value of a required field.
DECISIVE = "decisive"

#: The faults of an object by key: places in a list or a map, or None or a key for the value as a whole.
Faults = dict[str, set[int | str | None]]


class Unreadable(NamedTuple):
    """A value that cannot be parsed, as it was sent; for a list or a map, its parts that cannot be parsed."""

    value: Any


class Model(BaseModel):
    """A JSON object of AMPECO's, parsed leniently.

    - Fields have AMPECO's own names in snake_case. Both spellings of a key are accepted, because
      AMPECO writes camelCase almost everywhere and snake_case in a few places.
    - An absent key and a null are the same: AMPECO omits what it does not know. Only what
      identifies the entity and orders the fact is required, whatever the schema says.
    - A value that cannot be parsed counts as absent, unless its field is required or ``DECISIVE``.
      In a list or a map, only the unreadable parts are left out, unless no part can be parsed.
      ``model_extra`` keeps what was left out as ``Unreadable``, under the field's key.
    - Unknown keys are kept (``model_extra``) and words beyond the documented ones are accepted,
      because AMPECO adds both without notice.
    - Secrets are removed before anything is parsed, so no attribute and no dump contains one.
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

    #: The keys of the resource's own JSON, in AMPECO's spelling, that are not kept: secrets whose key has another
    #: meaning elsewhere, and links that expire.
    NOT_KEPT: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def in_present_words(cls, sent: dict[str, Any]) -> dict[str, Any]:
        """Return the object with the keys that the model has; a model of an older shape renames them."""
        return sent

    def was_read(self, name: str) -> bool:
        """Return whether everything that was sent for a field could be parsed.

        Parameters:
            name: of the field, in snake_case.
        """
        extra = self.model_extra or {}
        keys = (name, type(self).model_fields[name].alias or name)
        return not any(isinstance(extra.get(key), Unreadable) for key in keys)

    @classmethod
    def read(cls, sent: dict[str, Any]) -> Self:
        """Parse a JSON object, with the result of ``model_validate``; a cleaned one at two thirds of its cost.

        Nearly every object can be parsed as it is. Only one that cannot needs the lenient parsing below, which calls
        Python for each object in it.

        Raises:
            ValidationError: a value that it needs cannot be parsed.
        """
        if isinstance(sent, CleanObject):
            with contextlib.suppress(ValidationError):
                model: Self = _strict_validator(cls).validate_python(sent)
                return model
        return cls.model_validate(sent)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            # PHP writes an empty object as an empty array.
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
        """Parse an object without those unreadable values that it does not need.

        Raises:
            ValidationError: a value that it needs cannot be parsed either.
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
                elif sent[key] is not None:  # a null counts as absent
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
def _strict_validator(model: type[Model]) -> SchemaValidator:
    """Return a validator that fails if anything in the object cannot be parsed, and otherwise is as the model's."""
    return SchemaValidator(_without_leniency(model.__pydantic_core_schema__))


def _without_leniency(schema: Any) -> Any:
    """Return a schema in which all that is left of ``Model._read`` is that some models rename keys."""
    if isinstance(schema, list):
        return [_without_leniency(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: _without_leniency(part) for key, part in schema.items()}
    match schema:
        case {"type": "function-wrap", "function": {"function": MethodType(__self__=type() as model)}}:
            assert issubclass(model, Model), "no other method of a class is such a validator"
        case _:
            return parts
    # As of mypy 2, a class method counts as a function, which has no `__func__`.
    if model.in_present_words.__func__ is Model.in_present_words.__func__:  # type: ignore[attr-defined] # see above
        return parts["schema"] | ({"ref": schema["ref"]} if "ref" in schema else {})

    def rename(value: Any) -> Any:
        return model.in_present_words(value) if isinstance(value, dict) else value

    return parts | {"type": "function-before", "function": {"type": "no-info", "function": rename}}


@cache
def _dispensable_keys(model: type[Model]) -> frozenset[str]:
    """Return the keys, in both spellings, that an object does not need."""
    return frozenset(
        key
        for name, field in model.model_fields.items()
        if not field.is_required() and DECISIVE not in field.metadata
        for key in (name, field.alias or name)
    )


def _dispensable_faults(model: type[Model], error: ValidationError) -> Faults:
    """Return the faults of those values of an object that it does not need."""
    keys = _dispensable_keys(model)
    faults: Faults = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = fault["loc"]
        if place and place[0] in keys:
            faults.setdefault(str(place[0]), set()).add(place[1] if len(place) > 1 else None)
    return faults


def _split(value: Any, places: set[int | str | None]) -> tuple[Any, list[Any]]:
    """Split a list or a map into the other parts and the parts at some places.

    If one of the places is not in it, nothing is kept.
    """
    if not isinstance(value, list | dict) or not places <= set(range(len(value))):
        return None, [value]
    parts = list(value.items() if isinstance(value, dict) else value)
    kept = [part for place, part in enumerate(parts) if place not in places]
    lost = [part for place, part in enumerate(parts) if place in places]
    if isinstance(value, dict):
        return dict(kept), [item for _, item in lost]
    return kept, lost
