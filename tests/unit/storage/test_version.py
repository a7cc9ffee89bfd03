"""Versions say where a fact comes from."""

from __future__ import annotations

from datetime import UTC, datetime

from storage.state.version import Version


def test_the_version_of_a_read_says_when_the_read_began() -> None:
    began_at = datetime(2026, 3, 4, 7, 1, 2, 345678, tzinfo=UTC)
    assert Version.of_read({"name": "x"}, began_at=began_at).read_began_at == began_at
    assert Version.of_read({"name": "x"}, began_at=began_at, rank="1").read_began_at == began_at


def test_the_version_of_a_notification_has_no_read() -> None:
    assert Version.of_notification({"name": "x"}).read_began_at is None
    assert Version("").read_began_at is None
