"""Describe a person to erase: their identities, and how to find them in documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import orjson

from ampeco.privacy import people
from ampeco.privacy.people import Identity, spellings, without

#: The shortest id tag or address to search for in free text; a shorter one may occur there by chance.
MIN_WORD = 8


@dataclass(slots=True)
class Person:
    """The identities of a person.

    Attributes:
        user_id: the user's id at AMPECO.
        known_by: the spellings of each id tag and e-mail address, by identity.
    """

    user_id: int
    known_by: dict[Identity, set[str]] = field(default_factory=dict)

    def learn(self, further: dict[Identity, set[str]]) -> None:
        """Add further identities, each with its spellings."""
        for identity, texts in further.items():
            self.known_by.setdefault(identity, set()).update(texts)

    @property
    def identities(self) -> set[Identity]:
        """All identities: the user id, id tags and e-mail addresses."""
        return {people.user(self.user_id), *self.known_by}

    def is_theirs(self, identity: Identity) -> bool:
        """Return whether an identity is the person's."""
        return identity == people.user(self.user_id) or identity in self.known_by

    def without_person(self, document: bytes, *, is_about: bool = False) -> bytes:
        """Return a JSON document without the person; see :func:`ampeco.privacy.people.without`.

        Parameters:
            document: the document.
            is_about: whether it is about the person even if it does not name the person.
        """
        words = {what: self._words(what) for what in ("email", "id_tag")}
        return without(document, self.is_theirs, addresses=words["email"], tags=words["id_tag"], is_about=is_about)

    def _words(self, what: str) -> list[str]:
        """Return the person's id tags or addresses that are long enough to search for in text, in lower case."""
        values = [identity.value.lower() for identity in self.known_by if identity.what == what]
        return sorted(value for value in values if len(value) >= MIN_WORD)

    @property
    def needles(self) -> list[bytes]:
        """Byte strings, of which one occurs in every body that names the person, in some case of its letters."""
        texts = set[str]().union(*self.known_by.values())
        return sorted({str(self.user_id).encode()}.union(*(spellings(text) for text in texts)))

    @property
    def pattern(self) -> str:
        """A regular expression for Postgres that finds the person in a row as JSON, with few false matches."""
        number = rf'"[a-z_]*user[a-z_]*": (\[[^]]*|\{{[^}}]*"id": )?"?{self.user_id}"?[],}}]'
        texts = set[str]().union(*self.known_by.values())
        encoded = {orjson.dumps(text.lower())[1:-1].decode() for text in texts}
        return "|".join([number, *(re.escape(text) for text in sorted(encoded))])
