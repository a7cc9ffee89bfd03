"""Decide whether a failed write is due to the values that it writes, or to something else.

Only a failure due to values may be recorded against a notification or an entity. A failure of the database, its
settings, its schema, a pooler or our own code is fixed elsewhere, and then the same values can be written.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy.exc import DBAPIError

from storage.schema.tables import metadata

#: SQLSTATE classes of refused values: data exceptions, violated constraints, exceeded limits.
_REFUSES_VALUES = ("22", "23", "54")

#: SQLSTATEs of these classes that none of our values can cause.
_OF_THE_ENVIRONMENT = frozenset(
    {
        # We replace text that UTF8 cannot represent before we write it. So the encoding of the database or of the
        # session is not UTF8.
        "22021",  # character_not_in_repertoire
        "22023",  # invalid_parameter_value: of a setting
        "22P03",  # invalid_binary_representation: a pooler mixed up prepared statements
        "54011",  # too_many_columns: of a table
        "54023",  # too_many_arguments: of a statement
    }
)

#: untranslatable_character: due to the encoding of the database if it comes from the one file of Postgres that
#: converts text; otherwise due to a value, such as a NUL in JSON.
_UNTRANSLATABLE = "22P05"
_CONVERTS_TEXT = "mbutils.c"

_NOT_NULL_VIOLATION = "23502"
_CONSTRAINT_CLASS = "23"

#: Files of Postgres's source in which ``program_limit_exceeded`` means that no new transaction can begin.
_OUT_OF_TRANSACTION_IDS = frozenset({"varsup.c", "multixact.c"})


def is_unrelated_to_values(error: Exception) -> bool:
    """Return whether a failed write is not due to its values, so that writing them later may succeed.

    Parameters:
        error: an error of SQLAlchemy, or of our own code that prepares the statements.
    """
    if not isinstance(error, DBAPIError):
        return True
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    if not sqlstate.startswith(_REFUSES_VALUES) or sqlstate in _OF_THE_ENVIRONMENT:
        return True
    diagnosis = error.orig.diag  # type: ignore[union-attr] # an error with a SQLSTATE is psycopg's
    if sqlstate == _UNTRANSLATABLE:
        return bool(diagnosis.source_file == _CONVERTS_TEXT)
    if sqlstate == _NOT_NULL_VIOLATION:
        return (diagnosis.table_name, diagnosis.column_name) not in _columns()
    if sqlstate.startswith(_CONSTRAINT_CLASS):
        # The error names no constraint if a row has no partition. A name that we do not know belongs to the operator
        # or to a later release.
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
