"""Find the forms of SQL that a Postgres distributed by tenant refuses.

A sharded Postgres sends a statement to the one shard that holds its tenant, and evaluates a function that is not
immutable only where its value cannot differ between the copies of a row. The functions here parse a statement as
Postgres does and name each form that would be refused, or that would reach more than one shard.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import JoinType
from sqlalchemy import Engine, create_mock_engine, event

from storage.schema.tables import metadata

#: Functions whose value depends on more than their arguments and that statements of ours call.
_MUTABLE = frozenset(
    {"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "random", "gen_random_uuid", "timeofday"}
)

#: The tables that are distributed: every one whose rows belong to a tenant.
_TENANT_TABLES = frozenset(table.name for table in metadata.tables.values() if "tenant" in table.columns)

#: What is checked: writes, locks and full joins. A statement without these words is not parsed.
_HAS_CHECKED_FORM = re.compile(r"\b(?:insert|update|delete|merge|share|full)\b", re.IGNORECASE)

_Node = Any


@cache
def refused_forms(statement: str) -> tuple[str, ...]:
    """Return what a Postgres distributed by tenant would refuse in a statement; empty if it accepts all.

    Parameters:
        statement: SQL, with parameters in the style of psycopg: ``%(name)s``.
    """
    if not _HAS_CHECKED_FORM.search(statement):
        return ()
    found: list[str] = []
    for parsed in parse_sql(_numbered(statement)):
        for node in _nodes(parsed.stmt):
            found += _mutable_in_insert(node) + _mutable_in_update(node) + _full_join_of_function(node)
        found += _without_tenant(parsed.stmt)
    return tuple(dict.fromkeys(found))


def _numbered(statement: str) -> str:
    """Replace the parameters of psycopg's style by those of Postgres."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    return re.sub(r"%\((\w+)\)[sbt]", number, statement).replace("%%", "%")


def _children(node: _Node) -> Iterator[_Node]:
    if isinstance(node, tuple):
        yield from node
    elif isinstance(node, ast.Node):
        for name in node:
            yield getattr(node, name)


def _nodes(node: _Node) -> list[ast.Node]:
    """Return a node and all nodes below it."""
    found: list[ast.Node] = []
    rest = [node]
    while rest:
        match rest.pop():
            case tuple() as nodes:
                rest.extend(nodes)
            case ast.Node() as each:
                found.append(each)
                rest.extend(getattr(each, name) for name in each)
    return found


def _is_mutable(node: _Node) -> bool:
    """Return whether a mutable function is called anywhere below the node."""
    return any(
        isinstance(each, ast.SQLValueFunction)
        or (isinstance(each, ast.FuncCall) and each.funcname[-1].sval in _MUTABLE)
        for each in _nodes(node)
    )


def _moves_instant_by_column(node: _Node) -> bool:
    """Return whether a duration is added to an instant, or subtracted, and one of them is of a column.

    The sum depends on the time zone of the server, as a day may have 23 hours. Columns are instants by their names.
    """
    if not isinstance(node, ast.A_Expr) or node.name[-1].sval not in ("+", "-"):
        return False
    sides = (node.lexpr, node.rexpr)
    instants = [_is_instant(side) for side in sides]
    has_column = any(isinstance(each, ast.ColumnRef) for side in sides for each in _nodes(side))
    return has_column and any(instants) and not all(instants)


def _is_instant(node: _Node) -> bool:
    if isinstance(node, ast.ColumnRef):
        return str(getattr(node.fields[-1], "sval", "")).endswith("_at")
    return isinstance(node, ast.FuncCall) and node.funcname[-1].sval in _MUTABLE


def _mutable_in_insert(node: ast.Node) -> list[str]:
    found = []
    if isinstance(node, ast.InsertStmt) and node.onConflictClause is not None:
        if _is_mutable(node.onConflictClause.targetList):
            found.append("a mutable function in DO UPDATE SET")
        if _is_mutable(node.onConflictClause.whereClause):
            found.append("a mutable function in the WHERE of DO UPDATE")
        if any(map(_moves_instant_by_column, _nodes(node.onConflictClause))):
            found.append("an instant moved by a column")
    if isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt) and _is_mutable(_returned(node)):
        found.append("a mutable function in RETURNING")
    return found


