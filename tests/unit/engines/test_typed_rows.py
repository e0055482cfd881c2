"""Typed bronze: exact or a reason, with every reason, whatever the source's types are."""

from __future__ import annotations

import json
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from refine_rig import AT_US, Rig, dataset, instant, integer, money, sql_rule, text

from headgate.contract.model import Field, Kind, Limits, Standardise, Type
from headgate.engines.duckdb.arrays import by_number
from headgate.engines.duckdb.typed import TypedDecoder
from headgate.errors import FixInputError
from headgate.ports.batch import INGESTED_AT, ODD, ODD_TYPE, OFFSET, PARTITION
from headgate.ports.engine import Span


def test_a_refused_row_tells_every_rule_that_it_breaks_with_field_and_value(tmp_path):
    fields = [
        integer("id", required=True),
        text("name", required=True, limits=Limits(pattern="^[a-z]+$", max_length=3)),
        money("price", required=True, limits=Limits(minimum=Decimal(0))),
    ]
    rig = Rig(
        tmp_path,
        dataset(fields, rules=(sql_rule("even", "id % 2 = 0"), sql_rule("loud", "name <> 'abc'", warning=True))),
    )
    rig.land(
        pa.table(
            {
                "id": [2, 1, 4],
                "name": ["abc", "ABCD", None],
                "price": pa.array([Decimal("1.50"), Decimal("-1.00"), Decimal("1.555")], pa.decimal128(10, 3)),
            }
        )
    )
    refined = rig.refine()
    found = {r[OFFSET]: [(x["rule"], x["field"], x["value"]) for x in r["reasons"]] for r in rig.rows("quarantine")}
    assert found == {
        1: [
            ("name.max_length", "name", "ABCD"),
            ("name.pattern", "name", "ABCD"),
            ("price.minimum", "price", "-1.00"),
            ("even", None, None),
        ],
        2: [("price.type", "price", "1.555"), ("name.required", "name", None)],
    }
    assert refined.reasons == {
        "name.max_length": 1,
        "name.pattern": 1,
        "price.minimum": 1,
        "even": 1,
        "price.type": 1,
        "name.required": 1,
    }
    assert refined.warnings == {"loud": 1}


def test_a_value_that_the_source_type_could_not_hold_is_judged_from_its_text(tmp_path):
    rig = Rig(tmp_path, dataset([integer("id"), money("price", 38, 2), instant("at")]))
    odd = [None, [("price", "NaN")], [("at", "infinity"), ("price", "12.50")], [("price", "1" * 30 + ".25")]]
    rig.land(
        pa.table(
            {
                "id": [1, 2, 3, 4],
                "price": pa.array([Decimal("1.00"), None, None, None], pa.decimal128(20, 2)),
                "at": pa.array([AT_US, AT_US, None, AT_US], pa.timestamp("us", "UTC")),
                ODD: pa.array(odd, ODD_TYPE),
            }
        )
    )
    rig.refine()
    assert [r["price"] for r in rig.rows("silver")] == [Decimal("1.00"), Decimal("1" * 30 + ".25")]
    kept = {r[OFFSET]: (json.loads(r["raw"]), [x["value"] for x in r["reasons"]]) for r in rig.rows("quarantine")}
    assert kept[1][1] == ["NaN"]
    assert kept[2][1] == ["infinity"]
    assert kept[1][0]["price"] == "NaN"
    assert kept[2][0] == {"id": 3, "price": "12.50", "at": "infinity"}


def test_standardising_and_transforms_happen_between_bronze_and_silver(tmp_path):
    fields = [
        text("country", standardise=(Standardise("trim"), Standardise("map", {"EIRE": "Ireland"}))),
        Field("total", Type(Kind.DECIMAL, precision=20, scale=2), transform="quantity * price"),
        integer("n", source="quantity"),
    ]
    rig = Rig(tmp_path, dataset(fields))
    rig.land(
        pa.table(
            {
                "country": [" EIRE ", "Spain"],
                "quantity": [2, 3],
                "price": pa.array([Decimal("1.50"), Decimal("2.25")], pa.decimal128(10, 2)),
            }
        )
    )
    rig.refine()
    assert [(r["country"], r["total"], r["n"]) for r in rig.rows("silver")] == [
        ("Ireland", Decimal("3.00"), 2),
        ("Spain", Decimal("6.75"), 3),
    ]


