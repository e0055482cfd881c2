"""A live table as contract fields."""

from __future__ import annotations

from headgate.contract.model import Kind, Limits, Type
from headgate.sources.postgres import discover


def test_types_keys_nullability_and_comments_are_found(database):
    database.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN price AS numeric(8,2) NOT NULL;"
        "CREATE TABLE t (b int, a bigint, v varchar(7), m mood, p price, u uuid UNIQUE NOT NULL, j jsonb, r real,"
        " created_at timestamptz, at timestamp, modified_at timestamptz, updated_at date, PRIMARY KEY (a, b));"
        "CREATE INDEX ON t (modified_at); COMMENT ON TABLE t IS 'A table'; COMMENT ON COLUMN t.v IS 'A word'"
    )
    found = discover(database.options, "t")
    fields = {one.name: one for one in found.fields}
    assert list(fields) == ["b", "a", "v", "m", "p", "u", "j", "r", "created_at", "at", "modified_at", "updated_at"]
    assert (fields["a"].key_position, fields["b"].key_position, fields["v"].key_position) == (1, 2, None)
    assert [name for name, one in fields.items() if one.required] == ["b", "a", "p", "u"]
    assert [name for name, one in fields.items() if one.unique] == ["u"]
    assert fields["b"].type == Type(Kind.INTEGER, bits=32)
    assert fields["p"].type == Type(Kind.DECIMAL, precision=8, scale=2)
    assert fields["r"].type == Type(Kind.NUMBER, bits=32)
    assert fields["modified_at"].type == Type(Kind.TIMESTAMP, zoned=True)
    assert fields["at"].type == Type(Kind.TIMESTAMP)
    assert fields["j"].type == Type(Kind.STRING)
    assert fields["v"].limits == Limits(max_length=7)
    assert fields["u"].limits == Limits(format="uuid")
    assert fields["m"].enum == ("sad", "ok")
    assert fields["v"].description == "A word"
    assert found.description == "A table"
    assert found.physical_types["v"] == "character varying(7)"
    assert found.watermark == "modified_at", "the indexed one"


def test_a_unique_index_stands_in_for_a_primary_key_only_without_nulls(database):
    database.run("CREATE TABLE t (a int UNIQUE, b int NOT NULL UNIQUE, c int NOT NULL)")
    database.run("CREATE TABLE u (a int UNIQUE, b int NOT NULL); CREATE UNIQUE INDEX ON u (b) WHERE a > 0")
    assert [one.key_position for one in discover(database.options, "t").fields] == [None, 1, None]
    assert [one.key_position for one in discover(database.options, "u").fields] == [None, None]
    assert discover(database.options, "u").watermark is None
