"""Find the people that AMPECO's JSON names, and remove an erased person from a document.

A person is identified by a user id, by id tags and by e-mail addresses. An object that names one of
them is about that person, with everything in it, unless it names another user: then it is not
changed. The keys whose values are removed are listed below. Times, energies, amounts and the ids of
sessions, charge points and payments stay, so that sums stay correct.

This works on the bytes themselves, so every other byte stays (AMPECO API, sessions, authorizations,
transactions, id tags and users, and the callbacks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import orjson

from ampeco.json_nodes import Node, parsed, unescaped

#: The user id that replaces an erased user's, as AMPECO's own authorizations have 0 for an anonymous
#: user. It is the same for all erased people, so it identifies none, and it is a number, so every
#: document can still be parsed.
ERASED_USER_ID = 0

What = Literal["user", "id_tag", "email"]

# Keys are compared without case, `_` and `-`, so that the names of columns match as well.
_USERS = frozenset({"userid", "user"})

#: Keys that refer to users in an object that is not about them: a charge point's owner, the members of a group.
_REFERENCES = frozenset({"owneruserid", "userids"})

_TAGS = frozenset({"idtag", "idtaguid", "rfidtaguid", "uid", "evcoid", "contractid"})
_EMAILS = frozenset({"email", "useremail"})

#: The other keys with personal data, in an object that is about a person.
_ABOUT = frozenset(
    {"idtaglabel", "idlabel", "externalid", "externalappdata", "personalid", "vehicleno", "vehicleid", "licenseplate"}
    | {"name", "firstname", "middlename", "lastname", "fullname", "username", "contactperson", "phone", "macaddress"}
    | {"address", "streetaddress", "city", "region", "postcode"}
    | {"paymentmethod", "paymentmethodid", "carddetails", "bankdetails", "bankmessage"}
)

#: A remote start has no tag: AMPECO sends `*` and the session's id instead.
_NO_TAG = "*"

#: Placeholders that readers and programs send instead of a tag; one character repeated is another.
_SHARED = frozenset({"NULL", "NONE", "UNKNOWN", "UNDEFINED", "ANONYMOUS"})

#: The first bytes of texts and numbers; null and true name no person.
_TEXT_OR_NUMBER = frozenset(bytes([first]) for first in b'"-0123456789')

#: The length of the shortest text that counts as a tag; readers report no shorter one.
_MIN_TAG = 4

#: One of these is in every document that names a person, without case, `_` and `-`.
_TRACES = (b"user", b'tag"', b'uid"', b'mail"', b'evcoid"', b'contractid"', b"\\u00")
_FOLDED = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")


class Identity(NamedTuple):
    """A user id, an id tag or an e-mail address of a person, in its normal form."""

    what: What
    value: str


def user(user_id: int) -> Identity:
    """Return the identity of a user."""
    return Identity("user", str(user_id))


def id_tag(uid: str) -> Identity | None:
    """Return the identity of an id tag; None for a text that is no tag, or a placeholder that many share."""
    plain = uid.strip().upper()
    is_shared = plain in _SHARED or len(set(plain)) == 1
    if is_shared or plain.startswith(_NO_TAG) or len(plain) < _MIN_TAG:
        return None
    return Identity("id_tag", plain)


def email(address: str) -> Identity | None:
    """Return the identity of an e-mail address; None for a text that is no address."""
    plain = address.strip().lower()
    return Identity("email", plain) if "@" in plain else None


#: Decides whether an identity is that of the person in question.
Theirs = Callable[[Identity], bool]

About = Literal["them", "another", "no one"]

_ERASED_USER = b'{"id":%d}' % ERASED_USER_ID

#: Replaces a key that is personal data, such as an address.
_ERASED_KEY = b'"[erased]"'


def may_name(document: bytes) -> bool:
    """Return whether a document may name a person; most name none.

    It may return True for a document without people, but never False for one with a person.
    """
    folded = document.translate(_FOLDED, b"_-")
    return any(trace in folded for trace in _TRACES)


def identities(document: bytes) -> set[Identity]:
    """Return every identity that a document names under the keys that AMPECO has for people."""
    if not may_name(document):
        return set()
    return {identity for name, node in _objects(document) for identity in _mentioned(document, name, node)}


def belongings(document: bytes, is_theirs: Theirs) -> dict[Identity, set[str]]:
    """Return the id tags and addresses in the objects that are about a person, each with its spellings."""
    by_identity: dict[Identity, set[str]] = {}
    for _, node, about in _judged(document, is_theirs):
        for key, value in node.members or () if about == "them" and node.is_object else ():
            for identity in _named(document, key, value):
                if identity.what != "user":
                    by_identity.setdefault(identity, set()).add(_text(document, value))
    return by_identity


def without(
    document: bytes,
    is_theirs: Theirs,
    *,
    addresses: Sequence[str] = (),
    tags: Sequence[str] = (),
    is_about: bool = False,
) -> bytes:
    """Return the document without a person; the same object if it does not name the person.

    Parameters:
        is_theirs: decides whether an identity is the person's.
        addresses: e-mail addresses in lower case; any text that contains one is removed, whatever its key.
        tags: id tags in lower case; the same, unless the text is a number or in an object about another user.
        is_about: whether the document is known to be about the person, even if it does not name the person.
    """
    words = (*addresses, *tags)
    if not words and not is_about and not may_name(document):
        return document
    cuts: dict[int, tuple[int, bytes]] = {}
    for name, node, about in _judged(document, is_theirs, is_about=is_about):
        if any(map(is_theirs, _own(document, name, node))):
            cuts[node.start] = node.end, _ERASED_USER
            continue
        sought = addresses if about == "another" else words
        for key, value in node.members or ():
            for scalar in _scalars(value) if key in _USERS | _REFERENCES else ():
                if (number := _id(document, scalar)) and is_theirs(user(number)):
                    cuts[scalar.start] = scalar.end, b"%d" % ERASED_USER_ID
            is_personal = about == "them" and key in _TAGS | _EMAILS | _ABOUT
            if is_personal or _identifies(document, key, value, is_theirs, sought):
                cuts[value.start] = value.end, b"null"
            if sought and _has_word(unescaped(document[slice(*value.key)]), sought):
                start, end = value.key
                cuts[start] = end, _ERASED_KEY
    return _cut(document, cuts)


def _cut(document: bytes, cuts: dict[int, tuple[int, bytes]]) -> bytes:
    parts: list[bytes] = []
    copied = 0
    for start, (end, replacement) in sorted(cuts.items()):
        if start < copied or document[start:end] in (replacement, b"null", b'""'):
            continue  # inside a value that is cut already, or empty
        parts += document[copied:start], replacement
        copied = end
    return b"".join([*parts, document[copied:]]) if parts else document


def _judged(document: bytes, is_theirs: Theirs, *, is_about: bool = False) -> Iterator[tuple[str, Node, About]]:
    """Yield every object and array, with its key, and whether it is about the person, another user or neither."""
    waiting: list[tuple[str, Node, About]] = [("", parsed(document), "them" if is_about else "no one")]
    while waiting:
        name, node, about = waiting.pop()
        if node.is_object:
            named = [identity for key, value in node.members or () for identity in _named(document, key, value)]
            users = [identity for identity in (*named, *_own(document, name, node)) if identity.what == "user"]
            if users:
                about = "them" if any(map(is_theirs, users)) else "another"
            elif any(map(is_theirs, named)):
                about = "them"
            # Else it is about the same person as the object that contains it.
        yield name, node, about
        waiting += [(key or name, value, about) for key, value in node.members or () if value.members is not None]


def _objects(document: bytes) -> Iterator[tuple[str, Node]]:
    """Yield every object, with its key."""
    waiting: list[tuple[str, Node]] = [("", parsed(document))]
    while waiting:
        name, node = waiting.pop()
        if node.is_object:
            yield name, node
        waiting += [(key or name, value) for key, value in node.members or ()]


def _mentioned(document: bytes, name: str, node: Node) -> Iterator[Identity]:
    """Yield every identity that an object names, including those of people whom it is not about."""
    yield from _own(document, name, node)
    for key, value in node.members or ():
        yield from _named(document, key, value)
        for scalar in _scalars(value) if key in _USERS | _REFERENCES else ():
            if number := _id(document, scalar):
                yield user(number)


def _named(document: bytes, key: str, value: Node) -> Iterator[Identity]:
    """Yield the identity that a member of an object names, if any."""
    if value.members is not None:
        return
    if key in _USERS:
        if number := _id(document, value):
            yield user(number)
    elif (key in _TAGS or key in _EMAILS) and document[value.start : value.start + 1] in _TEXT_OR_NUMBER:
        identity = (id_tag if key in _TAGS else email)(_text(document, value))
        if identity is not None:
            yield identity


def _own(document: bytes, name: str, node: Node) -> Iterator[Identity]:
    """Yield the user that an object shows, if its key is one for users."""
    if name in _USERS:
        for key, value in node.members or ():
            if key == "id" and (number := _id(document, value)):
                yield user(number)


def _scalars(value: Node) -> list[Node]:
    """Return a scalar itself, or the scalars of an array."""
    if value.members is None:
        return [value]
    return [] if value.is_object else [item for _, item in value.members if item.members is None]


def _identifies(document: bytes, key: str, value: Node, is_theirs: Theirs, sought: Sequence[str]) -> bool:
    """Return whether a scalar identifies the person by itself, whatever its object is about."""
    if value.members is not None:
        return False
    is_address = key in _EMAILS and any(map(is_theirs, _named(document, key, value)))
    return is_address or _has_word(_text(document, value), sought)


def _has_word(text: str, words: Sequence[str]) -> bool:
    if not words or text.isdigit():
        return False
    plain = text.lower()
    return any(word in plain for word in words)


def _id(document: bytes, node: Node) -> int | None:
    """Return a user's id, from a number or the text of one; None for anything else and for 0."""
    if node.members is not None:
        return None
    text = _text(document, node)
    try:
        return int(text) or None
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and number else None


def _text(document: bytes, node: Node) -> str:
    raw = document[node.start : node.end]
    return unescaped(raw) if raw[:1] == b'"' else raw.decode("utf-8", "replace")


def spellings(text: str) -> set[bytes]:
    """Return the forms that a text may have in a body: in each case, plain, escaped, or escaped as by PHP."""
    cases = {text, text.upper(), text.lower()}
    escaped = {orjson.dumps(variant)[1:-1] for variant in cases} | {_ascii(variant) for variant in cases}
    return escaped | {variant.replace(b"/", rb"\/") for variant in escaped}


def _ascii(text: str) -> bytes:
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return b"".join(bytes([code]) if 32 <= code < 127 else b"\\u%04x" % code for code in codes)
