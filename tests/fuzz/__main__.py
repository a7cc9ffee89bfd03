"""``make fuzz``: coverage-guided fuzzing of whatever reads what others send.

Each target runs in a process of its own for so many seconds, over a corpus seeded from
``ampeco/samples``. An input that raises what the target does not allow is written to
``fuzz-findings/``; it belongs into a test, by name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import atheris

with atheris.instrument_imports(include=["ampeco", "storage", "workers"]):
    import httpx
    import orjson
    from pydantic import ValidationError

    from ampeco.api.answer_headers import http_date
    from ampeco.api.listing import read_page
    from ampeco.api.transport import (
        MAX_RETRY_AFTER_SECONDS,
        MIN_RETRY_AFTER_SECONDS,
        Exchange,
        retry_after_seconds,
    )
    from ampeco.errors import Malformed
    from ampeco.privacy.people import identities, without
    from ampeco.privacy.redaction import redact
    from ampeco.resources.kinds import KINDS
    from ampeco.signature import SigningToken, sign, verify
    from storage.documents import to_json
    from storage.inbox.batches import LoggedBody
    from storage.inbox.commit import Entry
    from storage.state.fold import Fold
    from workers.apply.apply import parse_all

ROOT = Path(__file__).parents[2]
FINDINGS = ROOT / "fuzz-findings"
NIL = UUID(int=0)
NOW = datetime(2026, 3, 4, tzinfo=UTC)
TOKEN = SigningToken.from_secret("a token")


def signature(data: bytes) -> None:
    """Whatever a header holds, only the right signature verifies, and nothing raises."""
    claimed = data[:200].decode("latin-1")
    body = data[200:]
    assert verify(body, claimed, [TOKEN]) is None or claimed.strip().removeprefix("sha256=").lower() in (
        sign(body, "a token"),
        sign(body, "a token", "base64").lower(),
    )


def accept(data: bytes) -> None:
    """Whatever a body holds, it becomes a row of the log."""
    Entry("t", data, {}, "0", "hex")


def notification(data: bytes) -> None:
    """Whatever a body holds, it is settled: applied, ignored or failed."""
    settled = parse_all([LoggedBody(NIL, NIL, NOW, data)])
    assert settled.applied + len(settled.outcomes) == 1
    fold = Fold(settled.changes.facts)
    for kind in fold.kinds():
        to_json(fold.rows(kind))


def resource(data: bytes) -> None:
    """Whatever a resource's JSON holds, its model reads it or says what is wrong."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    if isinstance(document, dict):
        raw = redact(document)
        for kind in KINDS.values():
            try:
                kind.model.model_validate(raw)
            except ValidationError:
                continue


def person(data: bytes) -> None:
    """Whatever a body holds, everybody whom it names can be removed from it, and it names them no more."""
    named = identities(data)
    cleaned = without(data, named.__contains__)
    assert not identities(cleaned) & named
    assert without(cleaned, named.__contains__) == cleaned


def page(data: bytes) -> None:
    """Whatever a page of a listing holds, it is read or malformed, and its link leads nowhere else."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    for kind in (KINDS["session"], KINDS["evse"]):
        try:
            read = read_page(Exchange("GET", "/x", 200, document, NOW), kind.model, [("per_page", "100")])
        except Malformed:
            continue
        assert read.following is None or all(isinstance(part, str) for pair in read.following for part in pair)


def delay(data: bytes) -> None:
    """Whatever a refusal's headers hold, the delay is bounded, and the tenant's clock can be reckoned with."""
    asked, _, rest = data.partition(b"\n")
    reset, _, date = rest.partition(b"\n")
    given = {"Retry-After": asked, "X-RateLimit-Reset": reset, "Date": date}
    headers = [(name.encode(), value.replace(b"\r", b"").replace(b"\n", b"")) for name, value in given.items()]
    seconds = retry_after_seconds(httpx.Response(429, headers=headers), lambda: NOW)
    assert seconds is None or MIN_RETRY_AFTER_SECONDS <= seconds <= MAX_RETRY_AFTER_SECONDS
    http_date(date.decode("latin-1"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "signature": signature,
    "accept": accept,
    "notification": notification,
    "resource": resource,
    "page": page,
    "delay": delay,
    "person": person,
}


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    target = TARGETS[name]

    def one(data: bytes) -> None:
        try:
            target(data)
        except (RecursionError, ValueError) as error:
            # What orjson or redaction refuse is an outcome; anything else is a finding.
            if name != "resource":
                raise AssertionError(f"{type(error).__name__}: {error}") from error

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main(seconds: int) -> int:
    """Fuzz every target; returns how many of them found something."""
    FINDINGS.mkdir(exist_ok=True)
    found = 0
    for name in TARGETS:
        with tempfile.TemporaryDirectory() as corpus:
            for sample in (ROOT / "ampeco" / "samples").rglob("*.json"):
                (Path(corpus) / sample.name).write_bytes(sample.read_bytes())
            command = [sys.executable, "-m", "tests.fuzz", name, f"-max_total_time={seconds}", "-max_len=8192"]
            command += [f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1", corpus]
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
        figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", ended.stderr))
        tried, rate = figures.get("number_of_executed_units", "?"), figures.get("average_exec_per_sec", "?")
        outcome = "nothing found" if ended.returncode == 0 else "FOUND: see fuzz-findings/\n" + ended.stderr[-2_000:]
        sys.stdout.write(f"{name:14} {tried:>12} inputs {rate:>8}/s  {outcome}\n")
        sys.stdout.flush()
        found += ended.returncode != 0
    return found


if __name__ == "__main__":
    if sys.argv[1] in TARGETS:
        fuzz(sys.argv[1], sys.argv[2:])
    else:
        sys.exit(main(int(sys.argv[1])))
