"""What a failure to write is due to: the values that were to be written, or anything else.

Only the first may be recorded against a notification or an entity. Whatever else fails, the database, its
settings, its schema, a pooler or our own code, is put right elsewhere, and then the same values are written.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy.exc import DBAPIError

from storage import mirrors  # noqa: F401 - it fills the metadata
from storage.tables import metadata

#: SQLSTATE classes in which Postgres refuses values: data exceptions, violated constraints, exceeded limits.
_REFUSES_VALUES = ("22", "23", "54")

#: SQLSTATEs of these classes that no value of ours brings about.
_OF_THE_SURROUNDINGS = frozenset(
    {
        # Text that UTF8 cannot hold is replaced before it is written, so the encoding of the database or of the
        # session is another one.
        "22021",  # character_not_in_repertoire
        "22023",  # invalid_parameter_value: of a setting
        "22P03",  # invalid_binary_representation: a pooler mixed up prepared statements
        "54011",  # too_many_columns: of a table
        "54023",  # too_many_arguments: of a statement
    }
)

#: untranslatable_character: of the database's encoding where Postgres converts text, which it does in one file; else
#: of a value, such as a NUL in JSON.
_UNTRANSLATABLE = "22P05"
_CONVERTS_TEXT = "mbutils.c"

_NOT_NULL_VIOLATION = "23502"
_CONSTRAINT_CLASS = "23"

#: Files of Postgres's source in which "program_limit_exceeded" means that no more transactions can begin.
_OUT_OF_TRANSACTION_IDS = frozenset({"varsup.c", "multixact.c"})


def is_passing(error: Exception) -> bool:
    """Return whether a failure to write is not due to the values, so that writing them later may succeed.

    Parameters:
        error: what SQLAlchemy raised, or our own code while it prepared the statements.
    """
    if not isinstance(error, DBAPIError):
        return True
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    if not sqlstate.startswith(_REFUSES_VALUES) or sqlstate in _OF_THE_SURROUNDINGS:
        return True
    diagnosis = error.orig.diag  # type: ignore[union-attr] # psycopg's, as there is a SQLSTATE
    if sqlstate == _UNTRANSLATABLE:
        return bool(diagnosis.source_file == _CONVERTS_TEXT)
    if sqlstate == _NOT_NULL_VIOLATION:
        return (diagnosis.table_name, diagnosis.column_name) not in _columns()
    if sqlstate.startswith(_CONSTRAINT_CLASS):
        # Without a name, a row has no partition. A name that is not ours is the operator's, or a later release's.
        return diagnosis.constraint_name not in _constraints()
    return diagnosis.source_file in _OUT_OF_TRANSACTION_IDS


@cache
def _columns() -> frozenset[tuple[str | None, str | None]]:
    """Return the columns that this release knows, each with its table."""
    return frozenset((table.name, column.name) for table in metadata.tables.values() for column in table.columns)


@cache
def _constraints() -> frozenset[str | None]:
    """Return the names of the constraints and unique indexes that this release knows."""
    tables = metadata.tables.values()
    constraints = {str(constraint.name) for table in tables for constraint in table.constraints}
    return frozenset(constraints | {str(index.name) for table in tables for index in table.indexes})
