"""Every value arrives exactly, or is odd: NULL in its column and PostgreSQL's own text beside it. Nothing else."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from headgate.ports.batch import Position
from rigs.postgres import built_with
from rigs.postgres_landing import Landing


class Odd(str):
    """The text expected in `_hg_odd`."""

    __slots__ = ()


D = Decimal
NAN = float("nan")
CASES = {
    "numeric(10,2)": [("1.23", D("1.23")), (None, None), ("-99999999.99", D("-99999999.99")), ("NaN", Odd("NaN"))],
    "numeric(5,0)": [("12345", D(12345)), ("-0", D(0))],
    "numeric(5,-2)": [("1234567", "1234600")],
    "numeric(3,5)": [("0.00123", "0.00123")],
    "numeric(38,10)": [("1234567890123456789012345678.0123456789", D("1234567890123456789012345678.0123456789"))],
    "numeric(38,18)": [("12345678901234567890.012345678901234567", D("12345678901234567890.012345678901234567"))],
    "numeric(38,38)": [("0.00000000000000000000000000000000000001", D("1E-38"))],
    "numeric(50,10)": [("1" * 40 + ".0123456789", "1" * 40 + ".0123456789")],
    "numeric": [
        ("1.50", "1.50"),
        ("0.000000000000000000001", "0.000000000000000000001"),
        ("12345678901234567890123456789012345678901234567890.5",) * 2,
        ("Infinity", "Infinity"),
        ("NaN", "NaN"),
        (None, None),
    ],
    "int2": [("32767", 32767), ("-32768", -32768), (None, None)],
    "int4": [("2147483647", 2**31 - 1), ("-2147483648", -(2**31))],
    "int8": [("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), (None, None)],
    "float4": [
        ("3.4028235e38", 3.4028234663852886e38),
        ("1e-45", 1.401298464324817e-45),
        ("NaN", NAN),
        ("0.1", 0.10000000149011612),
    ],
    "float8": [
        ("NaN", NAN),
        ("-Infinity", -math.inf),
        ("Infinity", math.inf),
        ("1e308", 1e308),
        ("0.1", 0.1),
        ("5e-324", 5e-324),
        ("-0", -0.0),
        ("0.30000000000000004", 0.30000000000000004),
    ],
    "bool": [("t", True), (None, None), ("f", False)],
    "text": [
        ("line1\nline2",) * 2,
        ('q"u,o',) * 2,
        ("", ""),
        (None, None),
        ("\\N",) * 2,
        ("\\.",) * 2,
        ("é😀",) * 2,
        ("NULL",) * 2,
        ("a\r\nb\r",) * 2,
        ('"',) * 2,
        ('""\n"',) * 2,
        (" x ",) * 2,
        ("t",) * 2,
        ("\t\v\x01",) * 2,
    ],
    "varchar(3)": [("abc", "abc"), ("", "")],
    "char(5)": [("ab", "ab   "), ("", "     ")],
    "name": [("abc", "abc")],
    '"char"': [("a", "a")],
    "date": [
        ("2026-01-01", date(2026, 1, 1)),
        ("0001-01-01", date(1, 1, 1)),
        ("9999-12-31", date(9999, 12, 31)),
        ("infinity", Odd("infinity")),
        ("-infinity", Odd("-infinity")),
        ("0044-03-15 BC", Odd("0044-03-15 BC")),
        ("20000-01-01", Odd("20000-01-01")),
        (None, None),
    ],
    "timestamp": [
        ("2026-01-01 01:02:03.000001", datetime(2026, 1, 1, 1, 2, 3, 1)),
        ("9999-12-31 23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("20000-01-01 00:00:00", Odd("20000-01-01 00:00:00")),
        ("infinity", Odd("infinity")),
        ("0044-03-15 10:00 BC", Odd("0044-03-15 10:00:00 BC")),
        ("0001-01-01", datetime(1, 1, 1)),
    ],
    "timestamptz": [
        ("2026-03-29 01:30:00.123456+02", datetime(2026, 3, 28, 23, 30, 0, 123456, UTC)),
        ("1883-11-18 12:03:58-04:56:02", datetime(1883, 11, 18, 17, 0, 0, 0, UTC)),
        (None, None),
        ("infinity", Odd("infinity")),
        ("-infinity", Odd("-infinity")),
    ],
    "time": [
        ("24:00:00", Odd("24:00:00")),
        ("01:02:03.000004", time(1, 2, 3, 4)),
        ("23:59:59.9", time(23, 59, 59, 900000)),
        (None, None),
    ],
    "timetz": [("01:02:03+05", "01:02:03+05")],
    "interval": [("1 mon 2 days 03:04:05.6", "1 mon 2 days 03:04:05.6"), ("-1 day", "-1 days")],
    "bytea": [("\\x00ff10", b"\x00\xff\x10"), (None, None), ("\\x", b"")],
    "uuid": [("A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), (None, None)],
    "json": [('{"a":  1.0}', '{"a":  1.0}'), ("null", "null"), (None, None)],
    "jsonb": [
        ('{"a": 1.0, "n": null, "big": 12345678901234567890}',) * 2,
        ("null", "null"),
        (None, None),
        ('"null"', '"null"'),
    ],
    "int[]": [("{1,NULL,3}",) * 2, ("{}", "{}"), (None, None), ("{{1,2},{3,4}}",) * 2],
    "text[]": [('{"a,b","q\\"x",NULL,"NULL"}',) * 2],
    "numeric(10,2)[]": [("{1.50,2.25}",) * 2],
    "money": [("12.34", "$12.34"), ("-1234.5", "-$1,234.50")],
    "inet": [("10.0.0.1/8", "10.0.0.1/8")],
    "cidr": [("10.0.0.0/8", "10.0.0.0/8")],
    "macaddr": [("08:00:2b:01:02:03",) * 2],
    "bit(4)": [("1010", "1010")],
    "varbit": [("1010", "1010"), ("", "")],
    "int4range": [("[1,5)", "[1,5)"), ("empty", "empty")],
    "tstzrange": [("[2026-01-01 00:00+00,)", '["2026-01-01 00:00:00+00",)')],
    "xml": [("<a>1</a>", "<a>1</a>")],
    "point": [("(1,2)", "(1,2)")],
    "tsvector": [("a b", "'a' 'b'")],
    "oid": [("4294967295", "4294967295")],
    "public.mood": [("sad", "sad"), (None, None)],
    "public.price": [("1.50", D("1.50")), ("NaN", Odd("NaN"))],
    "public.pair": [('(1,"x y")',) * 2],
}
ARROW = {
    "numeric(10,2)": pa.decimal128(10, 2),
    "int2": pa.int32(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "bytea": pa.binary(),
    "public.price": pa.decimal128(8, 2),
}


@pytest.fixture
def typed(database):
    database.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS numeric(8,2); CREATE DOMAIN price AS positive;"
        "CREATE TYPE pair AS (a int, b text);"
        f"ALTER DATABASE {database.name} SET timezone = 'Asia/Kolkata';"
        f"ALTER DATABASE {database.name} SET datestyle = 'German, DMY';"
        f"ALTER DATABASE {database.name} SET intervalstyle = 'iso_8601';"
        f"ALTER DATABASE {database.name} SET extra_float_digits = -10;"
        f"ALTER DATABASE {database.name} SET bytea_output = 'escape'"
    )
    return database


def same(got, want) -> bool:
    if isinstance(want, float):
        return (
            math.isnan(got) if math.isnan(want) else (got == want and math.copysign(1, got) == math.copysign(1, want))
        )
    return type(got) is type(want) and got == want


@pytest.mark.parametrize("type_name", CASES)
@pytest.mark.parametrize("way", ["first read", "later read"])
def test_every_value_is_exact_or_odd(typed, type_name, way):
    if type_name == "xml" and not built_with("libxml"):
        pytest.skip("this PostgreSQL was built without xml")
    typed.run(f"CREATE TABLE t (id int PRIMARY KEY, v {type_name}, other text)")
    landing = Landing(typed)
    if way == "later read":
        landing.run()
    typed.run("SET datestyle = 'ISO, YMD'")
    for number, (text, _) in enumerate(CASES[type_name]):
        typed.run(f"INSERT INTO t VALUES (%s, %s::text::{type_name}, 'x')", (number, text))
    assert landing.run() == len(CASES[type_name])
    for row in landing.rows:
        want = CASES[type_name][row["id"]][1]
        assert row["other"] == "x"
        if isinstance(want, Odd):
            assert (row["v"], row["_hg_odd"]) == (None, [("v", str(want))])
        else:
            assert same(row["v"], want), (row["v"], want)
            assert row["_hg_odd"] is None
    assert landing.source().schema().field("v").type == ARROW.get(type_name, landing.source().schema().field("v").type)


def test_odd_values_in_several_columns_stand_beside_good_ones(database):
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, a numeric(4,1), b date, c timestamptz, d text);"
        "INSERT INTO t SELECT i, CASE WHEN i % 7 = 0 THEN 'NaN' ELSE (i % 100)::text END::numeric(4,1),"
        " CASE WHEN i % 11 = 0 THEN 'infinity' ELSE '2026-01-01' END::date,"
        " CASE WHEN i % 13 = 0 THEN '-infinity' ELSE '2026-01-01 00:00+00' END::timestamptz, repeat('y', 50)"
        " FROM generate_series(1, 3000) i"
    )
    landing = Landing(database, block="16 KiB")
    assert landing.run() == 3000
    for row in landing.rows:
        odd = dict(row["_hg_odd"] or ())
        assert odd.get("a") == ("NaN" if row["id"] % 7 == 0 else None)
        assert odd.get("b") == ("infinity" if row["id"] % 11 == 0 else None)
        assert odd.get("c") == ("-infinity" if row["id"] % 13 == 0 else None)
        assert row["a"] == (None if "a" in odd else D(row["id"] % 100))
        assert row["b"] == (None if "b" in odd else date(2026, 1, 1))


def test_a_table_of_one_column_keeps_its_null_and_empty_rows(database):
    database.run("CREATE TABLE t (v text); INSERT INTO t VALUES (NULL), (''), (NULL), ('x'), (E'\\n'), (NULL)")
    landing = Landing(database, key=())
    landing.run()
    assert landing.versions("v") == [(None,), ("",), (None,), ("x",), ("\n",), (None,)]


def test_a_value_larger_than_a_block_arrives_whole(database):
    database.run("CREATE TABLE t (id int PRIMARY KEY, v text, b bytea)")
    database.run(
        "INSERT INTO t VALUES (1, repeat(E'a\"\\n', 100000), decode(repeat('00ff', 100000), 'hex')), (2, 'x', '')"
    )
    landing = Landing(database, block="4 KiB")
    landing.run()
    assert landing.versions("id", "v", "b") == [(1, 'a"\n' * 100000, b"\x00\xff" * 100000), (2, "x", b"")]


def test_names_with_quotes_spaces_and_unicode_work(database):
    database.run(
        'CREATE SCHEMA "S ""x"; CREATE TABLE "S ""x"."tä.b""le ; DROP" ("i d" int PRIMARY KEY, "sel""ect" text, "naïve%s" text,'
        ' "Updated At" timestamptz DEFAULT now()); INSERT INTO "S ""x"."tä.b""le ; DROP" VALUES (1, \'a\', \'b\')'
    )
    table = 'tä.b"le ; DROP'

    class InSchema(type(database)):
        @property
        def options(self):
            return {**super().options, "schema": 'S "x'}

    database.__class__ = InSchema
    landing = Landing(database, table, watermark="Updated At")
    landing.run()
    assert landing.versions("i d", 'sel"ect', "naïve%s", "_hg_partition") == [(1, "a", "b", f'S "x.{table}')]
    database.run('UPDATE "S ""x"."tä.b""le ; DROP" SET "sel""ect" = \'c\'')
    assert landing.run() == 1


def test_bytes_that_are_not_text_are_odd(postgres_server):
    """A database of encoding SQL_ASCII holds any bytes; such a value is told by its hexadecimal digits."""
    postgres_server._admin("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    from rigs.postgres import Database

    database = Database(postgres_server, "ascii")
    try:
        database.run(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, E'\\xff\\x41'), (2, 'good')"
        )
        landing = Landing(database)
        landing.run()
        assert landing.versions("id", "v", "_hg_odd") == [(1, None, [("v", "\\xff41")]), (2, "good", None)]
    finally:
        database.close()
        postgres_server._admin("DROP DATABASE ascii WITH (FORCE)")


def test_only_the_columns_that_the_contract_names_are_read(database):
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, secret text, v text, at timestamptz); CREATE INDEX ON t (at);"
        "INSERT INTO t VALUES (1, 'canary', 'x', now())"
    )
    landing = Landing(database, watermark="at")
    fields = tuple(one for one in landing.dataset.fields if one.name == "v")
    object.__setattr__(landing.dataset, "fields", fields)
    object.__setattr__(landing.dataset, "key", ())
    source = landing.source()
    assert source.schema().names == ["_hg_partition", "_hg_offset", "_hg_version", "v", "at", "_hg_odd"]
    rows = [row for batch in source.read(Position.start()) for row in batch.rows.to_pylist()]
    source.close()
    assert "canary" not in repr(rows)
