"""Small tables in a real lake: made, filled and read the same way by every test of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from headgate.ports.batch import Position
from headgate.ports.store import TableSpec
from headgate.stores.iceberg import open_lake

SCHEMA = pa.schema(
    [
        pa.field("_hg_partition", pa.string(), nullable=False),
        pa.field("_hg_offset", pa.int64(), nullable=False),
        pa.field("_hg_ingested_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("amount", pa.decimal128(12, 3), metadata={b"doc": b"what was paid"}),
        pa.field("tags", pa.list_(pa.string())),
    ]
)
DAY = datetime(2026, 1, 1, tzinfo=UTC)
STREAM = "orders"


def lake_in(folder, **settings):
    """A lake in `folder/lake`."""
    return open_lake({"warehouse": folder / "lake", **settings})


def spec(name="bronze.orders", **changes):
    """A table partitioned by day, unless told otherwise."""
    return TableSpec(**{"name": name, "schema": SCHEMA, "partition": (("_hg_ingested_at", "day"),), **changes})


def rows(start, count, days=1, partition="p"):
    """`count` rows from offset `start`, spread over some days."""
    return pa.RecordBatch.from_pydict(
        {
            "_hg_partition": [partition] * count,
            "_hg_offset": range(start, start + count),
            "_hg_ingested_at": [DAY + timedelta(days=i % days) for i in range(count)],
            "amount": [None] * count,
            "tags": [["a", None]] * count,
        },
        schema=SCHEMA,
    )


def at(offset, partition="p"):
    """The position before `offset`; the start for None."""
    return Position.start() if offset is None else Position({partition: str(offset)})


def publish(lake, start, count, *tables, before=None, days=1, **layout):
    """Add rows to each table and move its position from `before` (default: `start`, none at 0), in one publication."""
    tables = tables or ("bronze.orders",)
    before = at(start or None) if before is None else before
    with lake.publication("land") as publication:
        for table in tables:
            publication.ensure(spec(table, **layout))
            publication.write(table, [rows(start, count, days)])
            publication.move(table, STREAM, before, at(start + count))
            publication.note_fact(table, "rows", str(start + count))
        publication.commit()


def offsets(lake, table="bronze.orders"):
    """All offsets of a table, sorted."""
    view = lake.cut().table(table)
    return sorted(v for batch in lake.scan(view, ["_hg_offset"]) for v in batch.column(0).to_pylist())


def where(lake, table="bronze.orders"):
    """How far the table's stream has come, as a number; None at the start."""
    token = lake.cut().table(table).position(STREAM).tokens.get("p")
    return None if token is None else int(token)


def files_under(lake):
    """All files of the warehouse but the catalog."""
    return {p for p in lake.settings.warehouse.rglob("*") if p.is_file() and not p.name.startswith("catalog.db")}
