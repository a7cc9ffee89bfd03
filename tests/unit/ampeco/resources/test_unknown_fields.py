"""An unknown field that AMPECO sends is named by its shape, and never by its value."""

from __future__ import annotations

from typing import Any

import pytest

from ampeco.notifications.catalogue import CATALOGUE
from ampeco.notifications.parsing import parse
from ampeco.resources.unknown_fields import OTHERS, is_known_field, shape, shown_name, unknown_fields
from tests.unit.ampeco.samples import NOTIFICATIONS, sample


def unknown(body: dict[str, Any]) -> set[tuple[str, str]]:
    return {(found.model, found.name) for found in unknown_fields(parse(body))}


@pytest.mark.parametrize("name", sorted(NOTIFICATIONS))
def test_nothing_in_a_documented_notification_is_unknown(name: str) -> None:
    body = sample(name)
    handled = {known.name for known in CATALOGUE if known.handler}
    if body["notification"] in handled:
        assert unknown(body) == set()


def test_a_new_field_is_found_at_every_depth() -> None:
    body = sample("SessionUpdateNotification.finished.json")
    body["newOnTop"] = 1
    body["session"]["newInside"] = 1
    body["session"]["chargingPeriods"][0]["newInAPart"] = 1
    assert unknown(body) == {("SessionUpdate", "newOnTop"), ("Session", "newInside"), ("ChargingPeriod", "newInAPart")}


def test_a_time_in_the_tenants_own_zone_is_no_news() -> None:
    body = sample("SessionUpdateNotification.finished.json")
    body["session"] |= {"startedAtLocal": "2026-03-04T09:04:00+02:00", "inventedAtLocal": "2026-03-04T09:04:00+02:00"}
    assert unknown(body) == {("Session", "inventedAtLocal")}


def test_a_secret_is_gone_before_it_is_looked_at() -> None:
    body = sample("SessionUpdateNotification.finished.json")
    body["session"] |= {"pin": "1234", "someNewPassword": "hush"}
    assert unknown(body) == set()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "boolean"),
        (1.5, "number"),
        ("Ann Example", "text"),
        ("2026-03-04T07:04:00Z", "time"),
        ([], "array"),
        ([{"id": 7}], "array of object {id: number}"),
        ({}, "object"),
        ({"amount": 7, "ann@example.com": "Ann"}, "object {amount: number, *: text}"),
        ({"a": {"b": {"c": "deep"}}}, "object {a: object {b: object}}"),
    ],
)
def test_a_shape_shows_types_and_keys_and_no_value(value: Any, expected: str) -> None:
    assert shape(value) == expected


def test_a_shape_is_of_bounded_length() -> None:
    wide = {
        f"key{'x' * 60}{letter}": {f"k{'y' * 60}{other}": 1 for other in "abcdefghijklmnopqrstuvwxyz"}
        for letter in "abc" * 99
    }
    assert len(shape(wide)) < 20_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("operatorId", "operatorId"),
        ("post_code", "post_code"),
        ("plugAndChargeIso15118", "plugAndChargeIso15118"),
        ("user.thing.changed", "user.thing.changed"),
        ("ann@example.com", OTHERS),
        ("Ann Example", OTHERS),
        ("+49 151 1234567", OTHERS),
        ("c0ffee00d15ea5e5", OTHERS),
        ("4711", OTHERS),
        ("", OTHERS),
        ("x" * 65, OTHERS),
        ("line\nfeed", OTHERS),
        ("zero\0", OTHERS),
    ],
)
def test_a_key_that_may_be_data_is_no_name(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_what_a_model_reads_or_a_document_names_is_known() -> None:
    assert is_known_field("Session", "energyConsumption")
    assert is_known_field("Session", "priceBreakdown")
    assert is_known_field("Session", "startedAtLocal")
    assert not is_known_field("Session", "operatorId")
    assert not is_known_field("NoSuchModel", "id")
