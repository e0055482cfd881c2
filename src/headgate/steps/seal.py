"""Silver's content checksum: the sum of its rows' hashes, over the columns and types that it was sealed with.

The sum is kept from publication to publication, each adding and taking away its own rows. When a contract brings other
columns or types, every row's hash becomes another, so the table is summed once anew, after the old sum has been proven.
"""

from __future__ import annotations

import json

from headgate.contract.model import Dataset
from headgate.contract.to_sql import duckdb_type, quote
from headgate.errors import AccountError
from headgate.ports.engine import Engine
from headgate.ports.store import TableView

CHECKSUM = "checksum"
SEALED_AS = "sealed_as"  # the columns that the checksum was taken over: JSON, [[name, type], …]


def form_of(dataset: Dataset) -> str:
    """The columns that a contract seals."""
    return json.dumps([[f.name, duckdb_type(f.type)] for f in dataset.fields], separators=(",", ":"))


def row_hash(form: str) -> str:
    """SQL: the hash of one row."""
    return f"hash({', '.join(f'CAST({quote(name)} AS {of})' for name, of in json.loads(form))})"


def sum_of(engine: Engine, view: TableView, form: str) -> int:
    """The checksum of a table's rows."""
    layer, _, table = view.name.partition(".")
    sql = f"select coalesce(sum({row_hash(form)}::hugeint), 0)::varchar as seal from {quote(layer)}.{quote(table)}"
    return int(engine.query(sql, {view.name: view}).read_all().to_pylist()[0]["seal"])


def held_sum(engine: Engine, before: TableView, after: TableView, form: str) -> int:
    """The checksum of the rows that a table holds, over the columns of `form`. `after` is the same table as `before`,
    in the schema of `form`. Raises AccountError when the rows are not what was sealed."""
    sealed = before.facts(CHECKSUM)
    if sealed is None:
        return 0
    was = before.facts(SEALED_AS)
    if was in (None, form):
        return int(sealed)
    assert was is not None
    found = sum_of(engine, before, was)
    if str(found) != sealed:
        raise AccountError(
            f"silver's content is not what was published: checksum {found}, sealed {sealed}",
            where=before.name,
            hint="headgate audit --deep; a rebuild from bronze: headgate run --full-refresh",
        )
    return sum_of(engine, after, form)
