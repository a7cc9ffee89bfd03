"""Erasure: a person is removed from everything, does not come back, and the reports stay right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from ampeco.privacy.people import id_tag
from ampeco.resources.kinds import KINDS
from migrations import roles
from storage.database import create_database_engine
from storage.erasure.person import Person
from storage.erasure.suppression import remove_suppressed
from storage.inbox.batches import LoggedBody
from storage.inbox.rewrite import redact_bodies, rewrite
from storage.locks import Lock, lock
from storage.log.scope import Scope
from storage.schema.entities import MIRRORS
from storage.sync import sync_runs
from tests.support.commands import run
from tests.support.databases import database_user
from tests.support.deployment import Deployment
from tests.support.erasing import CARD, EMAIL, NAME, TAG, USER, bodies_with_person, erase, left, shown
from tests.support.facts import sample
from tests.support.log import query
from tests.support.service import Service, eventually, write_tenants
from workers.apply.apply import apply_open_batches
from workers.apply.postponing import PostponedError
from workers.maintenance.erase import begin, go_through_log, look_up
from workers.maintenance.rebuild import alone, began_at, compare, fold_log, scope_of
from workers.maintenance.replay import committed_chunks, replay
from workers.sync.reconcile import sync_pages

SUMS = """
    SELECT session_id, status, started_at, stopped_at, energy_wh, amount_with_tax, currency, payment_type,
           state_at, detail_at, detail_conflicting, raw -> 'chargingPeriods' AS periods
      FROM charging.session
     ORDER BY session_id
