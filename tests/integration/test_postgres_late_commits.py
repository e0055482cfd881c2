"""Late commits, ties, clock jumps, updates while paging: whatever overlaps with reading, nothing is lost."""

from __future__ import annotations

import itertools
import threading

import pytest

from rigs.postgres_landing import Landing

TABLE = """
CREATE TABLE {name} (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now());
CREATE INDEX ON {name} (updated_at);
INSERT INTO {name} SELECT i, 'first ' || i, now() - interval '1 day' FROM generate_series(1, 3) i;
"""
OLD = "now() - interval '3 days'"

# What writer A does between its beginning and its end. {t} is the table, {n} a number that differs each time.
WRITES = {
    "an insert with an old timestamp": [f"INSERT INTO {{t}} VALUES ({{n}}, 'a', {OLD})"],
    "an insert at now()": ["INSERT INTO {t} VALUES ({n}, 'a', now())"],
    "an update of an old row": [f"UPDATE {{t}} SET v = 'a{{n}}', updated_at = {OLD} WHERE id = 1"],
    "subtransactions": [
        (
            "SAVEPOINT one; INSERT INTO {t} VALUES ({n}, 'kept', now() - interval '2 days'); RELEASE one;"
            "SAVEPOINT two; INSERT INTO {t} VALUES ({n} + 1, 'lost', now()); ROLLBACK TO two;"
            "SAVEPOINT three; UPDATE {t} SET v = 'a{n}' WHERE id = 2; RELEASE three"
        )
    ],
    "a row with no timestamp": ["INSERT INTO {t} VALUES ({n}, 'a', NULL)"],
    "a row of the year 2099": ["INSERT INTO {t} VALUES ({n}, 'a', '2099-12-31')"],
}
A = ["begin", "write", "end"]
B = ["begin", "write", "end"]
INTERLEAVINGS = sorted(set(itertools.permutations("AAABBB")))  # 20


class Writers:
    """Two sessions and their scripts."""

    def __init__(self, database) -> None:
        self.sessions = {name: database.connect() for name in "AB"}
        self.number = itertools.count(1000, 10)

    def step(self, name: str, at: int, table: str, write: list[str], end: str) -> None:
        cursor = self.sessions[name].cursor()
        if at == 0:
            cursor.execute("BEGIN; SELECT 1")
        elif at == 1:
            for sql in write:
                cursor.execute(sql.format(t=table, n=next(self.number)))
        else:
            cursor.execute(end)


def play(database, writers, schedule, table, write, end, landing, run):
    done = {"A": 0, "B": 0}
    for who in schedule:
        mine = write if who == "A" else ["INSERT INTO {t} VALUES ({n}, 'b', now())"]
        writers.step(who, done[who], table, mine, end if who == "A" else "COMMIT")
        done[who] += 1
        run()


def everything_landed(database, landing, table):
    source = set(database.run(f"SELECT id, v, updated_at::text FROM {table}"))
    landed = {(r["id"], r["v"], as_text(r)) for r in landing.rows}
    assert source <= landed, f"lost: {source - landed}"
    assert not {v for _, v, _ in landed if v in ("lost", "never")}, "a row that was rolled back was landed"
    assert landing.offsets_are_whole()


def as_text(row) -> str | None:
    at = row["updated_at"]
    if at is None:
        return dict(row["_hg_odd"] or ()).get("updated_at")
    text = at.strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "+00"


@pytest.fixture
def utc(database):
    database.run(f"ALTER DATABASE {database.name} SET timezone = 'UTC'")
    database.connect()
    database.opened.reverse()
    return database


@pytest.mark.parametrize(("write", "end"), [*((write, "COMMIT") for write in WRITES), ("subtransactions", "ROLLBACK")])
def test_no_schedule_of_two_transactions_loses_a_row(utc, write, end):
    """20 interleavings, a run after every step: 140 schedules in all, small tables read whole each time."""
    writers = Writers(utc)
    for number, schedule in enumerate(INTERLEAVINGS):
        table = f"t{number}"
        utc.run(TABLE.format(name=table))
        landing = Landing(utc, table, watermark="updated_at")
        play(utc, writers, schedule, table, WRITES[write], end, landing, landing.run)
        landing.run()
        everything_landed(utc, landing, table)
        assert landing.run() == 0
        assert landing.idle()