def test_a_transform_that_reads_an_odd_value_is_a_reason_not_a_null(tmp_path):
    total = Field("total", Type(Kind.DECIMAL, precision=20, scale=2), transform="coalesce(price, 0) * 2")
    label = Field("label", Type(Kind.STRING), transform="'about ' || coalesce(price::varchar, 'nothing')")
    rig = Rig(tmp_path, dataset([integer("id"), total, label]))
    odd = pa.array([None, [("price", "NaN")], [("other", "x")]], ODD_TYPE)
    price = pa.array([Decimal("1.50"), None, None], pa.decimal128(10, 2))
    rig.land(pa.table({"id": [1, 2, 3], "price": price, ODD: odd}))
    rig.refine()
    assert [(r["id"], r["label"]) for r in rig.rows("silver")] == [(1, "about 1.50"), (3, "about nothing")]
    (row,) = rig.rows("quarantine")
    assert [(x["rule"], x["value"]) for x in row["reasons"]] == [("total.type", "NaN"), ("label.type", "NaN")]


def test_a_transform_that_does_not_fit_its_source_is_an_error_with_the_columns_there_are(tmp_path):
    rig = Rig(tmp_path, dataset([integer("n", transform="quantitty * 2")]))
    rig.land(pa.table({"quantity": [1]}))
    with pytest.raises(FixInputError) as error:
        rig.refine()
    assert "quantitty" in str(error.value)
    assert error.value.hint == "source columns: quantity"


def test_a_rule_that_fails_on_a_row_is_the_contracts_error_with_a_hint(tmp_path):
    rig = Rig(tmp_path, dataset([text("a")], rules=(sql_rule("number", "CAST(a AS INTEGER) > 0"),)))
    rig.land(pa.table({"a": ["1", "x"]}))
    with pytest.raises(FixInputError, match="fails on some row") as error:
        rig.refine()
    assert "TRY_CAST" in error.value.hint


def test_a_column_that_older_bronze_files_lack_is_null_there(tmp_path):
    rig = Rig(tmp_path, dataset([integer("a"), text("b")]))
    rig.land(pa.table({"a": [1]}))
    rig.land(pa.table({"a": [2], "b": ["x"]}))
    rig.refine()
    assert [(r["a"], r["b"]) for r in rig.rows("silver")] == [(1, None), (2, "x")]


def test_rows_outside_the_spans_are_never_judged(tmp_path):
    rig = Rig(tmp_path, dataset([integer("a")]))
    rig.land(pa.table({"a": list(range(100))}), "p", row_group_size=10)
    rig.land(pa.table({"a": list(range(100))}), "q", row_group_size=10)
    rig.apply(rig.engine.refine(rig.job([Span("p", 15, 37), Span("q", 99, 100)])))
    assert [(r[PARTITION], r["a"]) for r in rig.rows("silver")] == [("p", n) for n in range(15, 37)] + [("q", 99)]


def test_only_named_coordinates_are_judged_in_a_replay(tmp_path):
    rig = Rig(tmp_path, dataset([integer("a")]))
    rig.land(pa.table({"a": list(range(100))}), row_group_size=10)
    only = pa.table({PARTITION: ["p"] * 3, OFFSET: [3, 55, 99]})
    refined = rig.engine.refine(rig.job([Span("p", 0, 60)], only=only))
    assert refined.verdicts["p"]["accepted"] == 2


def test_an_empty_job_writes_nothing(tmp_path):
    rig = Rig(tmp_path, dataset([integer("a")]))
    rig.land(pa.table({"a": [1]}))
    refined = rig.engine.refine(rig.job([Span("p", 5, 9)]))
    assert refined.added == {}
    assert refined.verdicts == {}


def test_quarantine_and_ledger_rows_say_who_judged_when_and_by_which_contract(tmp_path):
    rig = Rig(tmp_path, dataset([integer("a", required=True, key_position=1)], key=("a",)))
    rig.land(pa.table({"a": [None, 1, 1]}))
    rig.refine()
    (quarantined,), (lost,) = rig.rows("quarantine"), rig.rows("ledger")
    assert (quarantined["contract_version"], quarantined["run_id"]) == ("1.0.0", "run-1")
    assert quarantined[INGESTED_AT].timestamp() * 1e6 == AT_US
    assert (lost["run_id"], lost["by_partition"], lost["by_offset"], lost["verdict"]) == ("run-1", "p", 1, "duplicate")