"""


@pytest.fixture
def lived(deployment: Deployment) -> Deployment:
    """A tenant with every notification and every read, with one person in all of them."""
    deployment.deliver(*bodies_with_person().values(), b"not JSON, by " + EMAIL.encode())  # type: ignore[arg-type]
    for _ in range(4):
        waiting = deployment.service.query("SELECT kind, entity_id FROM ingest.refresh_request WHERE reference = ''")
        shown(deployment.ampeco, [(row["kind"], row["entity_id"]) for row in waiting])
        while deployment.refresh():
            pass
    return deployment


#: That two samples contradict each other shows with each replay again.
OWN = {"first_seen_at", "updated_at", "recorded_at", "network_conflicting"}
CLOCKS = {f"{group.name}_{kind}" for one in MIRRORS.values() for group in one.groups for kind in ("at", "version")}


def state(deployment: Deployment, *, clocks: bool = True) -> dict[str, list[str]]:
    """The state and its history, without our own times; if asked to, without the clocks of facts and their JSON."""
    without = OWN if clocks else {*OWN, *CLOCKS, "raw"}
    found = {}
    for table in ("session", "authorization", "transaction", "reservation", "charge_point", "resource", "notice"):
        rows = deployment.service.query(f"SELECT * FROM charging.{table}")
        found[table] = sorted(str({name: row[name] for name in row if name not in without}) for row in rows)
    return found


def compared(engine: Engine) -> list[str]:
    """What a rebuild finds different."""
    with alone(engine):
        scope, since = scope_of(engine, "demo"), began_at(engine)
        for _ in fold_log(engine, scope):
            pass
        return [str(one) for one in compare(engine, scope, since).tables if one.differs]


def replayed(engine: Engine) -> None:
    scope = Scope("demo", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=1))
    for _ in replay(engine, scope):
        pass


def test_nothing_is_left_of_a_erased_person_and_the_sums_stay(lived: Deployment) -> None:
    engine = lived.service.engine
    before, bodies = lived.service.query(SUMS), lived.service.count("ingest.notification")
    places = left(engine)
    for mark, table in (
        (str(USER), "charging.session"),
        (TAG, "charging.session"),
        (CARD, "charging.session"),
        (EMAIL, "charging.transaction"),
        (EMAIL, "charging.resource"),
        (NAME, "charging.resource"),
        (str(USER), "charging.notice"),
        (str(USER), "charging.reservation"),
        (TAG, 'charging."authorization"'),
        (str(USER), "charging.charge_point"),
    ):
        assert f"{mark} is in {table}" in places
    changed = erase(engine)
    assert left(engine) == []
    assert changed["charging.session"] == 1
    assert changed["ingest.notification"] > 15
    assert lived.service.query(SUMS) == before
    assert lived.service.count("ingest.notification") == bodies
    # The user's own row is gone, and no nameless one is in its place.
    assert lived.service.query("SELECT resource_id FROM charging.resource WHERE kind = 'user'") == []


def test_replaying_rebuilding_and_applying_again_do_not_bring_the_person_back_and_change_nothing(
    lived: Deployment,
) -> None:
    engine = lived.service.engine
    assert compared(engine) == []
    erase(engine)
    after, states = state(lived), lived.service.states()
    assert compared(engine) == []
    replayed(engine)
    assert state(lived) == after
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET applied_at = NULL, attempts = 0"))
        connection.execute(text("DELETE FROM ingest.outcome"))
    lived.service.apply()
    assert state(lived) == after
    assert lived.service.states() == states
    assert left(engine) == []


def test_what_is_read_afterwards_is_kept_without_the_person_and_counts_as_known(lived: Deployment) -> None:
    engine = lived.service.engine
    erase(engine)
    after = state(lived, clocks=False)
    # Given an AMPECO that still shows the person in everything, and is asked for everything again
    with engine.begin() as connection:
        for kind, table, key in (
            ("session", "session", "session_id"),
            ("authorization", '"authorization"', "authorization_id"),
            ("transaction", "transaction", "transaction_id"),
            ("reservation", "reservation", "reservation_id"),
            ("charge_point", "charge_point", "charge_point_id"),
        ):
            connection.execute(
                text(
                    "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
                    f" SELECT tenant, '{kind}', {key}, 'changed' FROM charging.{table} ON CONFLICT DO NOTHING"
                )
            )
        connection.execute(
            text(
                "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
                f" VALUES ('demo', 'user', {USER}, 'changed') ON CONFLICT DO NOTHING"
            )
        )
    calls = lived.ampeco.calls.total()
    while lived.refresh():
        pass
    assert lived.ampeco.calls.total() > calls + 5
    with engine.begin() as connection:
        connection.execute(text(f"DELETE FROM ingest.refresh_request WHERE entity_id = {USER}"))
    assert left(engine) == []
    # Then every column stands as it did, but for the clocks of the reads
    assert state(lived, clocks=False) == after
    assert not [row for row in lived.service.query("SELECT detail_conflicting AS c FROM charging.session") if row["c"]]


def test_a_reconcile_does_not_count_an_erased_person_as_missing(lived: Deployment) -> None:
    engine = lived.service.engine
    erase(engine)
    after = state(lived, clocks=False)
    # Given listings that still show the person: as a user, and in a session and a transaction
    for kind, path in (
        ("user", KINDS["user"].path),
        ("session", "sessions/v1.0"),
        ("transaction", "transactions/v1.0"),
    ):
        resources = lived.ampeco.resources.items()
        lived.ampeco.everything[path] = [one for own, one in resources if own.startswith(f"{path}/")]
        assert lived.ampeco.everything[path]
        # When a sync run goes through each listing
        with engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", kind, "reconcile", None)
        assert sync_run is not None
        for _ in sync_pages(lived.context, sync_run, reason="reconcile"):
            pass
        # Then nothing of it counts as news, and nothing of the person is kept
        assert (sync_run.stats.compared > 0, sync_run.stats.missing, sync_run.stats.stale) == (True, 0, 0), kind
    assert state(lived, clocks=False) == after
    assert left(engine) == []


def test_what_arrives_afterwards_is_kept_without_the_person_in_the_log_too(lived: Deployment) -> None:
    engine = lived.service.engine
    erase(engine)
    after = state(lived)
    late = {
        name: body for name, body in bodies_with_person().items() if not name.startswith("chargePoint.dataTransfer")
    }
    for body in late.values():
        assert lived.service.post(body).status_code == 202
    assert left(engine) != []
    lived.service.apply()
    assert left(engine) == []
    assert lived.service.count(f"ingest.refresh_request WHERE kind = 'user' AND entity_id IN (0, {USER})") == 0
    assert state(lived) == after


def test_a_new_tag_of_an_erased_user_is_removed_where_it_comes_with_the_user(lived: Deployment) -> None:
    erase(lived.service.engine)
    lived.deliver(
        sample("session.start.stop.notification.start") | {"sessionId": 5, "userId": USER, "idTag": "04NEWTAG"}
    )
    assert lived.service.query("SELECT user_id, id_tag FROM charging.session WHERE session_id = 5") == [
        {"user_id": 0, "id_tag": None}
    ]


def test_every_byte_beside_the_redacted_values_stays_and_the_digest_is_that_of_what_came(lived: Deployment) -> None:
    erase(lived.service.engine)
    sent = {
        hashlib.sha256(json.dumps(body).encode()).digest(): json.dumps(body).encode()
        for body in bodies_with_person().values()
    }
    changed = 0
    for row in lived.service.query("SELECT body, body_sha256 FROM ingest.notification"):
        digest = row["body_sha256"] or hashlib.sha256(row["body"]).digest()
        before = sent.get(bytes(digest))
        if before is None:
            assert b"not JSON" in row["body"]
            continue
        changed += row["body"] != before
        # What differs is a value that is empty now, and nothing else.
        was, now = dict(_leaves(json.loads(before))), dict(_leaves(json.loads(row["body"])))
        assert set(now) <= set(was)
        assert all(value in (was[path], None, 0) for path, value in now.items())
        assert all(path.startswith(".user.") for path in set(was) - set(now))  # the user's own data
    assert changed > 15


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, held in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(held, f"{path}.{key}")
    else:
        yield path, value


def test_other_people_stay_as_they_are(lived: Deployment) -> None:
    engine = lived.service.engine
    other = sample("SessionUpdateNotification.finished")
    other["session"] |= {"id": "88", "userId": 4, "idTag": TAG, "paymentMethodId": "pm-other"}
    other["session"]["authorization"] |= {"id": 89, "userId": 4, "rfidTagUid": TAG}
    invited = sample("partnerInvite.changed") | {"partnerInviteId": 4, "userId": 4, "email": EMAIL}
    lived.deliver(other, invited)
    erase(engine)
    assert query(engine, "SELECT user_id, id_tag, payment_method_id FROM charging.session WHERE session_id = 88") == [
        {"user_id": 4, "id_tag": TAG, "payment_method_id": "pm-other"}
    ]
    assert not [place for place in left(engine) if EMAIL in place]
    bodies = lived.service.query("SELECT body FROM ingest.notification ORDER BY received_at DESC LIMIT 2")
    assert json.loads(bodies[0]["body"]) == invited | {"email": None}
    assert json.loads(bodies[1]["body"]) == other


def test_erasing_twice_changes_nothing_the_second_time(lived: Deployment) -> None:
    engine = lived.service.engine
    assert erase(engine)
    after = state(lived)
    assert erase(engine) == {}
    assert state(lived) == after


def test_an_erasure_that_was_killed_continues_where_it_was(lived: Deployment) -> None:
    engine = lived.service.engine
    # Given an erasure that ended after two chunks of the log
    person = Person(USER)
    look_up(engine, "demo", person)
    under_way = begin(engine, "demo", person)
    chunks = go_through_log(engine, "demo", person, under_way, limit=4)
    reached = [next(chunks).last, next(chunks).last][-1]
    assert left(engine) != []
    # When it is run again
    person = Person(USER)
    look_up(engine, "demo", person)
    again = begin(engine, "demo", person)
    # Then it continues after the second chunk, with all that is known of the person, and finishes
    assert (again.erasure_id, again.reached) == (under_way.erasure_id, reached)
    assert erase(engine)["ingest.notification"] > 15
    assert left(engine) == []
    assert lived.service.count("ingest.erasure WHERE finished_at IS NULL") == 0


def test_more_that_is_known_of_the_person_begins_the_log_again(lived: Deployment) -> None:
    engine = lived.service.engine
    person = Person(USER)
    look_up(engine, "demo", person)
    under_way = begin(engine, "demo", person)
    next(go_through_log(engine, "demo", person, under_way, limit=4))
    identity = id_tag("04AFURTHERTAG")
    assert identity is not None
    person.learn({identity: {"04AFURTHERTAG"}})
    assert begin(engine, "demo", person).reached is None


def test_an_erasure_waits_for_a_transaction_that_writes_without_knowing_of_it(lived: Deployment) -> None:
    """A transaction that read the suppression list and has not committed holds the erasure up."""
    from sqlalchemy.exc import OperationalError

    from storage.erasure import log as tables
    from storage.erasure.suppression import key_of

    engine = lived.service.engine
    with engine.connect() as writer, writer.begin():
        key_of(writer, "demo")
        with pytest.raises(OperationalError) as caught, engine.begin() as connection:
            tables.begin(connection, "demo", Person(USER), "test")
        assert type(caught.value.orig).__name__ == "LockNotAvailable"
    with engine.begin() as connection:
        assert tables.begin(connection, "demo", Person(USER), "test")


def test_a_body_that_a_worker_rewrites_during_an_erasure_keeps_its_changes_and_loses_the_person(
    lived: Deployment,
) -> None:
    engine = lived.service.engine
    (row,) = lived.service.query(
        "SELECT * FROM ingest.notification WHERE notification_type = 'UserChangedNotification'"
    )
    person = Person(USER)
    look_up(engine, "demo", person)
    under_way = begin(engine, "demo", person)
    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as worker:
            changed = bytes(row["body"]).replace(b'"action": "updated"', b'"action": "redacted"')
            rewrite(worker, "demo", [(row["received_at"], row["notification_id"], changed)])
            done = threads.submit(lambda: list(go_through_log(engine, "demo", person, under_way)))
            eventually(lambda: lived.service.count("pg_locks WHERE NOT granted"))
        assert done.result()
    (after,) = query(
        engine, "SELECT body FROM ingest.notification WHERE notification_id = :n", n=row["notification_id"]
    )
    assert b"redacted" in after["body"]
    assert str(USER).encode() not in after["body"]


def test_no_day_is_dropped_in_the_midst_of_a_chunk(lived: Deployment) -> None:
    """What failed is copied to another partition there: a body of the person would come back."""
    engine = lived.service.engine
    person = Person(USER)
    look_up(engine, "demo", person)
    under_way = begin(engine, "demo", person)
    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as dropping:
            lock(dropping, Lock.DROP_LOG_DAY)
            done = threads.submit(lambda: list(go_through_log(engine, "demo", person, under_way)))
            eventually(lambda: lived.service.count("pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            assert any("ingest.notification" in place for place in left(engine))
        assert done.result()


def test_a_worker_that_read_a_body_before_puts_nothing_back(lived: Deployment) -> None:
    engine = lived.service.engine
    lived.deliver({"notification": "fromTheFuture", "userId": USER, "remark": f"write to {EMAIL}"})
    logged = query(
        engine,
        "SELECT batch_id, notification_id, received_at, body FROM ingest.notification ORDER BY received_at DESC LIMIT 1",
    )
    erase(engine)
    assert left(engine) == []
    with engine.begin() as connection:
        (cleaned,) = remove_suppressed(connection, "demo", lambda: [LoggedBody(**logged[0])])
    assert json.loads(cleaned.body) == {"notification": "fromTheFuture", "userId": 0, "remark": None}
    assert left(engine) == []


def test_a_replay_that_read_bodies_before_puts_nothing_back(lived: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = lived.service.engine
    scope = Scope("demo", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=1))
    (logged,) = committed_chunks(engine, scope)
    erase(engine)
    monkeypatch.setattr("workers.maintenance.replay.committed_chunks", lambda *_, **__: iter([logged]))
    assert sum(one.seen for one in replay(engine, scope)) == len(logged)
    assert left(engine) == []


def test_secrets_of_a_body_that_lost_somebody_before_it_was_applied_are_redacted(lived: Deployment) -> None:
    engine = lived.service.engine
    lived.service.post(
        bodies_with_person()["UserChangedNotification"] | {"networkPassword": "an-ocpp-secret", "x": EMAIL}
    )
    logged = query(
        engine,
        "SELECT batch_id, notification_id, received_at, body FROM ingest.notification ORDER BY received_at DESC LIMIT 1",
    )
    erase(engine)
    with engine.begin() as connection:
        redact_bodies(connection, "demo", [LoggedBody(**logged[0])])
    assert left(engine) == []
    assert lived.service.count("ingest.notification WHERE position('an-ocpp-secret'::bytea IN body) > 0") == 0


def test_a_notification_that_is_applied_alone_loses_the_person_too(lived: Deployment) -> None:
    engine = lived.service.engine
    erase(engine)
    for name in ("SessionUpdateNotification.finished", "UserChangedNotification", "from.the.future"):
        lived.service.post(bodies_with_person()[name])
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET attempts = 5 WHERE applied_at IS NULL"))
    lived.service.apply()
    assert left(engine) == []


def test_two_notices_that_are_the_same_without_the_person_become_one(service: Service) -> None:
    balance = sample("userBalance.changed")
    for user_id in (USER, USER + 1):
        service.post(balance | {"userId": user_id})
    service.apply()
    assert service.count("charging.notice") == 2
    erase(service.engine)
    erase(service.engine, user_id=USER + 1)
    assert service.query("SELECT user_id FROM charging.notice") == [{"user_id": 0}]
    assert compared(service.engine) == []


@pytest.mark.parametrize(("key", "value"), [("email", EMAIL.title()), ("idTag", TAG[:6] + TAG[6:].lower())])
def test_an_identity_in_other_capitals_is_removed_from_the_log_too(service: Service, key: str, value: str) -> None:
    user = {"id": USER, "email": EMAIL, "rfidTagUid": TAG, "lastUpdatedAt": "2026-03-04T07:00:00Z"}
    service.post({"notification": "UserChangedNotification", "action": "updated", "user": user})
    service.post({"notification": "from.the.future", key: value})
    service.apply()
    erase(service.engine)
    (logged,) = service.query("SELECT body FROM ingest.notification WHERE notification_type = 'from.the.future'")
    assert value not in bytes(logged["body"]).decode()


def test_the_suppression_list_names_no_one_and_the_audit_says_who_asked(lived: Deployment) -> None:
    engine = lived.service.engine
    erase(engine)
    (row,) = lived.service.query("SELECT * FROM ingest.erasure")
    assert row["requested_by"]
    assert row["finished_at"] >= row["began_at"]
    assert row["changed"]["charging.session"] == 1
    plain = {hashlib.blake2b(one.encode(), digest_size=16).digest() for one in (str(USER), f"user:{USER}")}
    digests = {bytes(one["digest"]) for one in lived.service.query("SELECT digest FROM ingest.suppression")}
    assert len(digests) >= 3  # the user, a tag, an address
    assert not digests & plain


def test_revisions_of_master_data_lose_the_person_and_keep_the_rest(deployment: Deployment) -> None:
    # Given a person's charge point that changed its owner, its name and its status
    service, path = deployment.service, "charge-points/v2.0/418"
    sides = [
        {"name": f"Garage of {EMAIL}", "user": {"id": USER}, "tags": [TAG], "status": "enabled", "externalId": "a"},
        {"name": "Garage", "user": {"id": USER + 1}, "tags": ["quay"], "status": "disabled", "externalId": "b"},
        {"name": f"{EMAIL.upper()} again", "user": {"id": USER}, "tags": [], "status": "enabled", "externalId": "c"},
    ]
    deployment.deliver(
        bodies_with_person()["UserChangedNotification"], bodies_with_person()["SessionUpdateNotification.finished"]
    )
    for minute, side in enumerate(sides):
        deployment.ampeco.resources[path] |= side | {"lastUpdatedAt": f"2026-03-04T08:{minute:02}:00+00:00"}
        deployment.deliver({"notification": "chargePoint.changed", "action": "updated", "chargePointId": 418})
        deployment.refresh()
    found = "SELECT * FROM charging.master_revision WHERE kind = 'charge_point' ORDER BY fact_at"
    before = service.query(found)
    assert [row["changed_from"]["name"] for row in before] == [f"Garage of {EMAIL}", "Garage"]
    assert f"{EMAIL} is in charging.master_observation" in left(service.engine)
    # The owner is in no revision, before an erasure or after it
    assert not any("owner" in str(row) or str(USER) in str(row) for row in before)
    assert look_up(service.engine, "demo", Person(USER))["charging.master_observation"] == 2
    changed = erase(service.engine)
    # Then nothing is left of the person, and everything else stays
    assert not any("charging.master_" in place for place in left(service.engine))
    after = service.query(found)
    assert changed["charging.master_observation"] == len(after) == len(before)
    assert [(row["changed_from"]["status"], row["changed_to"]["status"], row["fact_at"]) for row in after] == [
        (row["changed_from"]["status"], row["changed_to"]["status"], row["fact_at"]) for row in before
    ]
    assert [row["fact_version"] for row in after] != [row["fact_version"] for row in before]
    # And a replay and a rebuild bring nothing back
    replayed(service.engine)
    assert compared(service.engine) == []
    assert service.query(found) == after


def test_two_observations_that_are_the_same_without_the_person_become_one(service: Service) -> None:
    # Given two notifications of one time, which name a location after the person in two ways
    for name in (f"Garage of {EMAIL}", f"Garage of {EMAIL.upper()}"):
        body = bodies_with_person()["LocationChangedNotification"]
        body["location"]["name"] = [{"locale": "en", "translation": name}]
        for each in (bodies_with_person()["UserChangedNotification"], body):
            service.post(each)
        service.apply()
    found = "SELECT tracked ->> 'name' AS name FROM charging.master_observation WHERE kind = 'location'"
    assert [row["name"] for row in service.query(found)].count(f"Garage of {EMAIL}") == 1
    assert len(service.query(found)) == 2
    erase(service.engine)
    assert len(service.query(found)) == 1
    # And a replay adds none
    replayed(service.engine)
    assert len(service.query(found)) == 1


def test_corrections_of_a_stopped_session_lose_the_person_and_keep_the_amounts(service: Service) -> None:
    finished = sample("SessionUpdateNotification.finished")
    finished["session"] |= {"userId": USER, "idTag": TAG, "paymentMethodId": CARD}
    service.post(finished)
    service.apply()
    corrected = json.loads(json.dumps(finished))
    corrected["session"] |= {"paymentMethodId": "pm-another-card", "lastUpdatedAt": "2026-03-05T07:00:00+00:00"}
    corrected["session"]["totalAmount"] = {"withTax": 12.5, "withoutTax": 10}
    service.post(corrected)
    service.apply()
    (before,) = service.query("SELECT * FROM charging.session_revision WHERE column_group = 'detail'")
    assert before["changed_from"]["payment_method_id"] == CARD
    erase(service.engine)
    (after,) = service.query("SELECT * FROM charging.session_revision WHERE column_group = 'detail'")
    assert after["changed_from"]["payment_method_id"] is after["changed_to"]["payment_method_id"] is None
    assert after["changed_from"]["amount_with_tax"] == before["changed_from"]["amount_with_tax"]
    assert after["fact_version"] != before["fact_version"]
    assert left(service.engine) == []


def command(service: Service, tmp_path: Path, *arguments: str) -> Any:
    write_tenants(tmp_path)
    servers = {"DATABASE_URL": service.settings.required_database_url(), "REDIS_URL": str(service.settings.redis_url)}
    return run(tmp_path, "erase", *arguments, **servers)


def test_the_command_shows_what_it_would_change_then_changes_it(lived: Deployment, tmp_path: Path) -> None:
    asked = ("--tenant", "demo", "--user", str(USER))
    before = state(lived)
    shown_ = command(lived.service, tmp_path, *asked, "--dry-run", "--json")
    assert shown_.returncode == 0, shown_.stderr
    would = json.loads(shown_.stdout)["rows"]
    assert state(lived) == before
    assert lived.service.count("ingest.suppression") == 0
    unasked = command(lived.service, tmp_path, *asked)
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    done = command(lived.service, tmp_path, *asked, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == would
    assert left(lived.service.engine) == []
    assert not any(mark in done.stderr for mark in (str(USER), TAG, EMAIL, NAME))
    again = command(lived.service, tmp_path, *asked, "--yes")
    assert again.returncode == 0, again.stderr
    assert "nothing was left" in again.stdout


def test_an_unknown_person_is_reported_in_one_sentence_and_put_on_no_list(service: Service, tmp_path: Path) -> None:
    ended = command(service, tmp_path, "--tenant", "demo", "--user", "12", "--yes")
    assert ended.returncode == 2
    assert "user 12 of demo occurs nowhere" in ended.stderr
    assert service.count("ingest.suppression") == 0
    ended = command(service, tmp_path, "--tenant", "nowhere", "--user", "12", "--yes")
    assert ended.returncode == 2
    assert "--tenant: nowhere is not in" in ended.stderr


def test_an_erasure_beside_running_workers_leaves_nothing(lived: Deployment) -> None:
    """Notifications of the person come in and are applied, and applied again, all the while."""
    engine, stop = lived.service.engine, threading.Event()
    bodies = [
        body
        for name, body in bodies_with_person().items()
        if name.startswith(("session", "Session", "user", "User", "auth"))
    ]

    def receive() -> None:
        while not stop.is_set():
            for body in bodies:
                assert lived.service.post(body).status_code == 202
            with contextlib.suppress(PostponedError):  # those that deadlocked with a replay are applied a moment later
                lived.service.apply()
            replayed(engine)

    def is_applied() -> bool:
        with contextlib.suppress(PostponedError):
            lived.service.apply()
        return lived.service.count("ingest.batch WHERE applied_at IS NULL") == 0

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(receive) for _ in range(2)]
        try:
            eventually(lambda: lived.service.count("ingest.notification") > 150)
            erase(engine, limit=20)
        finally:
            stop.set()
        for one in running:
            one.result()
    eventually(is_applied)
    assert left(engine) == []
    assert compared(engine) == []


def test_only_the_owner_of_the_tables_may_erase_and_others_get_an_error(lived: Deployment, tmp_path: Path) -> None:
    with database_user(lived.service.engine, "forgetful_service", options=f"IN ROLE {roles.SERVICE}") as url:
        write_tenants(tmp_path)
        servers = {"DATABASE_URL": url, "REDIS_URL": str(lived.service.settings.redis_url)}
        asked = ("--tenant", "demo", "--user", str(USER))
        looked = run(tmp_path, "erase", *asked, "--dry-run", **servers)
        ended = run(tmp_path, "erase", *asked, "--yes", **servers)
    assert looked.returncode == 0, looked.stderr
    assert ended.returncode == 2
    assert "only the owner of the tables may" in ended.stderr
    assert lived.service.count("ingest.suppression") == 0


def test_the_service_keeps_to_the_list_with_its_own_rights(lived: Deployment) -> None:
    engine = lived.service.engine
    erase(engine)
    with database_user(engine, "service_with_list", options=f"IN ROLE {roles.SERVICE}") as url:
        own = create_database_engine(url, application_name="tests", pool_size=2)
        lived.service.post(bodies_with_person()["SessionUpdateNotification.finished"])
        assert apply_open_batches(own) == 1
        own.dispose()
    assert left(engine) == []
