from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ampeco.values import (
    MAX_BIGINT,
    MIN_BIGINT,
    BigInt,
    Instant,
    InstantOrDay,
    JsonObject,
    Localised,
    NetworkStatus,
    Number,
    SettledText,
    SystemStatus,
    Text,
    WholeNumber,
)

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def read(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_python(value)


def complaint(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        read(kind, value)
    (error,) = caught.value.errors()
    return error["msg"]


class TestBigInt:
    @given(st.integers(MIN_BIGINT, MAX_BIGINT))
    def test_every_64_bit_integer_is_read_from_a_number_and_from_a_string(self, value: int) -> None:
        assert read(BigInt, value) == read(BigInt, str(value)) == value

    def test_a_float_that_is_whole_is_read(self) -> None:
        assert read(BigInt, 418.0) == 418

    @pytest.mark.parametrize("value", [MAX_BIGINT + 1, MIN_BIGINT - 1, str(MAX_BIGINT + 1)])
    def test_an_integer_beyond_64_bits_is_refused(self, value: object) -> None:
        assert "beyond 64 bits" in complaint(BigInt, value)

    @pytest.mark.parametrize(
        "value",
        [
            True,
            1.5,
            1e19,
            2.0**53 + 2,
            float("nan"),
            float("inf"),
            None,
            [],
            {},
            "",
            " 1",
            "1_000",
            "1.0",
            "0x1f",
            "١",
            "abc",
            "9" * 5000,
        ],
    )
    def test_what_is_not_exactly_an_integer_is_refused(self, value: object) -> None:
        assert "not an integer" in complaint(BigInt, value)


class TestNumber:
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_every_finite_float_is_kept_as_it_is_spelled(self, value: float) -> None:
        assert read(Number, value) == Decimal(repr(value))

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(0.1, "0.1"), (5230, "5230"), ("43.10", "43.10"), ("-1e3", "-1E+3"), (Decimal("2.35"), "2.35"), (".5", "0.5")],
    )
    def test_a_number_is_read_from_numbers_and_strings(self, value: object, expected: str) -> None:
        assert str(read(Number, value)) == expected

    @pytest.mark.parametrize(
        "value",
        [
            float("nan"),
            float("inf"),
            Decimal("NaN"),
            Decimal("-Infinity"),
            True,
            None,
            [],
            "NaN",
            "Infinity",
            "",
            "1 ",
            "1_0",
            "١",
            "12abc",
            "1" * 1001,
        ],
    )
    def test_what_is_not_a_finite_number_is_refused(self, value: object) -> None:
        assert complaint(Number, value).startswith("Value error, not a")

    @pytest.mark.parametrize("value", ["1e1000", "1e-1000", "1e999999999", 10**1000, Decimal("1" * 1001)])
    def test_a_number_that_postgres_could_not_hold_is_refused(self, value: object) -> None:
        assert "too large or too fine" in complaint(Number, value)

    def test_a_power_with_a_fraction_is_kept_to_the_unit(self) -> None:
        assert read(WholeNumber, 7360.4) == 7360
        assert read(WholeNumber, "22000") == 22000

    def test_a_power_beyond_64_bits_is_refused(self) -> None:
        assert "beyond 64 bits" in complaint(WholeNumber, 1e300)


