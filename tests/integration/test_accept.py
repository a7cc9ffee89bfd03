"""Who gets in, what is kept, and what is answered when something is amiss."""

from __future__ import annotations

import base64
import hmac
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from ampeco.signature import COVERAGES, Coverage, SigningToken, sign
from receiver.accept.acceptor import Acceptor
from storage.schema.tables import metadata
from tests.support.facts import sample
from tests.support.service import OTHER_TOKEN, TOKEN, Service, eventually, serving

BODY = json.dumps(sample("NetworkStatusNotification.available")).encode()


def test_a_notification_is_committed_before_it_is_acknowledged(service: Service) -> None:
    answer = service.post(BODY)
    assert answer.status_code == 202
    (row,) = service.query("SELECT notification_id, body FROM ingest.notification")
    assert answer.json() == {"id": str(row["notification_id"])}
    assert bytes(row["body"]) == BODY


@pytest.mark.parametrize(
    ("tenant", "signature"),
    [
        ("unknown", sign(BODY, TOKEN)),
        ("demo", None),
        ("demo", ""),
        ("demo", "0" * 64),
        ("demo", "not a signature"),
        ("demo", "é" * 64),
        ("demo", sign(BODY, "another-tenants-token")),
        ("demo", sign(BODY + b" ", TOKEN)),
        ("other", sign(BODY, TOKEN)),
    ],
)
def test_whatever_does_not_verify_is_refused_alike_and_leaves_nothing(
    service: Service, tenant: str, signature: str | None
) -> None:
    headers = {} if signature is None else {b"X-Signature": signature.encode("latin-1")}
    answer = service.client.post(f"/notifications/{tenant}", content=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "unauthorized", "message": "The signature does not verify."}
    assert service.count("ingest.notification") == 0
    assert service.count("ingest.batch") == 0


@pytest.mark.parametrize(
    ("signature", "encoding"),
    [
        (hmac.digest(TOKEN.encode(), BODY, "sha256").hex(), "hex"),
        (hmac.digest(TOKEN.encode(), BODY, "sha256").hex().upper(), "hex"),
        ("sha256=" + hmac.digest(TOKEN.encode(), BODY, "sha256").hex(), "hex"),
        (base64.b64encode(hmac.digest(TOKEN.encode(), BODY, "sha256")).decode(), "base64"),
        ("sha256=" + base64.b64encode(hmac.digest(TOKEN.encode(), BODY, "sha256")).decode(), "base64"),
    ],
)
def test_the_form_of_signature_that_matched_is_recorded(service: Service, signature: str, encoding: str) -> None:
    answer = service.client.post("/notifications/demo", content=BODY, headers={"X-Signature": signature})
    assert answer.status_code == 202
    (row,) = service.query("SELECT token_id, signature_encoding FROM ingest.notification")
    assert row == {"token_id": SigningToken.from_secret(TOKEN).token_id, "signature_encoding": encoding}


@pytest.mark.parametrize("coverage", COVERAGES)
def test_a_signature_over_the_timestamp_verifies_and_its_form_is_recorded(service: Service, coverage: Coverage) -> None:
    sent_at = "2026-03-04T07:00:00.000000Z"
    signature = sign(BODY, TOKEN, timestamp=sent_at, coverage=coverage)
    headers = {"X-Signature": signature, "X-Timestamp": sent_at}
    assert service.client.post("/notifications/demo", content=BODY, headers=headers).status_code == 202
    (row,) = service.query("SELECT signature_encoding FROM ingest.notification")
    assert row["signature_encoding"] == ("hex" if coverage == "body" else f"hex {coverage}")
    # And it does not verify with another timestamp
    if coverage != "body":
        moved = headers | {"X-Timestamp": "2026-03-04T08:00:00.000000Z"}
        assert service.client.post("/notifications/demo", content=BODY, headers=moved).status_code == 401


def test_a_token_rotates_without_a_gap(database_url: str, redis_url: str, tmp_path: Path) -> None:
    # Given a tenant with a new token and its former one
    with serving(database_url, redis_url, tmp_path, signing_tokens=[OTHER_TOKEN]) as service:
        # When notifications signed by either come
        assert service.post(BODY, token=TOKEN).status_code == 202
        assert service.post(BODY, token=OTHER_TOKEN).status_code == 202
        # Then both are kept, and it is known which token signed which
        found = service.query("SELECT token_id FROM ingest.notification ORDER BY notification_id")
        expected = [SigningToken.from_secret(token).token_id for token in (TOKEN, OTHER_TOKEN)]
        assert [row["token_id"] for row in found] == expected


