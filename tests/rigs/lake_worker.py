"""A process of its own that works on a lake: `python -m rigs.lake_worker WAREHOUSE VERB [ARGUMENT…]`.

`race A B FIRST`: for each line on stdin (an offset) publish one row to tables A and B from there, tell won or refused.
`count TABLE N`: add one to the table's position N times, whatever it is, with a retry of its own.
`fill A B STOP`: publish one row after another to both tables, up to that offset.
`once`: one publication that replaces all files of two tables (HEADGATE_CRASH tells it where to die).
`full BYTES`: publish with no file allowed beyond BYTES.  `nobody`: publish without any right on the warehouse.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from headgate.errors import CommitConflict, HeadgateError, StalePosition
from headgate.stores.iceberg import open_lake
from rigs import small_lake as small


def race(lake, first, second, rounds):
    print("ready", flush=True)
    for _ in range(int(rounds)):
        start = int(sys.stdin.readline())
        try:
            small.publish(lake, start, 1, first, second)
            print("won", flush=True)
        except (CommitConflict, StalePosition):
            print("refused", flush=True)


def count(lake, table, times):
    refused = 0
    for _ in range(int(times)):
        while True:
            try:
                small.publish(lake, small.where(lake, table) or 0, 1, table)
                break
            except (CommitConflict, StalePosition):
                refused += 1
    print(refused)


def fill(lake, first, second, stop):
    for number in range(small.where(lake, first), int(stop)):
        small.publish(lake, number, 1, first, second)


def once(lake):
    tables = ("bronze.orders", "silver.orders")
    start = small.where(lake) or 0
    with lake.publication("refine") as publication:
        for table in tables:
            publication.ensure(small.spec(table))
            publication.remove(table, [f.path for f in lake.cut().table(table).files()])
            publication.write(table, [small.rows(start, 7, 2)])
            publication.move(table, small.STREAM, small.at(start), small.at(start + 7))
        publication.note({"replaced": True})
        publication.commit()


def full(lake, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    told(lambda: small.publish(lake, small.where(lake) or 0, 20_000))


def nobody(lake):
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    told(lambda: small.publish(lake, small.where(lake) or 0, 1))


def told(action):
    try:
        action()
        print("landed")
    except HeadgateError as error:
        print(type(error).__name__, error.message)


if __name__ == "__main__":
    warehouse, verb, *arguments = sys.argv[1:]
    globals()[verb](open_lake({"warehouse": Path(warehouse)}), *arguments)
