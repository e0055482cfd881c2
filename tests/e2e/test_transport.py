"""`transport: kafka`: the same silver, quarantine and account as without it, whatever the values and whenever killed."""

from __future__ import annotations

import json
import os

import pytest

from integration.test_postgres_fidelity import CASES
from rigs.going import Going, until
from rigs.kafka_topics import visible
from rigs.postgres import built_with
from rigs.postgres_project import PostgresProject

ORDERS = """
create table t (id bigint primary key, who text, amount numeric(12,2) not null, seen timestamptz, picture bytea,
  rate double precision, updated_at timestamptz not null);
create index on t (updated_at);
insert into t select i, 'c' || i % 7, i * 1.01 - case when i % 50 = 0 then 10000 else 0 end,
  timestamptz '2026-11-01' + i * interval '1 microsecond', decode(lpad(to_hex(i), 8, '0'), 'hex'), i / 7.0,
  timestamptz '2026-11-01' + i * interval '1 min' from generate_series(1, 500) i
"""


@pytest.fixture
def both(tmp_path, database, broker):
    """Two projects on one database: one reads it directly, one through a topic."""
    direct, carried = (PostgresProject(tmp_path / name, database) for name in ("direct", "carried"))
    (direct.folder / "headgate.yaml").write_text("datasets: {t: {read: {watermark: updated_at}}}")
    topic = f"carried.{database.name}"
    carried.topic = topic
    carried.env["KAFKA_BOOTSTRAP"] = broker.bootstrap
    (carried.folder / "headgate.yaml").write_text(
        f"datasets: {{t: {{read: {{watermark: updated_at}}, transport: {{kind: kafka, topic: {topic}}}}}}}"
    )
    return direct, carried


def contracts(both, table="t"):
    for one in both:
        one.discover(table)


def with_a_rule(both):
    """The discovered contract, and a rule that some rows break."""
    contracts(both)
    for one in both:
        one.edit(
            "'numeric(12,2)', required: true}", "'numeric(12,2)', required: true, logicalTypeOptions: {minimum: 0}}"
        )


def quarantined(project) -> list[tuple[str, ...]]:
    rows = project.rows("select decode(raw) as raw, to_json(reasons)::varchar as reasons from quarantine.t")
    return sorted((row["raw"], row["reasons"]) for row in rows)


def equal(both) -> None:
    """Data columns row by row, rejected rows with their reasons, and both accounts."""
    direct, carried = both
    assert carried.texts() == direct.texts()
    assert quarantined(carried) == quarantined(direct)
    accounts = [one.balanced() for one in both]
    for number in ("bronze", "silver", "quarantine", "ledger", "pending"):
        assert accounts[0][number] == accounts[1][number], number


def test_every_table_is_the_same_after_every_run(both, database, broker):
    direct, carried = both
    database.run(ORDERS)
    with_a_rule(both)
    for change in (
        "select 1",
        "insert into t select i, 'new', 1, now(), null, 'NaN', now() from generate_series(501, 520) i",
        "update t set amount = amount + 1, updated_at = now() where id <= 60",
        "update t set amount = amount + 1, updated_at = now() where id <= 10; update t set who = 'again', updated_at = now() where id <= 5",
        "update t set who = 'late', updated_at = '2026-10-01' where id between 100 and 120",
    ):
        database.run(change)
        for one in both:
            one.run()
        equal(both)
    assert len(quarantined(carried)) >= 10
    messages = visible(broker.bootstrap, carried.topic)
    assert len(messages) == carried.balanced()["bronze"]
    for key in {m.key() for m in messages}:
        assert len({m.partition() for m in messages if m.key() == key}) == 1
    assert len({m.partition() for m in messages}) == 3
    assert carried.run()["landed_rows"] == 0


def test_a_rows_way_can_be_followed_to_the_source(both, database, broker):
    direct, carried = both
    database.run(ORDERS)
    contracts(both)
    for one in both:
        one.run()
    here = carried.rows("select id, _hg_origin_partition p, _hg_origin_offset o from bronze.t order by id")
    there = direct.rows("select id, _hg_partition p, _hg_offset o from bronze.t order by id")
    assert here == there
    found = {(f"{m.topic()}/{m.partition()}", m.offset()): json.loads(m.value())["id"] for m in visible(
        broker.bootstrap, carried.topic)}  # fmt: skip
    rows = carried.rows("select id, _hg_partition, _hg_offset from silver.t")
    assert {(row["_hg_partition"], row["_hg_offset"]): row["id"] for row in rows} == found


