"""The sentence that each error of a command is reported with."""

from __future__ import annotations

import sys
from typing import NoReturn

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from ampeco.errors import ApiError
from ampeco.tenants import TenantsError
from analytics.export.errors import ExportError
from migrations import MigrationError
from receiver.exits import fail, fail_unexpectedly
from receiver.processes.supervisor import CORRECTABLE, ChildStartError
from runtime.errors import cause
from runtime.settings import SettingsError
from storage.database import DatabaseEncodingError
from workers.maintenance.erase import EraseError
from workers.maintenance.rebuild import RebuildError

#: The errors whose message is the sentence for the operator.
_CORRECTABLE = (
    SettingsError,
    TenantsError,
    MigrationError,
    DatabaseEncodingError,
    RebuildError,
    EraseError,
    ExportError,
)


def report(error: Exception) -> NoReturn:
    """Print an error that an operator can correct as one sentence, with exit code 2; else where our code failed."""
    match error:
        case _ if isinstance(error, _CORRECTABLE):
            fail(str(error))
        case ChildStartError():
            sys.exit(CORRECTABLE)  # the process has said why
        case ApiError():
            fail(f"AMPECO: {error}")
        case SQLAlchemyError():
            fail(f"Postgres: {cause(error)} (DATABASE_URL)")
        case RedisError():
            fail(f"Redis: {cause(error)} (REDIS_URL)")
        case _:
            fail_unexpectedly(error)
