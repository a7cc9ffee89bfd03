"""Who is named in AMPECO's JSON, and how a document goes on without them.

A person is known here by the id of a user, by id tags and by e-mail addresses. An object that
names one of them is about that person, with all that is in it, unless it names another
user: then it is left alone. What goes is listed below; times, energies, amounts and the ids of
sessions, charge points and payments stay, so that sums stay right.

The bytes themselves are gone through, so that every other byte stays as it came
(AMPECO API, sessions, authorizations, transactions, id tags and users, and the callbacks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import orjson

from ampeco.json_nodes import Node, parsed, spelt

#: Stands for a forgotten user, as AMPECO's own authorizations have 0 for an anonymous one. It is the
#: same for everybody, so nothing leads back, and a number, so every document still reads.
NOBODY = 0

What = Literal["user", "id_tag", "email"]

# Keys are compared without case, `_` and `-`, so that a column is as good as AMPECO's own spelling.
_USERS = frozenset({"userid", "user"})

#: These refer to users without being about them: a charge point's owner, the members of a group.
_REFERENCES = frozenset({"owneruserid", "userids"})

_TAGS = frozenset({"idtag", "idtaguid", "rfidtaguid", "uid", "evcoid", "contractid"})
_EMAILS = frozenset({"email", "useremail"})

#: What else is about a person, in an object that names one.
_ABOUT = frozenset(
    {"idtaglabel", "idlabel", "externalid", "externalappdata", "personalid", "vehicleno", "vehicleid", "licenseplate"}
    | {"name", "firstname", "middlename", "lastname", "fullname", "username", "contactperson", "phone", "macaddress"}
    | {"address", "streetaddress", "city", "region", "postcode"}
    | {"paymentmethod", "paymentmethodid", "carddetails", "bankdetails", "bankmessage"}
)

#: A remote start has no tag: AMPECO sends `*` and the session's id in its place.
_NO_TAG = "*"

#: What a careless reader or program puts in a tag's place; so is one character many times.
_SHARED = frozenset({"NULL", "NONE", "UNKNOWN", "UNDEFINED", "ANONYMOUS"})

#: A text and a number begin so; null and true name nobody.
_TELLING = frozenset(bytes([first]) for first in b'"-0123456789')

#: A shorter one is no tag that a reader would report, and may be anything.
_MIN_TAG = 4

#: One of these is in every document that names somebody, without case, `_` and `-`.
_TRACES = (b"user", b'tag"', b'uid"', b'mail"', b'evcoid"', b'contractid"', b"\\u00")
_FOLDED = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")


class Identity(NamedTuple):
    """One thing that a person is known by, in one spelling."""

    what: What
    value: str


def user(user_id: int) -> Identity:
    """The identity of a user."""
    return Identity("user", str(user_id))


def id_tag(uid: str) -> Identity | None:
    """The identity of an id tag; None for what is none, and for what many have instead of one."""
    plain = uid.strip().upper()
    is_shared = plain in _SHARED or len(set(plain)) == 1
    if is_shared or plain.startswith(_NO_TAG) or len(plain) < _MIN_TAG:
        return None
    return Identity("id_tag", plain)


def email(address: str) -> Identity | None:
    """The identity of an e-mail address; None for what is none."""
    plain = address.strip().lower()
    return Identity("email", plain) if "@" in plain else None


#: Tells whether an identity is that of the person in question.
Theirs = Callable[[Identity], bool]

About = Literal["them", "another", "nobody"]

_NOBODY_AS_OBJECT = b'{"id":%d}' % NOBODY

#: Stands for a key that is data, such as an address.
_FORGOTTEN_KEY = b'"[forgotten]"'


def may_name(document: bytes) -> bool:
    """A cheap look, which errs on the safe side: most documents name nobody."""
    folded = document.translate(_FOLDED, b"_-")
    return any(trace in folded for trace in _TRACES)


def identities(document: bytes) -> set[Identity]:
    """Every identity that a document names where AMPECO names people."""
    if not may_name(document):
        return set()
    return {identity for name, node in _objects(document) for identity in _mentioned(document, name, node)}


def belongings(document: bytes, is_theirs: Theirs) -> dict[Identity, set[str]]:
    """The id tags and addresses in the objects that are about a person, each with its spellings."""
    found: dict[Identity, set[str]] = {}
    for _, node, about in _judged(document, is_theirs):
        for key, value in node.members or () if about == "them" and node.is_object else ():
            for identity in _named(document, key, value):
                if identity.what != "user":
                    found.setdefault(identity, set()).add(_text(document, value))
    return found


def without(
    document: bytes,
    is_theirs: Theirs,
    *,
    addresses: Sequence[str] = (),
    tags: Sequence[str] = (),
    is_about: bool = False,
) -> bytes:
    """Return the document without a person; the same object where it does not name them.

    Parameters:
        is_theirs: decides whether an identity is the person's.
        addresses: e-mail addresses in lower case: any text with one of them in it goes, whatever its key.
        tags: id tags in lower case: likewise, unless the text is a number, or is about another user.
        is_about: whether it is known to be about the person, even where it does not name them.
    """
    words = (*addresses, *tags)
    if not words and not is_about and not may_name(document):
        return document
    cuts: dict[int, tuple[int, bytes]] = {}
    for name, node, about in _judged(document, is_theirs, is_about=is_about):
        if any(map(is_theirs, _own(document, name, node))):
            cuts[node.start] = node.end, _NOBODY_AS_OBJECT
            continue
        sought = addresses if about == "another" else words
        for key, value in node.members or ():
            for one in _singles(value) if key in _USERS | _REFERENCES else ():
                if (number := _id(document, one)) and is_theirs(user(number)):
                    cuts[one.start] = one.end, b"%d" % NOBODY
            if (about == "them" and key in _TAGS | _EMAILS | _ABOUT) or _tells(document, key, value, is_theirs, sought):
                cuts[value.start] = value.end, b"null"
            if sought and _has_word(spelt(document[slice(*value.key)]), sought):
                start, end = value.key
                cuts[start] = end, _FORGOTTEN_KEY
    return _cut(document, cuts)


def _cut(document: bytes, cuts: dict[int, tuple[int, bytes]]) -> bytes:
    parts: list[bytes] = []
    copied = 0
    for start, (end, replacement) in sorted(cuts.items()):
        if start < copied or document[start:end] in (replacement, b"null", b'""'):
            continue  # within what is gone already, or nothing
        parts += document[copied:start], replacement
        copied = end
    return b"".join([*parts, document[copied:]]) if parts else document


def _judged(document: bytes, is_theirs: Theirs, *, is_about: bool = False) -> Iterator[tuple[str, Node, About]]:
    """Every object and array, with the key that it stands under, and whom it is about."""
    waiting: list[tuple[str, Node, About]] = [("", parsed(document), "them" if is_about else "nobody")]
    while waiting:
        name, node, about = waiting.pop()
        if node.is_object:
            named = [identity for key, value in node.members or () for identity in _named(document, key, value)]
            users = [identity for identity in (*named, *_own(document, name, node)) if identity.what == "user"]
            if users:
                about = "them" if any(map(is_theirs, users)) else "another"
            elif any(map(is_theirs, named)):
                about = "them"
            # else it is about whomever the object is about that it is in
        yield name, node, about
        waiting += [(key or name, value, about) for key, value in node.members or () if value.members is not None]


def _objects(document: bytes) -> Iterator[tuple[str, Node]]:
    """Every object, with the key that it stands under."""
    waiting: list[tuple[str, Node]] = [("", parsed(document))]
    while waiting:
        name, node = waiting.pop()
        if node.is_object:
            yield name, node
        waiting += [(key or name, value) for key, value in node.members or ()]


def _mentioned(document: bytes, name: str, node: Node) -> Iterator[Identity]:
    """Everybody whom an object names, those included whom it is not about."""
    yield from _own(document, name, node)
    for key, value in node.members or ():
        yield from _named(document, key, value)
        for one in _singles(value) if key in _USERS | _REFERENCES else ():
            if number := _id(document, one):
                yield user(number)


def _named(document: bytes, key: str, value: Node) -> Iterator[Identity]:
    """Whom an object names by one of its members."""
    if value.members is not None:
        return
    if key in _USERS:
        if number := _id(document, value):
            yield user(number)
    elif (key in _TAGS or key in _EMAILS) and document[value.start : value.start + 1] in _TELLING:
        identity = (id_tag if key in _TAGS else email)(_text(document, value))
        if identity is not None:
            yield identity


def _own(document: bytes, name: str, node: Node) -> Iterator[Identity]:
    """The user whom an object shows, as it stands under a user's key."""
    if name in _USERS:
        for key, value in node.members or ():
            if key == "id" and (number := _id(document, value)):
                yield user(number)


def _singles(value: Node) -> list[Node]:
    """A single value, or those of an array."""
    if value.members is None:
        return [value]
    return [] if value.is_object else [one for _, one in value.members if one.members is None]


def _tells(document: bytes, key: str, value: Node, is_theirs: Theirs, sought: Sequence[str]) -> bool:
    """Whether a single value tells of a person by itself, whomever its object is about."""
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
    """A user's id, from a number or the text that spells one; None where there is none, or nobody's."""
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
    return spelt(raw) if raw[:1] == b'"' else raw.decode("utf-8", "replace")


def spellings(text: str) -> set[bytes]:
    """How a text may stand in a body: in either case, plain, escaped, or escaped as PHP does."""
    cases = {text, text.upper(), text.lower()}
    escaped = {orjson.dumps(one)[1:-1] for one in cases} | {_ascii(one) for one in cases}
    return escaped | {one.replace(b"/", rb"\/") for one in escaped}


def _ascii(text: str) -> bytes:
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return b"".join(bytes([code]) if 32 <= code < 127 else b"\\u%04x" % code for code in codes)