def test_every_type_and_every_odd_value_is_the_same(both, database):
    database.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS numeric(8,2); CREATE DOMAIN price AS positive;"
        "CREATE TYPE pair AS (a int, b text);"
    )
    types = [one for one in CASES if one != "xml" or built_with("libxml")]
    columns = ", ".join(f"c{n} {one}" for n, one in enumerate(types))
    database.run(f"CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz default now(), {columns})")
    for n, one in enumerate(types):
        for m, (text, _) in enumerate(CASES[one]):
            database.run(f"INSERT INTO t (id, c{n}) VALUES (%s, %s::text::{one})", (n * 100 + m, text))
    contracts(both)
    for one in both:
        one.run()
    equal(both)
    direct, carried = both
    own = "select columns(lambda c: not starts_with(c, '_hg_') or c = '_hg_odd') from bronze.t order by id"
    assert carried.rows(own) == direct.rows(own)
    assert [r["_hg_odd"] for r in direct.rows(own) if r["_hg_odd"]], "no value was odd"


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("kafka: rows sent, position not", marks=pytest.mark.slow),
        pytest.param("kafka: position sent, not committed", marks=pytest.mark.slow),
        "kafka: committed",
        "carry: committed",
        pytest.param("land: rows written, position not", marks=pytest.mark.slow),
        "land: published",
        pytest.param("run: landed, not refined", marks=pytest.mark.slow),
    ],
)
def test_killed_between_the_two_moves_nothing_is_lost_or_doubled(both, database, point):
    direct, carried = both
    database.run(ORDERS)
    contracts(both)
    for one in both:
        one.run()
    database.run("update t set amount = amount + 1, updated_at = now() where id <= 60")
    killed = carried.answer("run", process=True, env={**carried.env, "HEADGATE_CRASH": point})
    assert killed.code == -9, killed.err
    database.run("update t set amount = amount + 1, updated_at = now() where id <= 30")
    for one in both:
        one.run()
    assert carried.texts() == direct.texts()
    assert len(carried.texts()) == 500
    carried.balanced()


def test_rows_without_a_key_are_there_once_each(both, database):
    database.run("create table t (v text, n numeric); insert into t select i % 5, 1.5 from generate_series(1, 300) i")
    (both[0].folder / "headgate.yaml").write_text("")
    text = (both[1].folder / "headgate.yaml").read_text().replace("read: {watermark: updated_at}, ", "")
    (both[1].folder / "headgate.yaml").write_text(text)
    contracts(both)
    for change in ("select 1", "update t set n = 2 where v = '1'"):
        database.run(change)
        for one in both:
            one.run()
        equal(both)


def test_a_column_that_is_added_later_arrives(both, database):
    database.run(ORDERS)
    contracts(both)
    for one in both:
        one.run()
    database.run(
        "alter table t add column extra numeric(5,1); update t set extra = 1.5, updated_at = now() where id < 9"
    )
    for one in both:
        one.path("t").unlink()
        one.discover("t")
        one.run()
    assert both[1].texts() == both[0].texts()
    assert sum("1.5" in row for row in both[1].texts()) == 8


def test_a_foreign_message_in_the_topic_stops_by_name(both, database, broker):
    database.run(ORDERS)
    contracts(both)
    both[1].run()
    broker.produce(both[1].topic, [b'{"id": 7}'], partition=1)
    answer = both[1].answer("run")
    assert answer.code == 5
    assert f"{both[1].topic}/1" in answer.err
    assert "not written by this transport" in answer.err


def test_bronze_that_was_landed_directly_is_not_landed_again(both, database):
    database.run(ORDERS)
    contracts(both)
    direct, carried = both
    direct.run()
    (direct.folder / "headgate.yaml").write_text((carried.folder / "headgate.yaml").read_text())
    direct.env |= carried.env
    answer = direct.answer("run")
    assert answer.code == 5
    assert "without the transport" in answer.err


def test_a_transport_that_is_taken_out_again_lands_nothing_twice(both, database):
    database.run(ORDERS)
    contracts(both)
    direct, carried = both
    carried.run()
    (carried.folder / "headgate.yaml").write_text((direct.folder / "headgate.yaml").read_text())
    answer = carried.answer("run")
    assert answer.code == 5
    assert "came through a transport" in answer.err
    assert carried.tables()["bronze.t"] == 500


def test_a_transport_without_an_address_says_where_it_is_missing(both, database):
    database.run(ORDERS)
    contracts(both)
    del both[1].env["KAFKA_BOOTSTRAP"]
    assert "KAFKA_BOOTSTRAP" not in os.environ
    answer = both[1].answer("run")
    assert answer.code == 2
    assert "names no server of type kafka" in answer.err


def test_a_run_that_goes_on_carries_what_comes(both, database):
    carried = both[1]
    database.run(ORDERS)
    contracts(both)
    with Going(carried.folder, env=carried.env) as going:
        until(lambda: going.process.poll() is not None or silver(carried) == 500, "the first rows")
        database.run("insert into t select i, 'new', 1, now(), null, 1, now() from generate_series(501, 520) i")
        until(lambda: going.process.poll() is not None or silver(carried) == 520, "what came later")
        assert going.stop() == 0, going.said
    assert carried.balanced()["bronze"] == 520


def silver(project) -> int:
    return project.tables().get("silver.t", 0)
