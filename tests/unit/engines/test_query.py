"""Queries read the lake's tables and nothing else; models become tables that every reader has types for."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refine_rig import Rig, dataset, field_ids, integer, text

from headgate.engines.duckdb import open_engine, query
from headgate.errors import FixInputError, StoreUnavailable
from headgate.ports.engine import Output


class View:
    """A table as the lake would show it."""

    def __init__(self, name, schema, files=(), ids=None):
        self.name, self.schema, self._files, self._ids = name, schema, list(files), ids

    def files(self, after_sequence=0):
        return self._files

    def field_ids(self):
        return field_ids(self.schema) if self._ids is None else self._ids


@pytest.fixture
def lake(tmp_path):
    rig = Rig(tmp_path, dataset([integer("id", required=True), text("name")]))
    rig.land(pa.table({"id": [1, 2, 3], "name": ["a", "b", None]}))
    rig.refine()
    return {
        "silver.things": View("silver.things", rig.schemas["silver"], rig.files["silver"]),
        "gold.empty": View("gold.empty", pa.schema([("day", pa.date32()), ("total", pa.decimal128(12, 2))])),
        "bronze.things": View("bronze.things", rig.bronze_schema, rig.bronze, ids={}),
    }


@pytest.fixture
def engine():
    return open_engine({})


def rows(engine, sql, tables):
    return engine.query(sql, tables).read_all().to_pylist()


def test_tables_of_every_layer_answer_also_empty_ones(engine, lake):
    assert rows(engine, "SELECT count(*) AS n, max(name) AS m FROM silver.things", lake) == [{"n": 3, "m": "b"}]
    assert rows(engine, "SELECT count(*) AS n FROM bronze.things", lake) == [{"n": 3}]
    empty = engine.query("FROM empty", lake)
    assert empty.schema.field("total").type == pa.decimal128(12, 2)
    assert empty.read_all().num_rows == 0
    assert len(rows(engine, "SELECT * FROM gold.empty e RIGHT JOIN silver.things ON true", lake)) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE silver.things",
        "SUMMARIZE silver.things",
        "EXPLAIN SELECT * FROM silver.things",
        "EXPLAIN ANALYZE SELECT 1",
        "WITH a AS (SELECT 1 AS x) FROM a",
        "VALUES (1)",
        "-- a remark\nSELECT 1;",
    ],
)
def test_reading_statements_are_answered(engine, lake, sql):
    assert rows(engine, sql, lake)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{tmp}/out.csv'",
        "COPY silver.things TO '{tmp}/out.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{tmp}/out.csv'",
        "EXPLAIN (FORMAT json) COPY (SELECT 1) TO '{tmp}/out.csv'",
        "/* x */ EXPLAIN /* y */ ANALYZE /* z */ CREATE TABLE t AS SELECT 1",
        "EXPORT DATABASE '{tmp}/out'",
        "ATTACH '{tmp}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "SET memory_limit = '1GB'",
        "RESET enable_external_access",
        "CREATE TABLE t (a INT)",
        "DROP VIEW silver.things",
        "INSERT INTO silver.things VALUES (1)",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "SELECT 1; DROP VIEW silver.things",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "USE main",
        "PREPARE p AS SELECT 1",
        "",
        "-- nothing",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/hostname')",
        "SELECT * FROM '/etc/passwd.csv'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('{tmp}/*/*.parquet')",
        "SELECT * FROM read_parquet('{file}/../../secret.parquet')",
        "SELECT * FROM read_csv('https://example.com/x.csv')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''{tmp}/out.csv''')",
        "SELECT * FROM duckdb_secrets()",
    ],
)
def test_everything_but_reading_the_lake_is_refused_and_leaves_nothing(engine, lake, tmp_path, sql):
    pq.write_table(pa.table({"secret": [1]}), tmp_path / "secret.parquet")
    before = sorted(tmp_path.rglob("*"))
    text_ = sql.format(tmp=tmp_path, file=lake["silver.things"].files()[0].path)
    with pytest.raises(FixInputError) as error:
        engine.query(text_, lake).read_all()
    assert error.value.hint
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("sql", "where", "word"),
    [
        ("SELECT id,\n  nam FROM silver.things", "2:3", "nam"),
        ("SELECT *\nFROM silver.thing", "2:6", "thing"),
        ("SELECT sun(id) FROM silver.things", "1:8", "sun"),
        ("SELEC 1", "1:1", "SELEC"),
        ("SELECT " + "id, " * 60 + "foo, " + "id, " * 60 + "id FROM silver.things", "1:248", "foo"),
        ("SELECT 'é' AS e, foo FROM silver.things", "1:18", "foo"),
    ],
)
def test_a_mistake_has_line_and_column_and_a_hint(engine, lake, sql, where, word):
    for ask in (engine.query, engine.describe):
        with pytest.raises(FixInputError) as error:
            ask(sql, lake)
        assert error.value.where == where
        assert word in error.value.message
        assert error.value.hint


def test_an_error_while_running_is_an_input_error_too(engine, lake):
    with pytest.raises(FixInputError, match="Could not convert"):
        engine.query("SELECT CAST(name AS INTEGER) FROM silver.things", lake).read_all()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM silver.a, b JOIN gold.c USING (x)", ["b", "gold.c", "silver.a"]),
        ("WITH a AS (FROM silver.x), b AS (FROM a) SELECT * FROM b, c", ["c", "silver.x"]),
        ("WITH a AS (FROM a) FROM a", ["a"]),
        ("WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) FROM a", []),
        ("SELECT (SELECT max(x) FROM silver.a) FROM b WHERE EXISTS (FROM silver.c)", ["b", "silver.a", "silver.c"]),
        ("SELECT * FROM (WITH a AS (SELECT 1) FROM a), a", ["a"]),
        ('SELECT * FROM "silver"."odd name"', ["silver.odd name"]),
        ("FROM x UNION ALL FROM y", ["x", "y"]),
        ("SELECT 'from silver.no' -- from silver.never\n", []),
    ],
)
def test_references_are_the_tables_read_without_with_names(engine, sql, expected):
    assert list(engine.references(sql)) == expected


def test_references_of_a_mistake_name_its_place(engine):
    with pytest.raises(FixInputError) as error:
        engine.references("SELECT a,\nFROM WHERE")
    assert error.value.where == "2:6"


def test_a_model_gets_columns_that_the_lake_has_types_for(engine, lake, tmp_path):
    sql = """SELECT id, sum(id) AS hugeint, count(*)::UBIGINT AS u, id::TINYINT AS small, uuid() AS uid, NULL AS nothing,
        'a'::ENUM('a', 'b') AS e, '{}'::JSON AS j, [id] AS l, {'x': name} AS s, now() AS at, 1.5::DECIMAL(9,2) AS d
        FROM silver.things GROUP BY ALL ORDER BY id;"""
    schema = engine.describe(sql, lake)
    assert [str(f.type) for f in schema] == [
        "int64",
        "decimal128(38, 0)",
        "decimal128(20, 0)",
        "int32",
        "string",
        "string",
        "string",
        "string",
        "list<l: int64>",
        "struct<x: string>",
        "timestamp[us, tz=UTC]",
        "decimal128(9, 2)",
    ]
    (path,) = engine.derive(sql, lake, Output(str(tmp_path), schema, field_ids(schema)))
    written = pq.read_table(path).to_pylist()
    assert [(r["id"], r["hugeint"], r["e"], r["l"]) for r in written] == [(n, Decimal(n), "a", [n]) for n in (1, 2, 3)]


def test_a_model_without_rows_writes_no_file(engine, lake, tmp_path):
    schema = engine.describe("SELECT id FROM silver.things", lake)
    assert (
        list(engine.derive("SELECT id FROM silver.things WHERE false", lake, Output(str(tmp_path), schema, {}))) == []
    )


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT INTERVAL 1 DAY AS i", "INTERVAL"),
        ("SELECT id, name AS ID FROM silver.things", "id"),
        ("COPY (SELECT 1) TO 'x'", "COPY"),
    ],
)
def test_a_model_that_cannot_be_a_table_is_refused(engine, lake, sql, word):
    with pytest.raises(FixInputError, match=word) as error:
        engine.describe(sql, lake)
    assert error.value.hint


def test_a_table_is_read_by_field_ids_when_it_was_evolved(engine, tmp_path):
    old = pa.schema([pa.field("old", pa.int32(), metadata={b"PARQUET:field_id": b"1"})])
    pq.write_table(pa.table([pa.array([7], pa.int32())], schema=old), tmp_path / "f.parquet")
    from refine_rig import info

    schema = pa.schema([("renamed", pa.int64()), ("added", pa.string())])
    tables = {"silver.t": View("silver.t", schema, [info(str(tmp_path / "f.parquet"))])}
    assert rows(engine, "FROM silver.t", tables) == [{"renamed": 7, "added": None}]


@pytest.mark.parametrize("name", ["odd name", 'qu"ote', "select", "a;b"])
def test_table_names_are_names(engine, lake, name):
    tables = {f"silver.{name}": lake["silver.things"]}
    quoted = name.replace('"', '""')
    assert rows(engine, f'SELECT count(*) AS n FROM silver."{quoted}"', tables) == [{"n": 3}]


@pytest.mark.parametrize(("files", "gone"), [(1, 0), (2, 0), (2, 1)])
def test_a_file_that_is_cleaned_away_while_a_query_begins_is_told_as_gone_and_not_as_out_of_reach(
    engine, lake, monkeypatch, files, gone
):
    table = lake["silver.things"]
    if files == 2:
        other = table._files[0].path.replace(".parquet", "-2.parquet")
        shutil.copy(table._files[0].path, other)
        table._files.append(replace(table._files[0], path=other))
    path = table._files[gone].path
    sandboxed = query.sandbox

    def then_gone(*arguments):
        connection = sandboxed(*arguments)
        os.unlink(path)
        return connection

    monkeypatch.setattr(query, "sandbox", then_gone)
    with pytest.raises(StoreUnavailable, match="a data file is gone") as told:
        rows(engine, "SELECT * FROM silver.things", lake)
    assert path in str(told.value)


def test_what_is_no_file_of_the_lake_stays_out_of_reach_whether_it_is_there_or_not(engine, lake, tmp_path):
    for other in (tmp_path / "none.parquet", tmp_path):
        with pytest.raises(FixInputError, match="reaches outside the lake"):
            rows(engine, f"SELECT * FROM read_parquet('{other}'), silver.things", lake)