@pytest.mark.parametrize("write", WRITES)
def test_no_schedule_loses_a_row_when_reads_are_bounded_by_the_watermark(utc, write):
    """Old timestamps lie below every bound: the next sweep finds them, and lands nothing else again."""
    writers = Writers(utc)
    for number, schedule in enumerate(INTERLEAVINGS[::2]):
        table = f"t{number}"
        utc.run(TABLE.format(name=table))
        landing = Landing(utc, table, watermark="updated_at", sweep_below=0, slack=0)
        play(utc, writers, schedule, table, WRITES[write], "COMMIT", landing, landing.run)
        landing.run()
        landing.run(sweep_every=0)
        everything_landed(utc, landing, table)
        assert landing.run(sweep_every=0) == 0


@pytest.mark.parametrize("key", [None, ()], ids=["key", "no key"])
def test_a_transaction_open_across_five_runs_is_read_when_it_commits(utc, key):
    utc.run(TABLE.format(name="t"))
    landing = Landing(utc, key=key, watermark="updated_at")
    late = utc.connect().cursor()
    late.execute(f"BEGIN; INSERT INTO t VALUES (100, 'late', {OLD})")
    for number in range(5):
        utc.run(f"INSERT INTO t VALUES ({number + 10}, 'x')")
        landing.run()
    assert landing.run() == 0, "rows are landed again and again while a transaction stays open"
    late.execute("COMMIT")
    assert not landing.idle()
    landing.run()
    everything_landed(utc, landing, "t")
    assert landing.run() == 0


def test_a_sequence_key_as_watermark_loses_no_late_commit(utc):
    utc.run("CREATE TABLE t (id serial PRIMARY KEY, v text)")
    landing = Landing(utc, watermark="id")
    late = utc.connect().cursor()
    late.execute("BEGIN; INSERT INTO t (v) VALUES ('late')")
    for _ in range(5):
        utc.run("INSERT INTO t (v) VALUES ('x')")
        landing.run()
    late.execute("COMMIT")
    landing.run()
    assert set(landing.versions("id")) == {(i,) for i in range(1, 7)}
    assert landing.run() == 0


def test_an_updated_row_is_read_again_with_hot_updates_and_frozen_rows(utc):
    utc.run(TABLE.format(name="t"))
    landing = Landing(utc, watermark="updated_at")
    landing.run()
    utc.run("VACUUM (FREEZE) t")
    assert landing.run() == 0
    utc.run("UPDATE t SET v = 'hot' WHERE id = 1")  # updated_at stays, and no index is touched
    assert landing.run() == 1
    utc.run("VACUUM (FREEZE) t")
    assert landing.run() == 0
    assert landing.versions("id", "v")[-1] == (1, "hot")


def test_a_thousand_rows_of_one_timestamp_survive_any_page_edge(utc):
    utc.run("CREATE TABLE t (id int PRIMARY KEY, v text, updated_at timestamptz); CREATE INDEX ON t (updated_at)")
    landing = Landing(utc, watermark="updated_at", block=1024, range=8192)
    landing.run()
    insert = "INSERT INTO t SELECT i, 'x', '2026-01-01' FROM generate_series({}, {}) i"
    utc.run(insert.format(1, 1000))
    landing.run(ends=12)
    assert 300 < len(landing.rows) < 500
    utc.run(insert.format(1001, 1050))
    landing.run()
    landing.run()
    assert set(landing.versions("id")) == {(i,) for i in range(1, 1051)}
    assert len(landing.rows) <= 1100, "only what came behind the interrupted read may be landed twice"
    assert landing.run() == 0