def test_the_same_content_has_the_same_checksum_whatever_the_source_types_were(tmp_path):
    fields = [integer("a"), money("b"), instant("c"), text("d"), Field("e", Type(Kind.NUMBER))]
    typed, textual = Rig(tmp_path / "1", dataset(fields)), Rig(tmp_path / "2", dataset(fields))
    typed.land(
        pa.table(
            {
                "a": pa.array([1], pa.int32()),
                "b": pa.array([Decimal("1.5")], pa.decimal128(9, 1)),
                "c": pa.array([AT_US], pa.timestamp("us", "UTC")),
                "d": pa.array(["x"], pa.large_string()),
                "e": [-0.0],
            }
        )
    )
    textual.land(pa.table({"a": ["1"], "b": ["1.50"], "c": ["2026-09-21T14:13:20Z"], "d": ["x"], "e": ["0"]}))
    typed.refine()
    textual.refine()
    assert typed.rows("silver")[0]["c"] == textual.rows("silver")[0]["c"]
    assert typed.checksum == textual.checksum != 0


def rows_in_chunks(*sizes):
    """Rows of bronze whose columns have chunks of these sizes; in every other the value is not known."""
    tables, at = [], 0
    for size in sizes:
        numbers = range(at, at + size)
        columns = {
            PARTITION: pa.array(["p"] * size),
            OFFSET: pa.array(numbers),
            "id": pa.array(numbers),
            "v": pa.array([f"x{n % 90}" if n % 2 else f"no {n}" for n in numbers]),
            INGESTED_AT: pa.array([AT_US] * size, pa.timestamp("us", "UTC")),
        }
        tables.append(pa.table(columns))
        at += size
    return pa.concat_tables(tables)


KNOWN = ", ".join(f"'x{n}'" for n in range(100))
ONE_OF_MANY = dataset(
    [integer("id", required=True, key_position=1), text("v")],
    key=("id",),
    rules=(sql_rule("known", f"v IN ({KNOWN})", field="v"),),
)


def test_rows_stay_with_their_verdicts_where_the_engine_gives_some_of_them_last():
    """DuckDB makes IN of many values a join, and with one thread gives the small rest of each chunk at the very end."""
    with duckdb.connect(config={"threads": 1}) as connection:
        decoder = TypedDecoder(connection, ONE_OF_MANY)
        decoded = decoder.decode(rows_in_chunks(4125, 3395, 2048, 29, 4096))
        assert decoded.rows["id"].to_pylist() == list(range(13_693))
        assert decoded.keep.tolist() == [n % 2 == 1 for n in range(13_693)]
        assert decoder.waiting == 6847


def test_refused_rows_have_their_own_reasons_where_the_engine_gives_some_of_them_last():
    with duckdb.connect(config={"threads": 1}) as connection:
        decoder = TypedDecoder(connection, ONE_OF_MANY)
        for size in (8350, 8200, 6000):  # half of them wait, in chunks of 4,175, 4,100 and 3,000
            decoder.decode(rows_in_chunks(size))
        refused = decoder.careful_rest().refused
        assert refused.num_rows == 11_275
        for offset, reasons in zip(refused[OFFSET].to_pylist(), refused["reasons"].to_pylist(), strict=True):
            assert [(one["rule"], one["value"]) for one in reasons] == [("known", f"no {offset}")]


def test_rows_that_the_engine_really_loses_or_doubles_stop_the_job():
    rows = pa.table({"n": [0, 3, 1, 2], "v": ["a", "d", "b", "c"]})
    assert by_number(rows, "n", np.arange(4))["v"].to_pylist() == ["a", "b", "c", "d"]
    assert by_number(rows, "n", np.arange(5)) is None
    assert by_number(rows, "n", np.arange(3)) is None
    assert by_number(pa.table({"n": [0, 1, 1, 3]}), "n", np.arange(4)) is None
