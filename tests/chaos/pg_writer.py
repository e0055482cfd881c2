"""A process that keeps changing a table, until its standard input is closed: `pg_writer.py SEED LOG` with libpq's variables.

Seven of ten transactions reuse the time of the one before. It inserts, updates, rolls back, writes rows that break the
contract, and holds transactions open while others commit, so that rows come late with an older time. Every version is
written to LOG before it is sent.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import select
import sys

import psycopg2

# In a long session it writes slower: what must be proved grows with every row, after each round.
PAUSE_S = 0.02 if int(os.environ.get("HEADGATE_KILLS") or 10) > 50 else 0.005
CREATE = "CREATE TABLE orders (id bigint PRIMARY KEY, quantity integer, note text, updated_at timestamptz NOT NULL)"
INSERT = "INSERT INTO orders (id, quantity, note, updated_at) VALUES (%(id)s, %(quantity)s, %(note)s, %(updated_at)s)"
UPDATE = "UPDATE orders SET quantity = %(quantity)s, note = %(note)s, updated_at = %(updated_at)s WHERE id = %(id)s"


class Writer:
    """One writer with its own account of what it tried."""

    def __init__(self, seed: str, log: str) -> None:
        self.rng = random.Random(seed)
        self.log = open(log, "a", encoding="utf-8", buffering=1)
        self.connection = psycopg2.connect("")
        self.slow = psycopg2.connect("")
        self.waiting = 0
        self.clock = dt.datetime.now(dt.UTC)
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(max(id), -1) + 1 FROM orders")
            self.next_id = cursor.fetchone()[0]
            cursor.execute("SELECT id FROM orders WHERE quantity >= 0")
            self.good = [row[0] for row in cursor.fetchall()]

    def version(self, id_: int, quantity: int | None = None) -> dict:
        row = {
            "id": id_,
            "quantity": self.rng.randrange(1000) if quantity is None else quantity,
            "note": self.rng.choice([None, "", "é\t\\N\n", f"note {self.rng.random()}", "x" * 300]),
            "updated_at": self.clock.isoformat(),
        }
        self.log.write(json.dumps(row) + "\n")
        return row

    def new(self, quantity: int | None = None) -> dict:
        self.next_id += 1
        return self.version(self.next_id - 1, quantity)

    def step(self) -> None:
        """One transaction, or the next moment of a slow one."""
        if self.rng.random() > 0.7:
            self.clock = dt.datetime.now(dt.UTC)
        if self.waiting:
            self.waiting -= 1
            if not self.waiting:
                self.slow.commit()
        elif self.rng.random() < 0.1:
            self.waiting = self.rng.randrange(5, 60)
            rows = [self.new() for _ in range(3)]
            with self.slow.cursor() as cursor:
                for row in rows:
                    cursor.execute(INSERT, row)
        kind = self.rng.random()
        with self.connection.cursor() as cursor:
            if kind < 0.5 or not self.good:
                rows = [self.new() for _ in range(self.rng.randrange(1, 6))]
                for row in rows:
                    cursor.execute(INSERT, row)
                if self.rng.random() < 0.1:
                    self.connection.rollback()
                else:
                    self.connection.commit()
                    self.good += [row["id"] for row in rows]
            elif kind < 0.93:
                for id_ in sorted(self.rng.sample(self.good, min(len(self.good), 4))):
                    cursor.execute(UPDATE, self.version(id_))
                self.connection.commit()
            else:
                cursor.execute(INSERT, self.new(quantity=-1))
                self.connection.commit()

    def close(self) -> None:
        self.slow.commit()
        for one in (self.connection, self.slow, self.log):
            one.close()


def main() -> None:
    writer = Writer(sys.argv[1], sys.argv[2])
    print("writing", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        writer.step()
    writer.close()


if __name__ == "__main__":
    main()