def test_clock_jumps_within_the_slack_are_read_by_bounded_reads(utc):
    utc.run(TABLE.format(name="t"))
    landing = Landing(utc, watermark="updated_at", sweep_below=0, slack="10 min")
    landing.run()
    for number, jump in enumerate(range(-300, 301, 60)):
        utc.run(f"INSERT INTO t VALUES ({100 + number}, 'x', now() + interval '{jump} s')")
        assert landing.run() == 1
    everything_landed(utc, landing, "t")


def test_a_row_of_the_year_2099_does_not_freeze_the_stream(utc):
    utc.run(TABLE.format(name="t"))
    landing = Landing(utc, watermark="updated_at", sweep_below=0)
    landing.run()
    utc.run("INSERT INTO t VALUES (50, 'far', '2099-01-01'), (51, 'beyond', 'infinity')")
    assert landing.run() == 2
    for number in range(5):
        utc.run(f"INSERT INTO t VALUES ({100 + number}, 'x', now())")
        assert landing.run() == 1
    everything_landed(utc, landing, "t")


def test_bounded_reads_look_at_few_rows(utc):
    """The watermark's index is used: rows far below the bound are not visited."""
    utc.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text, updated_at timestamptz); CREATE INDEX ON t (updated_at);"
        "INSERT INTO t SELECT i, 'x', now() - interval '1 s' * (100000 - i) FROM generate_series(1, 100000) i"
    )
    utc.run("ANALYZE t")
    landing = Landing(utc, watermark="updated_at", sweep_below=0)
    landing.run()
    utc.run("INSERT INTO t VALUES (0, 'new', now())")
    statements = []
    source = landing.source()
    session = source._open()
    copy = session.copy
    session.copy = lambda sql, sink: (statements.append(sql), copy(sql, sink))
    assert sum(batch.rows.num_rows for batch in source.read(landing.position)) == 1
    source.close()
    query = statements[0].removeprefix("COPY (").removesuffix(") TO STDOUT (FORMAT csv)")
    plan = "\n".join(line for (line,) in utc.run("EXPLAIN " + query))
    assert "t_updated_at_idx" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_updates_while_pages_are_read_leave_every_key_at_its_last_value(utc):
    utc.run(
        "CREATE TABLE t (id int PRIMARY KEY, v int, pad text, updated_at timestamptz); CREATE INDEX ON t (updated_at);"
        "INSERT INTO t SELECT i, 0, repeat('x', 300), now() - interval '1 s' * i FROM generate_series(1, 2000) i"
    )
    landing = Landing(utc, watermark="updated_at", range=8192, block=4096, sweep_below=0)
    stop = threading.Event()
    cursor = utc.connect().cursor()

    def update() -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            cursor.execute(
                "UPDATE t SET v = %s, updated_at = now() WHERE id IN (%s, %s)",
                (number, number % 2000, number * 7 % 2000),
            )

    thread = threading.Thread(target=update)
    thread.start()
    try:
        for _ in range(6):
            landing.run(ends=20)  # a new snapshot each time
    finally:
        stop.set()
        thread.join()
    landing.run()
    landing.run()
    last = {row["id"]: row["v"] for row in sorted(landing.rows, key=lambda r: (r["v"], r["_hg_offset"]))}
    assert last == dict(utc.run("SELECT id, v FROM t"))
    assert landing.offsets_are_whole()


def test_rows_that_a_bounded_read_left_out_are_landed_once_by_the_sweep(utc):
    utc.run(TABLE.format(name="t"))
    landing = Landing(utc, watermark="updated_at", sweep_below=0, slack=0)
    landing.run()
    for number in range(4):
        utc.run(f"INSERT INTO t VALUES ({100 + number}, 'on time', now()), ({200 + number}, 'backdated', {OLD})")
        assert landing.run() == 1
    assert not landing.idle(sweep_every=0)
    assert landing.run(sweep_every=0) == 4
    everything_landed(utc, landing, "t")
    assert len(landing.rows) == 3 + 8
