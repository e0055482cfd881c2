"""Texts that repeat are read, held and written as dictionaries, and no value depends on it."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refine_rig import AT_US, Rig, dataset, instant, integer, money, text

from headgate.contract.model import Limits, Rule, Standardise
from headgate.engines.duckdb import output, pieces, pool, typed
from headgate.engines.duckdb.dictionaries import as_in, fitted, plain, together
from headgate.engines.duckdb.pieces import plan_pieces, read_piece
from headgate.ports.batch import OFFSET, PARTITION

FIELDS = [
    integer("id", required=True, key_position=1),
    instant("at", required=True, partition="year"),
    text("kind", required=True, enum=("a", "b", "c", "é")),
    text("place", limits=Limits(max_length=9)),
    text("note", limits=Limits(pattern="^n")),
    text("name", standardise=(Standardise("trim"),)),
    text("area", partition="identity"),
    money("price"),
]
DROP = Rule("tests", "sql", None, "place = 'place 3'")
KEYED = {"key": ("id",), "order": ("at",)}


def rows(rng, count):
    """Rows of which some break rules; most texts repeat, notes do not."""
    year = 366 * 86_400_000_000

    def some(*values):
        return [rng.choice(values) for _ in range(count)]

    return pa.table(
        {
            "id": [rng.choice((n, n, n, n // 2)) for n in range(count)],
            "at": pa.array([AT_US + rng.choice((0, 0, 1)) * year + n for n in range(count)], pa.timestamp("us", "UTC")),
            "kind": some("a", "b", "é", "a", "a", "b", "z", None),
            "place": [rng.choice((None, f"place {rng.randrange(20)}")) for _ in range(count)],
            "note": [rng.choice(("n", "n", "m")) + str(n) for n in range(count)],
            "name": some(" x", "y ", "z"),
            "area": some("north", "south", None),
            "price": pa.array([1] * count, pa.decimal128(12, 2)),
        }
    )


def outcome(folder, data, how, **settings):
    """All tables, without what differs from run to run."""
    rig = Rig(folder, dataset(FIELDS, drops=(DROP,), **how), **settings)
    for number, one in enumerate(data):
        rig.land(one, row_group_size=(70, 300)[number % 2], use_dictionary=number != 1)
        rig.refine()
    own = {"run_id", "judged_at", "quarantined_at"}
    return {
        layer: rig.table(layer).drop_columns([n for n in own if n in rig.schemas[layer].names]) for layer in rig.files
    }


@pytest.mark.parametrize("how", [KEYED, {"history": "append"}], ids=["keyed", "append"])
@pytest.mark.parametrize("seed", [1, 2])
def test_dictionaries_change_no_value_no_reason_and_no_verdict(tmp_path, monkeypatch, how, seed):
    rng = random.Random(seed)
    data = [rows(rng, count) for count in (900, 400, 1200)]
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4096)
    monkeypatch.setattr(output, "ROWS_PER_GROUP", 100)
    with monkeypatch.context() as without:
        without.setattr(pieces, "kept_as_dictionary", lambda *_: set())
        expected = outcome(tmp_path / "plain", data, how, threads=1)
    assert all(table.num_rows > 10 for table in expected.values())
    assert outcome(tmp_path / "one", data, how, threads=1) == expected
    monkeypatch.setattr(pool, "THREADS_FROM_BYTES", 0)
    monkeypatch.setattr("headgate.engines.duckdb.worker.HOLD_SHARE", 2**40)  # every piece waits on disk
    monkeypatch.setattr(typed, "WAITING_BYTES", 2000)
    assert outcome(tmp_path / "several", data, how, threads=3) == expected


def test_texts_that_repeat_are_read_as_dictionaries_and_those_that_decide_are_not(tmp_path):
    rig = Rig(tmp_path, dataset(FIELDS, key=("id", "kind"), order=("at",)))
    job = rig.job([rig.land(rows(random.Random(1), 2000), row_group_size=500)])
    (piece,) = plan_pieces(job)
    table = read_piece(piece, job, None)
    read = {name for name in table.column_names if pa.types.is_dictionary(table[name].type)}
    assert read == {PARTITION, "place", "name"}  # every note is another
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in table["place"].chunks}) == 1


def test_a_dictionary_that_was_full_in_the_middle_of_a_row_group_loses_nothing(tmp_path):
    rig = Rig(tmp_path, dataset([integer("id"), text("place")]))
    places = [f"place {n // 3}" for n in range(6000)]
    span = rig.land(
        pa.table({"id": range(6000), "place": places}),
        row_group_size=6000,
        dictionary_pagesize_limit=4096,
        data_page_size=1024,
    )
    (piece,) = plan_pieces(rig.job([span]))
    assert "place" in piece.repeating
    rig.refine()
    assert rig.table("silver")["place"].to_pylist() == places


def test_silver_gets_no_values_that_no_row_of_its_file_has(tmp_path):
    places = ["everywhere"] * 3990 + [f"place {n}" for n in range(10)]
    years = [0] * 3990 + [1] * 10
    rig = Rig(tmp_path, dataset([integer("id"), instant("at", partition="year"), text("place")]))
    at = pa.array([AT_US + y * 400 * 86_400_000_000 for y in years], pa.timestamp("us", "UTC"))
    rig.land(pa.table({"id": range(4000), "at": at, "place": places}), row_group_size=4000)
    rig.refine()
    bounds = {(f.lower["place"], f.upper["place"]) for f in rig.files["silver"]}
    assert bounds == {("everywhere", "everywhere"), ("place 0", "place 9")}
    assert rig.table("silver")["place"].to_pylist() == places


def test_few_rows_do_not_carry_many_values_along():
    column = pa.chunked_array([pa.array([f"{n}" for n in range(100)]).dictionary_encode()])
    many = pa.chunked_array([column.chunk(0).take(pa.array(np.arange(400) % 100))])
    assert fitted(many, pa.string()).type == many.type
    assert fitted(column.slice(7, 2), pa.string()).equals(pa.chunked_array([["7", "8"]]))
    assert fitted(many, pa.large_string()).type == pa.large_string()


def test_tables_with_other_dictionaries_or_none_go_together():
    one, other = (pa.table({"t": pa.array(values).dictionary_encode()}) for values in (["a", "b"], ["b", None]))
    both = together([one, other])
    assert both["t"].to_pylist() == ["a", "b", "b", None]
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in both["t"].chunks}) == 1
    mixed = together([one, plain(other)])
    assert mixed["t"].type == pa.string()
    assert mixed["t"].to_pylist() == ["a", "b", "b", None]
    assert as_in(mixed, one.schema)["t"].to_pylist() == ["a", "b", "b", None]


def test_a_file_has_one_kind_of_column_whatever_comes_later(tmp_path):
    """Row groups of a file may come with dictionaries or without."""
    schema = pa.schema([pa.field("t", pa.string()), pa.field(OFFSET, pa.int64())])
    dictionary = pa.array(["a", "b"] * 50).dictionary_encode()
    for first, second in ((dictionary, dictionary.cast(pa.string())), (dictionary.cast(pa.string()), dictionary)):
        path = tmp_path / str(first.type)[:3]
        path.mkdir()
        writer = output.TableWriter(output.Output(str(path), schema, {}))
        for column in (first, second):
            writer.write(pa.table({"t": column, OFFSET: range(100)}))
            writer.flush()
        (written,) = writer.close()
        assert pq.read_table(written.path)["t"].to_pylist() == ["a", "b"] * 100
        assert pq.read_schema(written.path).field("t").type == pa.string()
