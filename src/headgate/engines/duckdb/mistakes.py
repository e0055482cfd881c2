"""DuckDB's complaints about somebody's SQL as errors with a place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from headgate.errors import FixInputError, HeadgateError

_CARET = re.compile(r"\n+LINE (\d+): (.*)\n( *)\^", re.DOTALL)


@contextmanager
def in_sql(sql: str, *, file: str | None = None) -> Iterator[None]:
    """Turns DuckDB's errors about this statement into FixInputError: its message, `[file:]line:column` and its hint.

    Running out of memory or disk is a FixInputError too: the hint names the setting.
    """
    try:
        yield
    except HeadgateError:
        raise
    except (duckdb.OutOfMemoryException, duckdb.IOException) as cause:
        raise FixInputError(
            f"the query needs more room than it may use: {_first(str(cause))}",
            hint="raise the engine's memory_limit or make room in its temp_directory",
        ) from cause
    except duckdb.Error as cause:
        raise mistake(str(cause), sql, file=file) from cause


def mistake(message: str, sql: str, *, file: str | None = None) -> FixInputError:
    """The error for DuckDB's message about a statement."""
    place = where(message, sql)
    head, _, rest = _CARET.split(message)[0].strip().partition("\n")
    prefix = f"{file}:" if file else ""
    return FixInputError(
        head, where=f"{prefix}{place}" if place else file, hint=" ".join(rest.split()) or "correct the SQL at this place"
    )


def where(message: str, sql: str) -> str | None:
    """`line:column` of the caret in DuckDB's message, counted in the whole text."""
    found = _CARET.search(message)
    if found is None:
        return None
    number, shown, blanks = int(found[1]), found[2], len(found[3])
    column = blanks - len(f"LINE {number}: ")
    lines = sql.split("\n")
    if number > len(lines):
        return str(number)
    line = lines[number - 1]
    # A long line is shown in part, with dots at its ends.
    part = shown.removeprefix("...").removesuffix("...")
    start = line.find(part) if shown.startswith("...") else 0
    lead = 3 if shown.startswith("...") else 0
    return f"{number}:{max(column - lead + max(start, 0), 0) + 1}"


def _first(message: str) -> str:
    return message.split("\n", 1)[0]
