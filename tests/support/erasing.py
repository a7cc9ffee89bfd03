"""A person whose data is in everything that a tenant tells and shows, and a look for what is left of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import psycopg
from sqlalchemy import Engine

from ampeco.kinds import KINDS
from storage.person import Person
from tests.support.ampeco import FakeAmpeco
from tests.support.facts import SAMPLES
from tests.support.service import url_of
from workers.erase import begin, finish, go_through_log, look_up

USER = 770_315_902
TAG = "04F7A9C31188"
EMAIL = "anna.sample@example.org"
NAME = "Annamaria"
CARD = "pm-4411-8872-9910"
MARKS = (str(USER), TAG, EMAIL, NAME, CARD)

#: What AMPECO may show of a person beside ids, under the keys that hold it.
_DATA = {
    "userId": USER,
    "ownerUserId": USER,
    "idTag": TAG,
    "idTagUid": TAG,
    "rfidTagUid": TAG.lower(),
    "idTagLabel": f"Card of {NAME}",
    "email": EMAIL,
    "userEmail": EMAIL.upper(),
    "firstName": NAME,
    "paymentMethodId": CARD,
}


def told() -> dict[str, dict[str, Any]]:
    """Every sample notification, with the person in the place of whoever is in it."""
    found = {}
    for path in sorted(SAMPLES.glob("*.json")):
        if not path.name.startswith("_"):
            found[path.stem] = in_their_place(json.loads(path.read_text()))
    found["chargePoint.dataTransferReceived"]["data"] = f'{{"card":"{TAG}","mail":"{EMAIL}"}}'
    found["from.the.future"] = {"notification": "fromTheFuture", "deep": [{"driver": {"userId": str(USER)}}]}
    return found


def shown(tenant: FakeAmpeco, waiting: list[tuple[str, int]]) -> None:
    """Let a tenant show what is wanted of it, with the person in all of it."""
    for path, resource in tenant.resources.items():
        tenant.resources[path] = in_their_place(resource)
    tenant.resources["charge-points/v2.0/418"]["user"] = {"id": USER}
    for entity, entity_id in waiting:
        clock = {"lastUpdatedAt": "2026-03-04T09:00:00+00:00", "createdAt": "2026-03-04T07:00:00+00:00"}
        data = {key: value for key, value in _DATA.items() if key != "ownerUserId"}
        if entity == "user":
            data = {key: data[key] for key in ("email", "firstName")} | {"vehicleNo": f"{NAME}-1"}
        path = KINDS[entity].path_of(entity_id)
        tenant.resources.setdefault(path, {"id": entity_id, **clock, **data})


def in_their_place(value: Any, key: str = "") -> Any:
    """A document with the person in the place of whoever is in it."""
    if isinstance(value, list):
        return [in_their_place(one, key) for one in value]
    if not isinstance(value, dict):
        return _DATA.get(key, value)
    found = {name: in_their_place(held, name) for name, held in value.items()}
    if key == "user":
        found["id"] = str(USER)
    return found


def erase(engine: Engine, tenant: str = "demo", user_id: int = USER, *, limit: int = 7) -> dict[str, int]:
    """Forget, as the command does."""
    person = Person(user_id)
    look_up(engine, tenant, person)
    under_way = begin(engine, tenant, person)
    for _ in go_through_log(engine, tenant, person, under_way, limit=limit):
        pass
    return finish(engine, tenant, person, under_way)


def left(engine: Engine) -> list[str]:
    """The places where something of the person is left: every row of every table, as COPY writes it."""
    found = []
    with psycopg.connect(url_of(engine)) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables ORDER BY 1"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copied:  # type: ignore[arg-type]
                content = b"".join(bytes(one) for one in copied).decode()
            for mark in MARKS:
                if any(spelling.lower() in content.lower() for spelling in spelled(mark)):
                    found.append(f"{mark} is in {table}")
    return found


def spelled(mark: str) -> Iterator[str]:
    """As it is, and as bytes are shown: in hex by COPY, in base64 by many."""
    for case in {mark, mark.upper(), mark.lower()}:
        yield case
        yield case.encode().hex()
        yield base64.b64encode(case.encode()).decode().rstrip("=")[:-1]
