"""A source under chaos: how it changes, and how its tables are judged while it does and when it is quiet."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import file_drop
import pg_writer
import proof
import topic_drop
from under_test import COLUMNS, UnderTest

HERE = Path(__file__).parent
MESSAGES = int(os.environ.get("HEADGATE_MESSAGES") or 120)  # before each kill of a run that reads a topic


class FilesCase:
    """Files are dropped before each run; between runs everything is known, so everything is checked."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.project = UnderTest(folder, file_drop.SERVER, read="{batch_bytes: 4000}").write()
        self.drop = file_drop.FileDrop(folder / "inbox", rng)

    def change(self) -> None:
        self.drop.drop(lines=60, files=2)

    def check(self) -> None:
        """After a run that went well: no row lost, doubled, invented or changed."""
        rows = proof.conserved(self.project.folder)
        assert rows["bronze"] == len(self.drop.lines), rows
        proof.bronze_raw_is(self.project.folder, self.drop.lines)
        proof.quarantine_raw_is(self.project.folder, self.drop.bad)
        proof.silver_is(self.project.folder, self.drop.expected())

    def check_account(self) -> None:
        """What holds under any contract: every record landed once, every one with one verdict."""
        rows = proof.conserved(self.project.folder)
        assert rows["bronze"] == len(self.drop.lines), rows
        proof.bronze_raw_is(self.project.folder, self.drop.lines)

    def finish(self) -> None:
        self.project.recover()
        self.check()

    def close(self) -> None:
        pass


class KafkaCase(FilesCase):
    """Messages are sent before each run, in transactions of which some are taken back."""

    def __init__(self, folder: Path, rng: random.Random, broker) -> None:
        self.drop = topic_drop.TopicDrop(broker, rng)
        server = f"  - {{server: bus, type: kafka, host: '{broker.bootstrap}', format: json}}"
        read = f"{{topic: {self.drop.topic}, batch_bytes: {33 * MESSAGES}}}"
        self.project = UnderTest(folder, server, read=read).write()

    def change(self) -> None:
        self.drop.drop(lines=MESSAGES // 2, files=2)

    def finish(self) -> None:
        """Also: what the killed ones left behind is no more than so much, and goes with one command."""
        super().finish()
        left = self.project.leftovers()
        print(f"{len(self.drop.lines)} messages; {left} files were left behind")
        self.project.strict_upkeep()
        for _ in range(2):  # what was published once is only noted the first time
            assert self.project.run("maintain", "clean").code == 0
        assert self.project.leftovers() == 0
        self.check()


class PostgresCase:
    """A process writes all the time; what is certain meanwhile is the account, and when it is quiet everything."""

    def __init__(self, folder: Path, rng: random.Random, database) -> None:
        self.database = database
        self.own = 0
        self.env = {
            "PGHOST": database.server.host,
            "PGPORT": str(database.server.port),
            "PGUSER": database.server.user,
            "PGDATABASE": database.name,
        }
        place = "host: '${PGHOST}', port: '${PGPORT}', database: '${PGDATABASE}'"
        server = f"  - {{server: shop, type: postgres, {place}, schema: public}}"
        read = "{watermark: updated_at, range: 8192, block: 4096}"
        self.project = UnderTest(folder, server, read, env=self.env).write()
        self.log = folder / "attempted.jsonl"
        database.run(pg_writer.CREATE)
        database.run(
            "INSERT INTO orders SELECT n, n % 100 - CASE WHEN n % 97 = 0 THEN 200 ELSE 0 END, repeat('x', 200),"
            " '2026-01-01Z'::timestamptz + (n / 50) * interval '1 s' FROM generate_series(0, 499) n"
        )
        with self.log.open("w") as log:
            log.writelines(json.dumps(row, default=str) + "\n" for row in self._source())
        self.writer = subprocess.Popen(
            [sys.executable, str(HERE / "pg_writer.py"), str(rng.random()), str(self.log)],
            env={**os.environ, **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.writer.stdout.readline() == "writing\n"

    def _source(self) -> list[dict]:
        rows = self.database.run(f"SELECT {', '.join(COLUMNS)} FROM orders")
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]

    def change(self) -> None:
        """The writer does that by itself; a few rows of its own make sure that there is something, good and bad."""
        assert self.writer.poll() is None, "the writer died"
        now = self.database.run("SELECT now()")[0][0]
        for quantity in (1, 2, 3, -3):
            self.own += 1
            row = {"id": -self.own, "quantity": quantity, "note": "own", "updated_at": now}
            with self.log.open("a") as log:
                log.write(json.dumps(row, default=str) + "\n")
            self.database.run(pg_writer.INSERT, row)

    def check(self) -> None:
        proof.conserved(self.project.folder)

    def check_account(self) -> None:
        self.check()

    def finish(self) -> None:
        """Two quiet runs; then silver is the source, quarantine its bad rows, bronze nothing that was never written."""
        self.close()
        self.project.recover()
        self.project.recover()
        rows = proof.conserved(self.project.folder)
        source = self._source()
        proof.silver_is(self.project.folder, [row for row in source if row["quantity"] >= 0])
        with proof.Tables(self.project.folder) as tables:
            held = {json.loads(row["raw"])["id"] for row in tables.rows("quarantine", ["raw"])}
            assert held == {row["id"] for row in source if row["quantity"] < 0}
            attempted = {_version(json.loads(line)) for line in self.log.read_text().splitlines()}
            invented = {_version(row) for row in tables.rows("bronze", COLUMNS)} - attempted
            assert not invented, f"{len(invented)} rows that nobody wrote, such as {next(iter(invented))}"
        assert rows["bronze"] >= len(source)

    def close(self) -> None:
        if self.writer.poll() is None:
            self.writer.communicate(input="", timeout=30)
        assert self.writer.returncode == 0, "the writer failed"


def _version(row: dict) -> tuple:
    when = row["updated_at"]
    instant = dt.datetime.fromisoformat(when) if isinstance(when, str) else when
    return row["id"], row["quantity"], row["note"], instant.astimezone(dt.UTC)
