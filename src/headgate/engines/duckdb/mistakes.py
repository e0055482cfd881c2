"""DuckDB's complaints about somebody's SQL as errors with a place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import duckdb

from headgate.engines.duckdb.files import gone
from headgate.errors import FixInputError, HeadgateError

_CARET = re.compile(r"\n+LINE (\d+): (.*)\n( *)\^", re.DOTALL)
_EXPLAIN = "EXPLAIN "


@contextmanager
def in_sql(sql: str, connection: duckdb.DuckDBPyConnection | None = None) -> Iterator[None]:
    """Turns DuckDB's errors about this statement into FixInputError: its message, `line:column` and its hint.

    With the connection that the statement is for, the place is found also where DuckDB does not tell it at first.
    A lack of memory or disk is a FixInputError too: the hint names the setting. A file of the lake that has gone is a
    StoreUnavailable.
    """
    try:
        yield
    except (duckdb.PermissionException, duckdb.OutOfMemoryException, duckdb.IOException) as cause:
        raise _stopped(cause, connection) from cause
    except duckdb.Error as cause:
        raise mistake(str(cause), sql, place(str(cause), sql) or _looked_up(sql, connection)) from cause


def _stopped(cause: duckdb.Error, connection: duckdb.DuckDBPyConnection | None) -> HeadgateError:
    """The error for what is no mistake in the text of a statement."""
    error = gone(cause, _may_be_read(connection))
    if error is not None:
        return error
    if isinstance(cause, duckdb.PermissionException):
        return FixInputError(
            f"the query reaches outside the lake: {_first(str(cause))}", hint="a query reads the lake's tables only"
        )
    return FixInputError(
        f"the query needs more room than it may use: {_first(str(cause))}",
        hint="raise the engine's memory_limit or make room in its temp_directory",
    )


def _may_be_read(connection: duckdb.DuckDBPyConnection | None) -> Collection[str]:
    """The lake's files that the statement's database knows."""
    if connection is None:
        return ()
    try:
        row = connection.execute("SELECT current_setting('allowed_paths')").fetchone()
    except duckdb.Error:
        return ()
    return row[0] if row else ()


def mistake(message: str, sql: str, where: str | None = None) -> FixInputError:
    """The error for DuckDB's message about a statement, at `line:column`."""
    head, _, rest = _CARET.split(message)[0].strip().partition("\n")
    hint = " ".join(rest.split()) or "correct the SQL at this place"
    return FixInputError(head, where=where or place(message, sql), hint=hint)


def place(message: str, sql: str) -> str | None:
    """`line:column` of the caret in DuckDB's message, counted in the whole text from 1."""
    found = _CARET.search(message)
    if found is None:
        return None
    number, shown = int(found[1]), found[2].split("\n")[-1]
    column = len(found[3]) - len(f"LINE {number}: ")
    lines = sql.split("\n")
    if shown.startswith("...") and number <= len(lines):
        # Of a long line DuckDB shows a part, with dots at its ends.
        start = lines[number - 1].find(shown.removeprefix("...").removesuffix("..."))
        column += max(start, 0) - len("...")
    return f"{number}:{max(column, 0) + 1}"


def _looked_up(sql: str, connection: duckdb.DuckDBPyConnection | None) -> str | None:
    """The place of a mistake that shows when the statement is only planned."""
    if connection is None:
        return None
    try:
        connection.execute(_EXPLAIN + sql)
    except duckdb.Error as problem:
        found = place(str(problem), _EXPLAIN + sql)
        if found is None:
            return None
        line, column = (int(n) for n in found.split(":"))
        return f"{line}:{column - len(_EXPLAIN) if line == 1 else column}"
    return None


def _first(message: str) -> str:
    return message.split("\n", 1)[0]
