"""A person whose data is in all notifications and resources of a tenant, and a search for what is left of it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
from sqlalchemy import Engine

from ampeco.resources.kinds import KINDS
from storage.erasure.person import Person
from tests.support.ampeco import FakeAmpeco
from tests.support.facts import SAMPLES
from tests.support.service import url_of
from workers.maintenance.erase import begin, finish, go_through_log, look_up

USER = 770_315_902
TAG = "04F7A9C31188"
EMAIL = "anna.sample@example.org"
NAME = "Annamaria"
CARD = "pm-4411-8872-9910"
MARKS = (str(USER), TAG, EMAIL, NAME, CARD)

#: The person's data under the keys that AMPECO has for it.
_DATA = {
    "userId": USER,
    "ownerUserId": USER,
    "idTag": TAG,
    "idTagUid": TAG,
    "rfidTagUid": TAG.lower(),
    "idTagLabel": f"Card of {NAME}",
    "email": EMAIL,
    "userEmail": EMAIL.title(),
    "firstName": NAME,
    "paymentMethodId": CARD,
}


def bodies_with_person() -> dict[str, dict[str, Any]]:
    """Return every sample notification, with the person in place of the people in it."""
    bodies = {}
    for path in sorted(SAMPLES.glob("*.json")):
        if not path.name.startswith("_"):
            bodies[path.stem] = in_their_place(json.loads(path.read_text()))
    bodies["chargePoint.dataTransferReceived"]["data"] = f'{{"card":"{TAG}","mail":"{EMAIL}"}}'
    bodies["from.the.future"] = {"notification": "fromTheFuture", "deep": [{"driver": {"userId": str(USER)}}]}
    return bodies


def shown(tenant: FakeAmpeco, waiting: list[tuple[str, int]]) -> None:
    """Make a tenant show the entities whose reads are requested, with the person in all of them."""
    for path, resource in tenant.resources.items():
        tenant.resources[path] = in_their_place(resource)
    tenant.resources["charge-points/v2.0/418"]["user"] = {"id": USER}
    for kind, entity_id in waiting:
        times = {"lastUpdatedAt": "2026-03-04T09:00:00+00:00", "createdAt": "2026-03-04T07:00:00+00:00"}
        data = {key: value for key, value in _DATA.items() if key != "ownerUserId"}
        if kind == "user":
            data = {key: data[key] for key in ("email", "firstName")} | {"vehicleNo": f"{NAME}-1"}
        path = KINDS[kind].path_of(entity_id)
        tenant.resources.setdefault(path, {"id": entity_id, **times, **data})


def in_their_place(value: Any, key: str = "") -> Any:
    """Return a document with the person in place of the people in it."""
    if isinstance(value, list):
        return [in_their_place(item, key) for item in value]
    if not isinstance(value, dict):
        return _DATA.get(key, value)
    replaced = {name: in_their_place(member, name) for name, member in value.items()}
    if key == "user":
        replaced["id"] = str(USER)
    return replaced


def erase(engine: Engine, tenant: str = "demo", user_id: int = USER, *, limit: int = 7) -> dict[str, int]:
    """Erase a person, as the command does."""
    person = Person(user_id)
    look_up(engine, tenant, person)
    erasure = begin(engine, tenant, person)
    for _ in go_through_log(engine, tenant, person, erasure, limit=limit):
        pass
    return finish(engine, tenant, person, erasure)


#: Bytes, as COPY writes them.
_HEX = re.compile(r"\\\\x((?:[0-9a-f]{2})+)")


def left(engine: Engine) -> list[str]:
    """Return what is left of the person, with its table: search every row of every table, in any case."""
    remains = []
    with psycopg.connect(url_of(engine)) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables ORDER BY 1"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copied:
                content = b"".join(bytes(part) for part in copied).decode()
            content += "".join(bytes.fromhex(found).decode(errors="replace") for found in _HEX.findall(content))
            for mark in MARKS:
                if any(spelling.lower() in content.lower() for spelling in spelled(mark)):
                    remains.append(f"{mark} is in {table}")
    return remains


def spelled(mark: str) -> Iterator[str]:
    """Yield a text itself, and its bytes in base64."""
    yield mark
    for case in {mark, mark.upper(), mark.lower()}:
        yield base64.b64encode(case.encode()).decode().rstrip("=")[:-1]