def _returned(node: _Node) -> _Node:
    clause = getattr(node, "returningClause", None)
    return getattr(node, "returningList", None) if clause is None else clause


def _mutable_in_update(node: ast.Node) -> list[str]:
    if not isinstance(node, ast.UpdateStmt | ast.DeleteStmt):
        return []
    parts = (getattr(node, "targetList", None), node.whereClause)
    moved = any(_moves_instant_by_column(each) for part in parts for each in _nodes(part))
    return ["an instant moved by a column"] * moved + [
        f"a mutable function in {'CASE' if isinstance(each, ast.CaseExpr) else 'COALESCE'} of an UPDATE or DELETE"
        for part in parts
        for each in _nodes(part)
        if isinstance(each, ast.CaseExpr | ast.CoalesceExpr) and _is_mutable(each)
    ]


def _full_join_of_function(node: ast.Node) -> list[str]:
    if not isinstance(node, ast.JoinExpr) or node.jointype != JoinType.JOIN_FULL:
        return []
    has_function = any(isinstance(each, ast.RangeFunction) for side in (node.larg, node.rarg) for each in _nodes(side))
    return ["a FULL JOIN with a function"] if has_function else []


@dataclass(eq=False)
class _Query:
    """One level of a statement: its tables by alias, and what their tenants are equal to."""

    outer: _Query | None
    tables: dict[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    equal: list[tuple[tuple[_Query, str], tuple[_Query, str]]] = field(default_factory=list)

    def find(self, alias: str | None) -> tuple[_Query, str] | None:
        """Return the table that a column ``tenant`` belongs to, with its level."""
        if alias is None and self.tables:
            return self, next(iter(self.tables))
        if alias is not None and alias in self.tables:
            return self, alias
        return None if self.outer is None else self.outer.find(alias)


def _without_tenant(statement: ast.Node) -> list[str]:
    """Return the tables of a statement that writes or locks for which it does not name one tenant."""
    if not any(
        isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt | ast.LockingClause)
        for node in _nodes(statement)
    ):
        return []
    queries: list[_Query] = []
    found = _visit(statement, None, queries)
    named = {(query, alias) for query in queries for alias in query.named}
    pairs = [pair for query in queries for pair in query.equal]
    while further := {b for a, b in pairs if a in named} | {a for a, b in pairs if b in named}:
        if further <= named:
            break
        named |= further
    found += [
        f"no tenant for {table}"
        for query in queries
        for alias, table in query.tables.items()
        if (query, alias) not in named
    ]
    return found


_LEVELS = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)


def _visit(node: _Node, outer: _Query | None, queries: list[_Query]) -> list[str]:
    """Collect the levels of a statement, and return the INSERTs whose tenant is not a parameter."""
    if not isinstance(node, _LEVELS):
        return [each for child in _children(node) for each in _visit(child, outer, queries)]
    query = _Query(outer)
    queries.append(query)
    found: list[str] = []
    if isinstance(node, ast.InsertStmt):
        if node.relation.relname in _TENANT_TABLES and not _inserts_one_tenant(node):
            found.append(f"no tenant for {node.relation.relname}")
    else:
        if isinstance(node, ast.UpdateStmt | ast.DeleteStmt):
            _add_tables(query, node.relation)
            _add_tables(query, getattr(node, "usingClause", None))
        _add_tables(query, getattr(node, "fromClause", None))
        _add_conditions(query, node.whereClause)
        for join in (each for each in _within(getattr(node, "fromClause", None)) if isinstance(each, ast.JoinExpr)):
            _add_conditions(query, join.quals)
            if any(name.sval == "tenant" for name in join.usingClause or ()):
                aliases = list(query.tables)
                query.equal += [((query, a), (query, b)) for a, b in pairwise(aliases)]
    return found + [each for child in _children(node) for each in _visit(child, query, queries)]


