"""What the benchmark compares is what its table says."""

from __future__ import annotations

import os
from unittest import mock

import httpx

from ampeco.signature import sign
from bench.load import Fleet, began_at
from bench.signed import PATH, TOKEN
from bench.subjects import TABLE
from bench.surroundings import surroundings
from tests.support.directories import short_directory


def test_each_subject_does_its_own_thing_and_no_more() -> None:
    (body,) = Fleet(began_at()).bodies(1)
    with (
        mock.patch.dict(os.environ),  # the embedded servers name themselves there
        short_directory() as directory,  # another pytest that starts would lock Postgres out of `tmp_path`
        surroundings(directory, "2026-01-01T00:00:00Z") as made,
        made.connect() as connection,
    ):
        rows = f"SELECT (SELECT count(*) FROM ingest.notification), (SELECT count(*) FROM {TABLE})"
        stored = {}
        for name in ("baseline", "ours", "one-insert"):
            answer = httpx.post(
                f"http://127.0.0.1:{made.ports[name]}{PATH}",
                content=body,
                headers={"X-Signature": sign(body, TOKEN)},
                trust_env=False,
            )
            assert answer.status_code == 202, answer.text
            stored[name] = connection.execute(rows).fetchone()
            made.forget()
        assert stored == {"baseline": (0, 0), "ours": (1, 0), "one-insert": (0, 1)}
