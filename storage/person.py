"""A person who is to be forgotten: what they are known by, and how to find them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import orjson

from ampeco import people
from ampeco.people import Identity, spellings, without

#: Shorter ones may stand in a text by chance.
MIN_WORD = 8


@dataclass(slots=True)
class Person:
    """What a person is known by: the user's id, and id tags and addresses with their spellings."""

    user_id: int
    known_by: dict[Identity, set[str]] = field(default_factory=dict)

    def learn(self, found: dict[Identity, set[str]]) -> None:
        for identity, spelled in found.items():
            self.known_by.setdefault(identity, set()).update(spelled)

    @property
    def identities(self) -> set[Identity]:
        return {people.user(self.user_id), *self.known_by}

    def is_theirs(self, identity: Identity) -> bool:
        return identity == people.user(self.user_id) or identity in self.known_by

    def taken_out(self, document: bytes, *, is_about: bool = False) -> bytes:
        """The document without the person, as :func:`ampeco.people.without` says."""
        words = {what: self._words(what) for what in ("email", "id_tag")}
        return without(document, self.is_theirs, addresses=words["email"], tags=words["id_tag"], is_about=is_about)

    def _words(self, what: str) -> list[str]:
        """What stands for the person in any text, in lower case."""
        known = [value.lower() for told, value in self.known_by if told == what]
        return sorted(word for word in known if len(word) >= MIN_WORD)

    @property
    def needles(self) -> list[bytes]:
        """One of these is in every body that names the person."""
        texts = {spelled for found in self.known_by.values() for spelled in found}
        return sorted({str(self.user_id).encode()}.union(*(spellings(one) for one in texts)))

    @property
    def pattern(self) -> str:
        """A regular expression that finds the person in a row spelt as JSON, and seldom anybody else."""
        number = rf'"[a-z_]*user[a-z_]*": (\[[^]]*|\{{[^}}]*"id": )?"?{self.user_id}"?[],}}]'
        texts = {orjson.dumps(one.lower())[1:-1].decode() for found in self.known_by.values() for one in found}
        return "|".join([number, *(re.escape(one) for one in sorted(texts))])