def test_a_pinned_encoding_refuses_the_other(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with serving(database_url, redis_url, tmp_path, signature_encoding="base64") as service:
        assert service.post(BODY).status_code == 401
        signature = {"X-Signature": sign(BODY, TOKEN, "base64")}
        assert service.client.post("/notifications/demo", content=BODY, headers=signature).status_code == 202


STRANGE_BODIES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"hello", "failed"),
    "empty": (b"", "failed"),
    "not an object": (b"[1,2]", "failed"),
    "not UTF-8": (b'{"notification":"\xff"}', "failed"),
    "NaN": (b'{"notification":"NetworkStatusNotification","chargePointId":NaN}', "failed"),
    "infinite": (b'{"notification":"NetworkStatusNotification","chargePointId":1e400}', "failed"),
    "no name": (b"{}", "ignored"),
    "unknown name": (b'{"notification":"firmware.changed","chargePointId":1}', "ignored"),
    "name of another type": (b'{"notification":5}', "ignored"),
    "name with NUL": (b'{"notification":"a\\u0000b"}', "ignored"),
    "id beyond bigint": (
        b'{"notification":"chargePoint.changed","chargePointId":99999999999999999999,"lastUpdatedAt":"2026-03-04T07:20:00Z"}',
        "failed",
    ),
    "id as text": (
        b'{"notification":"chargePoint.changed","chargePointId":"418","action":"updated","lastUpdatedAt":"2026-03-04T07:20:00Z"}',
        "applied",
    ),
    "id missing": (b'{"notification":"chargePoint.changed","lastUpdatedAt":"2026-03-04T07:20:00Z"}', "failed"),
    "time in year 0": (
        b'{"notification":"NetworkStatusNotification","chargePointId":1,"networkStatus":"available","timestamp":"0000-01-01T00:00:00Z"}',
        "failed",
    ),
    "time in year 9999": (
        b'{"notification":"NetworkStatusNotification","chargePointId":2,"networkStatus":"available","timestamp":"9999-12-31T23:59:59Z"}',
        "applied",
    ),
    "NUL in text": (
        b'{"notification":"HardwareStatusNotification","chargePointId":3,"evseId":4,"timestamp":"2026-03-04T07:03:05Z","hardwareStatus":"avail\\u0000able"}',
        "applied",
    ),
    "lone surrogate": (
        b'{"notification":"HardwareStatusNotification","chargePointId":3,"evseId":5,"timestamp":"2026-03-04T07:03:05Z","hardwareStatus":"\\ud800"}',
        "applied",
    ),
    "deep nesting": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "failed"),
    "unknown fields": (
        b'{"notification":"evse.changed","evseId":902,"action":"renamed","lastUpdatedAt":"2026-03-04 07:20:00","news":{"a":[1]}}',
        "applied",
    ),
}


def test_whatever_a_signed_body_holds_is_accepted_settled_and_harms_no_neighbour(service: Service) -> None:
    # Given strange bodies among good ones
    expected: dict[str, tuple[str, str]] = {}
    for what, (body, state) in STRANGE_BODIES.items():
        answer = service.post(body)
        assert answer.status_code == 202, what
        expected[answer.json()["id"]] = (what, state)
        assert service.post(BODY).status_code == 202
    # When they are applied
    service.apply()
    # Then each is settled as it should be, with its error where it failed, and every neighbour is applied
    states = service.states()
    assert {what: states[one][0] for one, (what, _) in expected.items()} == dict(expected.values())
    assert all(state == ("applied", None) for one, state in states.items() if one not in expected)
    failed = service.query("SELECT error, traceback FROM ingest.outcome WHERE state = 'failed'")
    assert failed
    assert all(row["error"] and row["traceback"] for row in failed)


def test_an_error_that_is_kept_holds_nothing_of_the_body(service: Service) -> None:
    service.post({"notification": "chargePoint.changed", "chargePointId": "very-private", "lastUpdatedAt": "soon"})
    service.apply()
    (row,) = service.query("SELECT reason, error FROM ingest.outcome")
    assert row["reason"] == "not as documented"
    assert "chargePointId" in row["error"]
    assert "very-private" not in row["error"]


def test_more_than_a_mebibyte_is_refused(service: Service) -> None:
    limit = service.settings.body_limit_bytes
    assert service.post(b" " * (limit + 1)).status_code == 413
    assert service.post(b" " * limit).status_code == 202
    assert service.count("ingest.notification") == 1