class TestInstant:
    @pytest.mark.parametrize(
        "spelled",
        [
            "2026-03-04T12:00:00Z",
            "2026-03-04T12:00:00.000000Z",
            "2026-03-04T12:00:00+00:00",
            "2026-03-04T14:00:00+02:00",
            "2026-03-04T06:30:00-0530",
            "2026-03-04 12:00:00",
            "2026-03-04T12:00:00",
            "2026-03-04t12:00z",
        ],
    )
    def test_every_spelling_of_a_time_is_read_as_utc(self, spelled: str) -> None:
        moment = read(Instant, spelled)

        assert moment == NOON
        assert moment.tzinfo is UTC

    def test_microseconds_are_kept_and_finer_digits_dropped(self) -> None:
        assert read(Instant, "2026-03-04T12:00:00.2153349Z") == NOON + timedelta(microseconds=215334)

    def test_an_aware_datetime_is_turned_to_utc_and_a_naive_one_refused(self) -> None:
        elsewhere = NOON.astimezone(timezone(timedelta(hours=2)))

        assert read(Instant, elsewhere).tzinfo is UTC
        assert "without a zone" in complaint(Instant, NOON.replace(tzinfo=None))

    @pytest.mark.parametrize("value", [1772625600, 1772625600.5, "1772625600", True, None, "", "now", "2026-03-04", []])
    def test_an_epoch_and_anything_but_iso_8601_is_refused_with_an_example(self, value: object) -> None:
        assert "such as 2026-03-04T07:04:00Z" in complaint(Instant, value)

    @pytest.mark.parametrize(
        "value",
        [
            "0000-00-00 00:00:00",
            "0000-01-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-03-04T25:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-01:00",
            "2026-03-04T12:00:00+99:00",
        ],
    )
    def test_a_time_that_is_none_or_leaves_utcs_range_is_refused(self, value: object) -> None:
        assert complaint(Instant, value).startswith("Value error, ")

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_a_time_survives_being_spelled_and_read(self, moment: datetime) -> None:
        assert read(Instant, moment.isoformat()) == moment

    def test_where_a_bare_day_is_documented_it_begins_in_utc(self) -> None:
        assert read(InstantOrDay, "2026-03-04") == datetime(2026, 3, 4, tzinfo=UTC)
        assert read(InstantOrDay, "2026-03-04T12:00:00Z") == NOON


class TestText:
    @given(st.text(st.characters()))
    def test_text_can_always_be_stored_by_postgres(self, value: str) -> None:
        kept = read(Text, value)

        assert "\x00" not in kept
        kept.encode()  # no lone surrogate

    def test_a_character_that_postgres_cannot_hold_leaves_a_mark(self) -> None:
        assert read(Text, "a\x00b\ud800c\U0001f50c") == "a\ufffdb\ufffdc\U0001f50c"

    def test_a_number_is_taken_as_its_spelling(self) -> None:
        assert read(Text, 400) == "400"

    @pytest.mark.parametrize("value", [True, None, [], {}])
    def test_anything_else_is_not_text(self, value: object) -> None:
        assert complaint(Text, value) == "Value error, not text"

    def test_the_word_null_is_none_where_ampeco_writes_it_so(self) -> None:
        assert [read(SettledText, value) for value in ("null", None, "paid")] == [None, None, "paid"]


class TestStatuses:
    @pytest.mark.parametrize(
        ("spelled", "expected"),
        [
            ("available", "available"),
            ("never connected", "never_connected"),
            ("never_connected", "never_connected"),
            ("temporarily unavailable", "temporarily_unavailable"),
            ("temporarily_unavailable", "temporarily_unavailable"),
            ("long-term unavailable", "long_term_unavailable"),
            ("long-term_unavailable", "long_term_unavailable"),
            ("Partly-Asleep", "partly_asleep"),
        ],
    )
    def test_a_network_status_has_one_spelling(self, spelled: str, expected: str) -> None:
        assert read(NetworkStatus, spelled) == expected

    @pytest.mark.parametrize(
        ("spelled", "expected"),
        [
            ("active", "enabled"),
            ("enabled", "enabled"),
            ("out of order", "out_of_order"),
            ("demo", "demo"),
            ("under review", "under_review"),
        ],
    )
    def test_a_system_status_has_one_vocabulary(self, spelled: str, expected: str) -> None:
        assert read(SystemStatus, spelled) == expected


class TestObjects:
    @pytest.mark.parametrize(
        "value",
        [
            [{"locale": "en", "translation": "Hub"}, {"locale": "fr", "translation": None}, {"locale": "de"}],
            {"en": "Hub", "fr": None},
        ],
    )
    def test_translations_have_one_shape_and_no_empty_ones(self, value: object) -> None:
        assert read(Localised, value) == {"en": "Hub"}

    @pytest.mark.parametrize("value", [None, [], {}])
    def test_no_translations_are_an_empty_mapping(self, value: object) -> None:
        assert read(Localised, value) == {}

    def test_a_bare_text_is_no_translation(self) -> None:
        assert "translations" in complaint(Localised, "Hub")

    def test_an_empty_array_is_an_empty_object(self) -> None:
        assert read(JsonObject, []) == {}
        assert read(JsonObject, {"a": 1}) == {"a": 1}
