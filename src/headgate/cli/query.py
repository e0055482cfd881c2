"""`headgate query`."""

from __future__ import annotations

import argparse
import gc
import sys
from functools import partial
from typing import Any

from headgate.cli import show
from headgate.errors import FixInputError
from headgate.runtime.project import Project


def query(arguments: argparse.Namespace) -> int:
    """Answer SQL as a table, JSON, CSV or Parquet; streamed, whatever its size."""
    form = arguments.format or ("json" if arguments.json else _by_name(arguments.output) or "table")
    if form == "parquet" and not arguments.output:
        raise FixInputError("Parquet needs a file", hint="add -o FILE.parquet")
    with Project.open(arguments.project) as project:
        ask = partial(project.reader, arguments.sql, as_of=arguments.as_of)
        if form == "table":
            _table(ask(), arguments.limit)
        elif form == "json":
            _json(ask(), arguments.output)
        else:
            _file(ask(), arguments.output, form)
    return 0


def _by_name(path: str | None) -> str | None:
    ending = path.rpartition(".")[2] if path else ""
    return ending if ending in ("json", "csv", "parquet") else None


def _table(reader: Any, limit: int) -> None:
    import pyarrow as pa

    rows: list[list[Any]] = []
    more = False
    for batch in reader:
        rows += [list(row.values()) for row in batch.slice(0, max(0, limit - len(rows))).to_pylist()]
        if len(rows) >= limit:
            more = True
            break
    numbers = [
        f.name
        for f in reader.schema
        if pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_decimal(f.type)
    ]
    show.table("", reader.schema.names, rows, right=numbers)
    if more:
        del reader, batch
        gc.collect()  # a query that was not read to its end hangs in a cycle, and DuckDB complains of that at exit
        show.line(f"the first {limit} rows; --limit N for more, -o FILE for all")


def _json(reader: Any, path: str | None) -> None:
    import json

    out = open(path, "w", encoding="utf-8") if path else sys.stdout  # noqa: SIM115
    try:
        out.write("[")
        first = True
        for batch in reader:
            for row in batch.to_pylist():
                out.write(("\n " if first else ",\n ") + json.dumps(row, default=_plain, ensure_ascii=False))
                first = False
        out.write("\n]\n")
    finally:
        if path:
            out.close()


def _plain(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _file(reader: Any, path: str | None, form: str) -> None:
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    target: Any = path or sys.stdout.buffer
    writer = (
        pc.CSVWriter(target, reader.schema)
        if form == "csv"
        else pq.ParquetWriter(target, reader.schema, compression="zstd")
    )
    with writer:
        for batch in reader:
            writer.write_batch(batch)
