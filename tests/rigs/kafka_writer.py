"""A process that writes numbered rows into a topic, from the position that it finds to the end: to be killed.

python tests/rigs/kafka_writer.py BOOTSTRAP TOPIC ROWS [ROWS_A_COMMIT]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pyarrow as pa

from headgate.ports.batch import Batch, Position
from headgate.ports.store import TableSpec
from headgate.stores.kafka import open_sink

STREAM = "numbers"
KEYS = 11
SCHEMA = pa.schema(
    [pa.field("_hg_partition", pa.string()), pa.field("_hg_offset", pa.int64()), ("key", pa.int64()), ("n", pa.int64())]
)


def batch(first: int, after: int) -> Batch:
    """The rows from `first` to before `after`."""
    numbers = range(first, after)
    rows = pa.RecordBatch.from_pydict(
        {
            "_hg_partition": ["p"] * len(numbers),
            "_hg_offset": numbers,
            "key": [n % KEYS for n in numbers],
            "n": numbers,
        },
        schema=SCHEMA,
    )
    start = Position({"p": str(first)}) if first else Position.start()
    return Batch(rows, start, Position({"p": str(after)}))


def batches(first: int, rows: int, each: int) -> Iterator[Batch]:
    """All rows that are left."""
    for begin in range(first, rows, each):
        yield batch(begin, min(begin + each, rows))


def main(bootstrap: str, topic: str, rows: str, each: str = "500") -> None:
    sink = open_sink(bootstrap, {"topic": topic}, TableSpec("silver.numbers", SCHEMA, key=("key",)))
    first = int(sink.position(STREAM).tokens.get("p", "0"))
    for one in batches(first, int(rows), int(each)):
        sink.commit(STREAM, [one])
    sink.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