def raw_request(service: Service, head: str, body: bytes) -> bytes:
    """Send bytes as they are, and return what comes back until the server closes or goes quiet."""
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80), timeout=5) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        connection.settimeout(5)
        received = b""
        try:
            while part := connection.recv(65_536):
                received += part
                if b"\r\n\r\n" in received and b"}" in received:
                    break
        except TimeoutError:
            pass
        return received


def test_a_body_of_no_declared_length_is_cut_off_at_the_limit(service: Service) -> None:
    # Given a body in chunks that does not end
    chunk = b"%x\r\n" % 65_536 + b" " * 65_536 + b"\r\n"
    head = "POST /notifications/demo HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n"
    # When more than the limit has come
    answer = raw_request(service, head, chunk * 17)
    # Then it is refused without waiting for the end
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_declared_length_over_the_limit_is_refused_before_the_body(service: Service) -> None:
    head = "POST /notifications/demo HTTP/1.1\nHost: x\nContent-Length: 999999999\n"
    assert raw_request(service, head, b"").startswith(b"HTTP/1.1 413")


def test_a_method_or_path_that_is_not_ours_gets_a_clear_answer(service: Service) -> None:
    assert service.client.get("/notifications/demo").status_code == 405
    assert service.client.get("/notifications/demo").json()["error"] == "method_not_allowed"
    for path in ("/elsewhere", "/notifications/", "/notifications/demo/more", "/x/notifications/demo"):
        answer = service.client.post(path, content=BODY)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), path


