"""A person is removed from a document, and not one byte more."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.privacy import people
from ampeco.privacy.people import Identity, belongings, email, id_tag, identities, spellings, user, without
from tests.support.facts import SAMPLES

TAG, EMAIL = "04F7A9C3", "ana@example.org"
KNOWN = {user(7), id_tag(TAG), email(EMAIL)}
theirs = KNOWN.__contains__

KEYS = st.sampled_from(
    [
        "userId",
        "user_id",
        "USER-ID",
        "user",
        "userIds",
        "ownerUserId",
        "idTag",
        "id-tag",
        "idTagUid",
        "email",
        "id",
        "firstName",
        "paymentMethodId",
        "x",
    ]
) | st.text(st.characters(codec="utf-8"), max_size=4)
LEAVES = st.sampled_from(
    [7, "7", 7.0, "007", 8, "8", TAG, TAG.lower(), EMAIL, EMAIL.upper(), "*0007", "Ana", 5.5, None]
)
JSON = st.recursive(
    LEAVES | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@given(document=JSON, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
def test_the_person_is_not_named_afterwards_and_once_is_enough(
    document: Any, ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    cleaned = without(body, theirs)
    orjson.loads(cleaned)
    assert user(7) not in identities(cleaned)
    assert email(EMAIL) not in identities(cleaned)
    assert without(cleaned, theirs) == cleaned
    # A document that does not name the person is returned as it is.
    if not identities(body) & KNOWN:
        assert cleaned is body


@given(document=JSON)
def test_with_all_that_is_known_no_text_has_the_address_in_it(document: Any) -> None:
    body = json.dumps({"remark": f"by {EMAIL}", EMAIL: document, "userId": 8}).encode()
    assert EMAIL not in str(orjson.loads(without(body, theirs, addresses=[EMAIL]))).lower()


@pytest.mark.parametrize(
    ("document", "after"),
    [
        (b'{"userId": 7, "energy": 5.50}', b'{"userId": 0, "energy": 5.50}'),
        (b'{ "user_id":"7",\n\t"name":"A" ', b'{ "user_id":0,\n\t"name":null '),
        (b'{"user":{"id":7,"email":"a@b.c"},"id":7}', b'{"user":{"id":0},"id":7}'),
        (b'{"user":7,"phone":"1"}', b'{"user":0,"phone":null}'),
        (
            b'{"a":[{"userId":7,"idTag":"AAAA"},{"userId":8,"idTag":"BBBB"}]}',
            b'{"a":[{"userId":0,"idTag":null},{"userId":8,"idTag":"BBBB"}]}',
        ),
        (
            b'{"userId":7,"x":{"userId":8,"phone":"1"},"y":{"phone":"2"}}',
            b'{"userId":0,"x":{"userId":8,"phone":"1"},"y":{"phone":null}}',
        ),
        # An object without a user is about whom its tag belongs to.
        (b'{"idTag":"04f7A9c3","idTagLabel":"A"}', b'{"idTag":null,"idTagLabel":null}'),
        # Somebody else uses the tag now; an address belongs to one person.
        (b'{"userId":8,"idTag":"04F7A9C3"}', b'{"userId":8,"idTag":"04F7A9C3"}'),
        (b'{"userId":8,"email":"Ana@Example.org"}', b'{"userId":8,"email":null}'),
        # A charge point has an owner, and is not about them.
        (b'{"name":"x","ownerUserId":7,"externalId":"e"}', b'{"name":"x","ownerUserId":0,"externalId":"e"}'),
        (b'{"name":"x","user":{"id":7}}', b'{"name":"x","user":{"id":0}}'),
        (b'{"userIds":[6,7],"name":"a group"}', b'{"userIds":[6,0],"name":"a group"}'),
        (b'{"\\u0075serId":7}', b'{"\\u0075serId":0}'),
        (b'{"userId":70,"id":7,"sessionId":7}', b'{"userId":70,"id":7,"sessionId":7}'),
        (b"not JSON, userId 7", b"not JSON, userId 7"),
        (b'{"userId":', b'{"userId":'),
        (b'{"userId":7,"email":"an', b'{"userId":0,"email":null'),
    ],
)
def test_the_person_is_removed_from_a_document(document: bytes, after: bytes) -> None:
    assert without(document, theirs) == after


def test_texts_with_a_tag_go_unless_they_are_numbers_or_about_somebody_else() -> None:
    body = b'{"data":"{\\"tag\\":\\"04f7a9c3\\"}","a":{"userId":8,"b":"04f7a9c3"},"c":"104","d":104,"e":"by ana@example.org"}'
    assert without(body, theirs, addresses=[EMAIL], tags=["04f7a9c3", "104"]) == (
        b'{"data":null,"a":{"userId":8,"b":"04f7a9c3"},"c":"104","d":104,"e":null}'
    )


def test_what_is_about_the_person_is_known_to_be_theirs() -> None:
    body = b'{"userId":"7","idTag":"04AB12","x":{"email":"a@b.c"},"y":{"userId":8,"idTag":"04CD34"}}'
    assert belongings(body, theirs) == {Identity("id_tag", "04AB12"): {"04AB12"}, Identity("email", "a@b.c"): {"a@b.c"}}


@pytest.mark.parametrize("uid", ["*0077120", "abc", "", "   ", "null", "Unknown", "00000000"])
def test_what_stands_in_the_place_of_a_tag_is_none(uid: str) -> None:
    assert id_tag(uid) is None


@pytest.mark.parametrize("nothing", ["null", '""', '"null"', "true", "[]", "{}", "0", '"0"'])
def test_an_empty_value_names_no_one(nothing: str) -> None:
    # Else everything without a tag would be about the first person who is erased.
    document = {
        "userId": 0,
        "user": 0,
        "idTag": 0,
        "rfidTagUid": 0,
        "uid": 0,
        "email": 0,
        "userIds": 0,
        "ownerUserId": 0,
    }
    assert identities(json.dumps(document).replace("0", nothing).encode()) == set()


@pytest.mark.parametrize("key", sorted(people._USERS | people._REFERENCES | people._TAGS | people._EMAILS))
def test_a_document_that_names_somebody_once_is_never_passed_over(key: str) -> None:
    for spelling in (key, key.upper(), "_".join(key), json.dumps(key).replace(key[0], f"\\u{ord(key[0]):04x}")[1:-1]):
        assert people.may_name(f'{{"a":[{{"{spelling}":"x"}}]}}'.encode())


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_sample_about_somebody_else_is_the_very_same(path: Any) -> None:
    body = path.read_bytes()
    assert without(body, theirs, addresses=[EMAIL], tags=[TAG.lower()]) is body


@pytest.mark.parametrize("text", ["ana@example.org", "Zoë/1", "04F7"])
def test_a_text_is_found_in_every_spelling(text: str) -> None:
    written = {
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(text)[1:-1].replace("/", "\\/"),
    }
    assert {one.encode() for one in written} <= spellings(text)


@pytest.mark.parametrize("filling", [b'"\\', b'"', b'{"userId":', b'"idTag":[', b"[", b"7,", b":", b"\\u0070"])
def test_nothing_that_is_sent_takes_long(filling: bytes) -> None:
    size = 1024 * 1024 // 4
    body = (b'{"userId":7,"x":' + filling * size)[:size]
    began = time.process_time()
    without(body, theirs, addresses=[EMAIL])
    # A quarter of the largest body, and of 30 s. A time that grows with the square of the length would be minutes.
    assert time.process_time() - began < 30 / 4