def _within(node: _Node) -> Iterator[ast.Node]:
    """Yield the nodes of one level, without those of its subqueries."""
    if isinstance(node, _LEVELS):
        return
    if isinstance(node, ast.Node):
        yield node
    for child in _children(node):
        yield from _within(child)


def _add_tables(query: _Query, node: _Node) -> None:
    for each in _within(node):
        if isinstance(each, ast.RangeVar) and each.schemaname is not None and each.relname in _TENANT_TABLES:
            query.tables[each.relname if each.alias is None else each.alias.aliasname] = each.relname


def _add_conditions(query: _Query, condition: _Node) -> None:
    """Add what the conjuncts of a condition say of tenants."""
    if isinstance(condition, ast.BoolExpr) and condition.boolop.name == "AND_EXPR":
        for each in condition.args:
            _add_conditions(query, each)
    elif isinstance(condition, ast.A_Expr) and condition.kind.name == "AEXPR_OP" and condition.name[-1].sval == "=":
        sides = [_tenant_of(query, side) for side in (condition.lexpr, condition.rexpr)]
        for side, other in zip(sides, (condition.rexpr, condition.lexpr), strict=True):
            if side is not None and _is_given(other):
                side[0].named.add(side[1])
        if sides[0] is not None and sides[1] is not None:
            query.equal.append((sides[0], sides[1]))


def _tenant_of(query: _Query, node: _Node) -> tuple[_Query, str] | None:
    if not isinstance(node, ast.ColumnRef) or getattr(node.fields[-1], "sval", None) != "tenant":
        return None
    return query.find(node.fields[-2].sval if len(node.fields) > 1 else None)


def _is_given(node: _Node) -> bool:
    """Return whether the value of a node is a parameter or a constant."""
    if isinstance(node, ast.TypeCast):
        return _is_given(node.arg)
    return isinstance(node, ast.ParamRef | ast.A_Const)


def _inserts_one_tenant(node: ast.InsertStmt) -> bool:
    names = [column.name for column in node.cols or ()]
    select = node.selectStmt
    if "tenant" not in names or select is None:
        return False
    place = names.index("tenant")
    if select.valuesLists:
        return all(_is_given(row[place]) for row in select.valuesLists)
    return len(select.targetList) > place and _is_given(select.targetList[place].val)


#: The packages whose statements are checked. Migrations run once, before a database is distributed.
PACKAGES = ("storage", "analytics", "runtime", "workers", "receiver")

DIALECT = create_mock_engine("postgresql+psycopg://", lambda *_: None).dialect

_ROOT = Path(__file__).parents[2]

#: Statements of the service that were executed by this process, and what would be refused since the last question.
_executed: set[str] = set()
_refused: list[str] = []


def check_executed_statements(directory: Path) -> None:
    """Parse each statement that the service executes from now on in this process; see :func:`refused_statements`.

    Parameters:
        directory: where the processes of a run note what they found accepted, so that each statement is parsed once.
    """
    directory.mkdir(exist_ok=True)
    event.listen(Engine, "before_cursor_execute", partial(_check, directory))


def refused_statements() -> list[str]:
    """Return the statements that were executed since the last call and would be refused, with the refused forms."""
    refused = list(_refused)
    _refused.clear()
    return refused


def _check(accepted: Path, *arguments: Any) -> None:
    statement: str = arguments[2]
    if statement in _executed or not _is_of_the_service():
        return
    _executed.add(statement)
    note = accepted / sha256(statement.encode()).hexdigest()
    if note.exists():
        return
    if forms := refused_forms(statement):
        _refused.append(f"{'; '.join(forms)}: {statement}")
    else:
        note.touch()


def _is_of_the_service() -> bool:
    """Return whether a package of the service executes the statement, and not a test or a migration."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = _package_of(frame.f_code.co_filename)
        if package is not None:
            return package in PACKAGES
        frame = frame.f_back
    return False


@cache
def _package_of(file: str) -> str | None:
    """Return the folder of the project in which a file is; None if it is of a library, or this one."""
    path = Path(file)
    if path == Path(__file__) or ".venv" in path.parts or not path.is_relative_to(_ROOT):
        return None
    return path.relative_to(_ROOT).parts[0]
