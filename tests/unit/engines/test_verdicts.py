"""Who wins: the engine against a slow and obvious model, over histories cut into jobs in every way."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refine_rig import Rig, dataset, integer, sql_rule, text

from headgate.engines.duckdb import rewrite
from headgate.ports.batch import OFFSET, PARTITION, VERSION
from headgate.ports.engine import VERDICTS


@dataclass(frozen=True)
class Row:
    key: int
    order: int | None
    content: str
    good: bool
    partition: str = "p"
    offset: int = -1

    @property
    def place(self):
        return (self.partition, self.offset)


class Model:
    """Every rule written out, one row at a time."""

    def __init__(self):
        self.silver: dict[int, Row] = {}
        self.quarantine: set = set()
        self.ledger: dict = {}  # place -> (verdict, place of the winner)

    def judge(self, rows):
        good: dict[int, list[Row]] = {}
        for row in rows:
            if row.good:
                good.setdefault(row.key, []).append(row)
            else:
                self.quarantine.add(row.place)
        for key, rivals in good.items():
            self._decide(key, rivals)

    def _decide(self, key, rivals):
        held = self.silver.get(key)
        last = {row.place: row.place for row in rivals}
        if held is not None:
            copies = [
                place for place, (verdict, by) in self.ledger.items() if verdict == "duplicate" and by == held.place
            ]
            last[held.place] = max([held.place, *copies])
            rivals = [*rivals, held]
        newest = max((r.order is not None, r.order or 0) for r in rivals)
        top = [r for r in rivals if (r.order is not None, r.order or 0) == newest]
        winner = max(top, key=lambda r: last[r.place])
        others = [last[r.place] for r in top if r.content != winner.content]
        run = [r for r in top if r.content == winner.content and (not others or last[r.place] > max(others))]
        accepted = held if held in run else min(run, key=lambda r: r.place)
        for row in rivals:
            if row is not accepted:
                same = row in top and row.content == winner.content
                self.ledger[row.place] = ("duplicate" if same else "superseded", accepted.place)
        self.silver[key] = accepted


DATASET = dataset(
    [integer("k", required=True, key_position=1), integer("o"), text("v", required=True)],
    key=("k",),
    order=("o",),
    rules=(sql_rule("good", "v <> 'bad'", field="v"),),
)

histories = st.lists(
    st.builds(
        Row,
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(0, 2)),
        st.sampled_from(["a", "b"]),
        st.sampled_from([True] * 5 + [False]),
    ),
    min_size=1,
    max_size=14,
)


def table(rows):
    return pa.table(
        {
            "k": pa.array([r.key for r in rows], pa.int64()),
            "o": pa.array([r.order for r in rows], pa.int64()),
            "v": pa.array([r.content if r.good else "bad" for r in rows], pa.string()),
        }
    )


def placed(rows, partition, start):
    return [Row(r.key, r.order, r.content, r.good, partition, start + n) for n, r in enumerate(rows)]


def silver_of(rig):
    return {(r[PARTITION], r[OFFSET]): (r["k"], r["o"], r["v"]) for r in rig.rows("silver")}


def quarantine_of(rig):
    return {(r[PARTITION], r[OFFSET]) for r in rig.rows("quarantine")}


def ledger_of(rig):
    return {(r[PARTITION], r[OFFSET]): (r["verdict"], (r["by_partition"], r["by_offset"])) for r in rig.rows("ledger")}


def agrees(rig, model):
    assert silver_of(rig) == {r.place: (r.key, r.order, r.content) for r in model.silver.values()}
    assert quarantine_of(rig) == model.quarantine
    assert ledger_of(rig) == model.ledger


def conserves(rig):
    """Every bronze row stands in exactly one of silver, quarantine and ledger."""
    places = [*silver_of(rig), *quarantine_of(rig), *ledger_of(rig)]
    layers = sum(rig.table(layer).num_rows for layer in ("silver", "quarantine", "ledger"))
    assert len(set(places)) == layers == sum(rig.judged.values())


def run(rig, batches, partition="p"):
    model, at = Model(), rig.offsets.get(partition, 0)
    for batch in batches:
        rig.land(table(batch), partition)
        rows = placed(batch, partition, at)
        at += len(batch)
        refined = rig.refine()
        model.judge(rows)
        assert sum(refined.verdicts[partition].values()) == len(batch)
        assert set(refined.verdicts[partition]) == set(VERDICTS)
    return model


def cut(rows, at):
    edges = sorted({0, len(rows), *(min(a, len(rows)) for a in at)})
    return [rows[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@settings(max_examples=25, deadline=None)
@given(histories, st.lists(st.integers(1, 13), max_size=4))
def test_any_cut_of_any_history_agrees_with_the_model_and_with_one_single_job(rows, at):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as many:
        cut_up, whole = Rig(many, DATASET), Rig(one, DATASET)
        agrees(cut_up, run(cut_up, cut(rows, at)))
        agrees(whole, run(whole, [rows]))
        assert silver_of(cut_up) == silver_of(whole)
        assert quarantine_of(cut_up) == quarantine_of(whole)
        assert ledger_of(cut_up).keys() == ledger_of(whole).keys()
        assert cut_up.checksum == whole.checksum
        assert cut_up.silver_rows == whole.silver_rows == len(silver_of(whole))
        conserves(cut_up)
        conserves(whole)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pq"), histories), min_size=1, max_size=4))
def test_ties_between_partitions_go_to_the_greatest_position_whenever_they_arrive(batches):
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        rig, whole, model = Rig(folder, DATASET), Rig(other, DATASET), Model()
        at = {"p": 0, "q": 0}
        for partition, rows in batches:
            rig.land(table(rows), partition)
            whole.land(table(rows), partition)
            rig.refine()
            model.judge(placed(rows, partition, at[partition]))
            at[partition] += len(rows)
        agrees(rig, model)
        whole.refine()
        assert sorted(map(str, silver_of(rig).values())) == sorted(map(str, silver_of(whole).values()))
        assert rig.checksum == whole.checksum
        conserves(rig)


@settings(max_examples=15, deadline=None)
@given(histories, st.lists(st.integers(1, 13), max_size=3))
def test_a_replay_under_a_corrected_contract_holds_what_a_rebuild_would(rows, at):
    corrected = dataset(DATASET.fields, key=("k",), order=("o",))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        rig, rebuilt = Rig(folder, DATASET), Rig(other, corrected)
        for batch in cut(rows, at):
            rig.land(table(batch))
            rig.refine()
            rebuilt.land(table(batch))
        rebuilt.refine()
        rig.dataset = corrected
        if quarantine_of(rig):
            rig.replay()
            assert not quarantine_of(rig)
        assert sorted(map(str, silver_of(rig).values())) == sorted(map(str, silver_of(rebuilt).values()))
        assert rig.checksum == rebuilt.checksum
        conserves(rig)


def test_a_row_version_read_twice_is_a_duplicate_and_equal_rows_are_all_kept(tmp_path):
    rig = Rig(tmp_path, dataset([text("v")], history="append"), versioned=True)
    rig.land(pa.table({"v": ["x", "x", "x"], VERSION: ["1:0:1", "1:0:2", "1:0:1"]}))
    refined = rig.refine()
    assert refined.verdicts["p"]["accepted"] == 2
    assert refined.verdicts["p"]["duplicate"] == 1
    rig.land(pa.table({"v": ["x", "x"], VERSION: ["1:0:2", "1:0:3"]}))
    assert rig.refine().verdicts["p"] == {**dict.fromkeys(VERDICTS, 0), "accepted": 1, "duplicate": 1}
    assert [r[VERSION] for r in rig.rows("silver")] == ["1:0:1", "1:0:2", "1:0:3"]


def test_data_without_a_key_never_loses_equal_rows(tmp_path):
    rig = Rig(tmp_path, dataset([text("v")]))
    rig.land(pa.table({"v": ["x"] * 5}))
    rig.refine()
    rig.land(pa.table({"v": ["x"] * 3}))
    rig.refine()
    assert len(rig.rows("silver")) == 8
    assert rig.files["ledger"] == []


def test_a_composite_key_with_nulls_and_text_is_compared_exactly(tmp_path):
    fields = [text("a", key_position=1), integer("b", key_position=2), text("v")]
    rig = Rig(tmp_path, dataset(fields, key=("a", "b")))
    rows = pa.table({"a": ["x", "X", None, None, "x"], "b": [1, 1, None, None, 1], "v": ["1", "2", "3", "4", "5"]})
    rig.land(rows)
    rig.refine()
    assert sorted(r["v"] for r in rig.rows("silver")) == ["2", "4", "5"]
    rig.land(pa.table({"a": [None, "x"], "b": pa.array([None, 1]), "v": ["6", "5"]}))
    rig.refine()
    assert sorted(r["v"] for r in rig.rows("silver")) == ["2", "5", "6"]


def test_silver_files_that_lose_rows_are_replaced_and_others_left_alone(tmp_path):
    rig = Rig(tmp_path, DATASET)
    for keys in ([1, 2], [3, 4]):
        rig.land(table([Row(k, 1, "a", True) for k in keys]))
        rig.refine()
    first, second = (f.path for f in rig.files["silver"])
    rig.land(table([Row(2, 2, "b", True)]))
    refined = rig.refine()
    assert refined.removed == {"silver": [first]}
    assert second in {f.path for f in rig.files["silver"]}
    assert refined.replaced == 1
    assert refined.silver_rows == 0
    assert [(r["k"], r["v"]) for r in rig.rows("silver")] == [(1, "a"), (3, "a"), (4, "a"), (2, "b")]


def test_a_silver_file_that_loses_all_rows_is_removed_without_a_successor(tmp_path, monkeypatch):
    rig = Rig(tmp_path, DATASET)
    rig.land(table([Row(1, 1, "a", True)]))
    rig.refine()
    monkeypatch.setattr(rewrite._Rewriter, "_as_now", lambda *_: pytest.fail("more than coordinates was read"))
    rig.land(table([Row(1, 2, "a", True)]))
    refined = rig.refine()
    assert len(refined.added["silver"]) == len(refined.removed["silver"]) == 1


@pytest.mark.parametrize("partition", ["p", 'it\'s; drop "x"', "ü€"])
def test_partition_names_are_values_and_never_sql(tmp_path, partition):
    rig = Rig(tmp_path, DATASET)
    rig.land(table([Row(1, 1, "a", True), Row(1, 2, "b", True)]), partition)
    rig.refine()
    rig.land(table([Row(1, 3, "c", True)]), partition)
    rig.refine()
    assert silver_of(rig) == {(partition, 2): (1, 3, "c")}
    conserves(rig)