def test_an_error_of_our_own_making_is_a_503_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of the receiver")

    monkeypatch.setattr(Acceptor, "accept", fail)
    answer = service.post(BODY)
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_failure_of_ours_asks_the_sender_to_repeat_and_passes(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with serving(database_url, redis_url, tmp_path, commit_timeout=timedelta(seconds=0.5)) as service:
        # Given a Postgres that cannot commit
        with service.engine.begin() as connection:
            connection.execute(text("LOCK TABLE ingest.notification IN ACCESS EXCLUSIVE MODE"))
            # When a notification comes
            answer = service.post(BODY)
        # Then it is not acknowledged, and its sender learns when to repeat it
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["error"] == "unavailable"
        # And once Postgres can commit again, so do we
        eventually(lambda: service.post(BODY).status_code == 202)


def test_a_full_waiting_room_is_an_honest_503(database_url: str, redis_url: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"waiting_room": 3, "commit_timeout": timedelta(seconds=2)}
    with serving(database_url, redis_url, tmp_path, **changes) as service, ThreadPoolExecutor(8) as pool:
        with service.engine.begin() as connection:
            connection.execute(text("LOCK TABLE ingest.notification IN ACCESS EXCLUSIVE MODE"))
            answers = list(pool.map(lambda _: service.post(BODY), range(8)))
        codes = sorted(answer.json()["error"] for answer in answers)
        assert codes.count("overloaded") == 5
        assert codes.count("unavailable") == 3
        assert all(answer.status_code == 503 and "Retry-After" in answer.headers for answer in answers)


def test_those_who_wait_together_are_committed_together(service: Service) -> None:
    # Given a commit that takes its time
    with ThreadPoolExecutor(32) as pool:
        with service.engine.begin() as connection:
            connection.execute(text("LOCK TABLE ingest.notification IN ACCESS EXCLUSIVE MODE"))
            # When many notifications come in the meantime
            answers = [pool.submit(service.post, BODY) for _ in range(32)]
            eventually(lambda: "ampeco_notifications_waiting 32.0" in service.admin.get("/metrics").text)
        assert {answer.result().status_code for answer in answers} == {202}
    # Then the one that came first had its own batch at most, and the others shared
    assert service.count("ingest.notification") == 32
    assert service.count("ingest.batch") <= 3


def test_a_lone_notification_is_its_own_batch(service: Service) -> None:
    for _ in range(3):
        service.post(BODY)
    assert service.count("ingest.batch") == 3


def test_a_sender_that_leaves_early_loses_nothing_that_it_sent(service: Service) -> None:
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        head = f"POST /notifications/demo HTTP/1.1\r\nHost: x\r\nX-Signature: {sign(BODY, TOKEN)}\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    eventually(lambda: service.count("ingest.notification") == 1)


def test_a_missing_partition_is_made_on_the_way(service: Service) -> None:
    # Given a log without a partition for today
    partitions = service.query(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'ingest.notification'::regclass"
    )
    with service.engine.begin() as connection:
        for partition in partitions:
            connection.execute(text(f"DROP TABLE {partition['name']}"))
    # When a notification comes, then it is kept all the same
    assert service.post(BODY).status_code == 202
    assert service.count("ingest.notification") == 1


def test_a_dead_redis_costs_no_notification(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, "redis://127.0.0.1:1/0", tmp_path) as service:
        assert service.post(BODY).status_code == 202
        assert service.client.get("/readyz").status_code == 200
        service.apply()
        assert list(service.states().values()) == [("applied", None)]


def test_the_log_is_as_long_as_the_notifications_and_no_repetition_is_lost(service: Service) -> None:
    for _ in range(3):
        service.post(BODY)
    service.apply()
    assert service.count("ingest.notification") == 3
    assert service.count("charging.charge_point") == 1
    assert service.count("charging.charge_point_network_observation") == 1


def test_readiness_names_what_is_amiss(empty_database_url: str, redis_url: str, tmp_path: Path) -> None:
    with serving(empty_database_url, redis_url, tmp_path) as service:
        assert service.client.get("/healthz").json() == {"status": "alive"}
        answer = service.admin.get("/readyz")
        assert answer.status_code == 503
        checks = answer.json()["checks"]
        assert checks["redis"]["ok"] is True
        assert checks["postgres"]["ok"] is True
        assert checks["log"]["ok"] is False
        assert 'relation "ingest.batch" does not exist' in checks["log"]["detail"]
        assert "ampeco-receiver migrate" in checks["log"]["advice"]
        assert service.client.get("/readyz").status_code == 503


def test_readiness_and_metrics_of_a_healthy_receiver(service: Service) -> None:
    service.post(BODY)
    service.client.post("/notifications/demo", content=BODY)
    assert service.admin.get("/readyz").json()["status"] == "ready"
    figures = service.admin.get("/metrics").text
    assert 'ampeco_notifications_accepted_total{tenant="demo"}' in figures
    assert 'ampeco_notifications_refused_total{reason="unauthorized"}' in figures
    assert 'ampeco_notifications_pending{tenant="demo"} 1.0' in figures
    assert "ampeco_postgres_up 1.0" in figures


def test_no_token_and_no_signature_is_kept_or_shown(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    service.post(sample("ChargePointChangedNotification"))
    service.post(b"nonsense")
    service.apply()
    kept = ""
    for table in ("notification", "batch", "outcome", "refresh_request"):
        kept += repr(service.query(f"SELECT * FROM ingest.{table}"))
    kept += service.admin.get("/metrics").text + service.admin.get("/readyz").text + "".join(capfd.readouterr())
    kept += repr(service.settings) + repr(service.settings.tenants)
    assert TOKEN not in kept
    assert sign(b"nonsense", TOKEN) not in kept


def test_captured_requests_that_are_sent_again_move_no_state_back(service: Service) -> None:
    # Given a charge point and a session that have moved on
    older = [
        sample("ChargePointChangedNotification"),
        sample("NetworkStatusNotification.offline") | {"timestamp": "2026-03-04T07:00:00+00:00"},
        sample("HardwareStatusNotification.evse"),
        sample("HardwareStatusNotification.chargepoint"),
        sample("SessionStartStopNotification.start"),
        sample("SessionMeterValuesNotification"),
        sample("SessionUpdateNotification.active"),
    ]
    newer = [
        sample("NetworkStatusNotification.available") | {"timestamp": "2026-03-05T07:00:00+00:00"},
        sample("HardwareStatusNotification.evse") | {"timestamp": "2026-03-05T07:00:00Z", "hardwareStatus": "charging"},
        sample("HardwareStatusNotification.chargepoint") | {"timestamp": "2026-03-05T07:00:00Z", "hardwareStatus": "x"},
        sample("SessionUpdateNotification.finished"),
        sample("SessionStartStopNotification.stop"),
    ]
    for body in older + newer:
        assert service.post(body).status_code == 202
    service.apply()
    tables = sorted(metadata.tables[name].fullname for name in metadata.tables if name.startswith("charging."))
    stood = {table: sorted(map(repr, service.query(f"SELECT * FROM {table}"))) for table in tables}
    # When an attacker who captured the older notifications sends them again, byte for byte and with valid signatures
    for body in older:
        assert service.post(body).status_code == 202
    service.apply()
    # Then all is in the log, and every row of the state and its history is what it was
    assert service.count("ingest.notification") == 2 * len(older) + len(newer)
    assert stood == {table: sorted(map(repr, service.query(f"SELECT * FROM {table}"))) for table in tables}
    assert len(stood["charging.session"]) == len(stood["charging.evse"]) == 1
