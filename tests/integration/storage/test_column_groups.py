"""Which fact is newer: each group of columns by its own source's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from ampeco.resources.charging import Session
from storage.state.changes import ChangeSet
from storage.state.facts import read_fact_factory, session_facts
from storage.state.fold import Fold, fact_from_notification, fact_from_read
from storage.state.upsert import upsert
from tests.support.facts import apply, row, sample

AT = datetime(2026, 3, 4, 7, tzinfo=UTC)


def location(name: str) -> dict[str, object]:
    return {"name": name}


def test_an_older_snapshot_never_replaces_a_newer_one(connection: Connection) -> None:
    apply(connection, sample("SessionUpdateNotification.finished"))
    apply(connection, sample("SessionUpdateNotification.active"))
    assert row(connection, "session")["status"] == "finished"


def test_a_late_start_does_not_reopen_a_stopped_session(connection: Connection) -> None:
    apply(connection, sample("session.start.stop.notification.stop"))
    apply(connection, sample("session.start.stop.notification.start"))
    session = row(connection, "session")
    assert (session["status"], session["energy_wh"], session["meter_stop_wh"]) == ("finished", 23_410, 1_222_730)
    # and yet it adds the driver, whom the stop did not name
    assert session["user_id"] == 5511


def test_a_stop_of_the_same_second_ends_a_running_snapshot(connection: Connection) -> None:
    stop, update = sample("session.start.stop.notification.stop"), sample("SessionUpdateNotification.active")
    update["session"]["lastUpdatedAt"] = stop["lastUpdatedAt"]
    for order in ((stop, update), (update, stop)):
        for body in order:
            apply(connection, body)
        assert row(connection, "session")["status"] == "finished"


def test_master_data_and_hardware_status_do_not_outdate_each_other(connection: Connection) -> None:
    # Given an EVSE whose status is much newer than its master data
    apply(connection, sample("HardwareStatusNotification.faulted"))
    old = AT - timedelta(days=300)
    upsert(connection, "t", Fold([fact_from_read("evse", 902, "master", old, {"label": "A"}, began_at=AT)]))
    # Then both stand
    evse = row(connection, "evse")
    assert (evse["label"], evse["hardware_status"]) == ("A", "faulted")


def test_network_status_and_boot_do_not_outdate_each_other(connection: Connection) -> None:
    apply(connection, sample("NetworkStatusNotification.offline"))
    apply(connection, sample("BootNotification"))
    charge_point = row(connection, "charge_point")
    assert (charge_point["network_status"], charge_point["boot_model"]) == ("temporarily_unavailable", "QC-50")


def test_a_null_in_a_newer_snapshot_replaces_a_value(connection: Connection) -> None:
    body = sample("SessionUpdateNotification.finished")
    apply(connection, sample("SessionUpdateNotification.active"))
    del body["session"]["socPercent"]
    apply(connection, body)
    assert row(connection, "session")["soc_percent"] is None


def test_a_read_outranks_a_notification_of_the_same_time(connection: Connection) -> None:
    notified = fact_from_notification("location", 1, "master", AT, location("notified"))
    shown = fact_from_read("location", 1, "master", AT, location("shown"), began_at=AT)
    for order in ((notified, shown), (shown, notified)):
        for fact in order:
            upsert(connection, "t", Fold([fact]))
        assert row(connection, "location")["name"] == "shown"


def test_of_two_reads_of_the_same_time_the_later_begun_stands(connection: Connection) -> None:
    early = fact_from_read("location", 1, "master", AT, location("early"), began_at=AT)
    late = fact_from_read("location", 1, "master", AT, location("late"), began_at=AT + timedelta(seconds=1))
    for fact in (late, early):
        upsert(connection, "t", Fold([fact]))
    assert row(connection, "location")["name"] == "late"
    assert row(connection, "location")["master_conflicting"] is False


def test_a_notification_that_contradicts_a_read_of_its_second_is_conflicting_until_a_later_read(
    connection: Connection,
) -> None:
    shown = fact_from_read("location", 1, "master", AT, location("shown"), began_at=AT)
    notified = fact_from_notification("location", 1, "master", AT, location("notified"))
    assert upsert(connection, "t", Fold([shown])).conflicting == []
    assert [one.entity_id for one in upsert(connection, "t", Fold([notified])).conflicting] == [1]
    later = fact_from_read("location", 1, "master", AT, location("notified"), began_at=AT + timedelta(seconds=2))
    assert upsert(connection, "t", Fold([later])).conflicting == []
    assert row(connection, "location")["master_conflicting"] is False
    assert row(connection, "location")["name"] == "notified"


def test_a_notification_that_repeats_what_was_read_is_not_conflicting(connection: Connection) -> None:
    # Given a session as the API shows it
    body = sample("SessionUpdateNotification.finished")
    found = ChangeSet()
    session_facts(
        found, Session.model_validate(body["session"]), body["session"], read_fact_factory(AT + timedelta(hours=1))
    )
    upsert(connection, "t", Fold(found.facts))
    # When its notification comes late
    apply(connection, body)
    # Then nothing is in doubt
    session = row(connection, "session")
    assert not any(session[f"{group}_conflicting"] for group in ("state", "detail", "meter", "presence"))


def test_a_row_of_which_nothing_is_newer_is_not_written(connection: Connection) -> None:
    apply(connection, sample("SessionUpdateNotification.active"))
    fold = Fold(fact_from_notification("location", 1, "master", AT, location("one")) for _ in range(2))
    upsert(connection, "t", fold)
    assert upsert(connection, "t", fold) == ([], [], [], {})
    from sqlalchemy import text

    versions = "SELECT xmin = pg_current_xact_id()::xid, ctid::text FROM charging.location"
    before = connection.execute(text(versions)).one()
    upsert(connection, "t", fold)
    assert connection.execute(text(versions)).one() == before
