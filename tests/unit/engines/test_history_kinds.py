"""Deletes and versions: the engine against a slow and obvious model that sees all rows at once, whatever the cut."""

from __future__ import annotations

import json
import os
import random
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refine_rig import Rig, dataset, instant, integer, text

from headgate.contract.model import Field, Kind, Limits, Operation, Type, Window
from headgate.engines.duckdb import output, pieces, rewrite
from headgate.engines.duckdb.history import Silver
from headgate.ports.batch import FILE, FORMAT, HEADER, OFFSET, PARTITION, RAW
from headgate.ports.engine import DELETED

FIELDS = [
    integer("k", required=True, key_position=1),
    integer("o", required=True),
    Field("region", Type(Kind.STRING), partition="identity"),
    text("v"),
    text("op"),
]
OPERATION = Operation("op", ("d",))
LATEST = dataset(FIELDS, key=("k",), order=("o",), operation=OPERATION)
VERSIONS = dataset(FIELDS, key=("k",), order=("o",), operation=OPERATION, history="scd2")


@dataclass(frozen=True)
class Row:
    key: int
    order: int
    region: str
    content: str
    deletes: bool
    offset: int = -1

    @property
    def value(self):
        """What tells two rows of one key and order apart; two that delete are alike."""
        return "gone" if self.deletes else (self.region, self.content)


rows_of = st.builds(
    Row,
    st.integers(0, 3),
    st.integers(0, 4),
    st.sampled_from(["north", "south"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([False] * 3 + [True]),
)
histories = st.lists(rows_of, min_size=1, max_size=16)
cuts = st.lists(st.integers(1, 15), max_size=4)


def winner_of(rivals):
    """Of rows of one key and order, by offset: the last content, from where a different one last stood."""
    last = rivals[-1].value
    others = [r.offset for r in rivals if r.value != last]
    return next(r for r in rivals if r.value == last and (not others or r.offset > max(others)))


def winners_of(rows):
    """Key -> the winner of each order, ascending."""
    by_key = {}
    for row in rows:
        by_key.setdefault(row.key, {}).setdefault(row.order, []).append(row)
    return {key: [winner_of(orders[o]) for o in sorted(orders)] for key, orders in by_key.items()}


def latest_of(rows):
    """Coordinates -> columns of the rows that silver should hold."""
    newest = [winners[-1] for winners in winners_of(rows).values()]
    return {r.offset: (r.key, r.order, r.region, r.content) for r in newest if not r.deletes}


def versions_of(rows):
    """The same, with the validity of every version."""
    held = {}
    for winners in winners_of(rows).values():
        for row, following in zip(winners, [*winners[1:], None], strict=True):
            if not row.deletes:
                end = following.order if following else None
                held[row.offset] = (row.key, row.order, row.region, row.content, row.order, end, end is None)
    return held


def deleted_of(rows, *, versions):
    """Offsets of the rows that delete."""
    winners = winners_of(rows).values()
    return {r.offset for some in winners for r in (some if versions else some[-1:]) if r.deletes}


def placed(rows, start=0):
    return [replace(row, offset=start + n) for n, row in enumerate(rows)]


def table(rows):
    return pa.table(
        {
            "k": pa.array([r.key for r in rows], pa.int64()),
            "o": pa.array([r.order for r in rows], pa.int64()),
            "region": pa.array([r.region for r in rows], pa.string()),
            "v": pa.array([r.content for r in rows], pa.string()),
            "op": pa.array(["d" if r.deletes else "u" for r in rows], pa.string()),
        }
    )


def cut(rows, at):
    edges = sorted({0, len(rows), *(min(a, len(rows)) for a in at)})
    return [rows[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def silver_of(rig):
    validity = ("valid_from", "valid_to", "is_current") if rig.dataset.history == "scd2" else ()
    return {r[OFFSET]: tuple(r[name] for name in ("k", "o", "region", "v", *validity)) for r in rig.rows("silver")}


def held_places(rig):
    return [(layer, r[PARTITION], r[OFFSET]) for layer in ("silver", "quarantine", "ledger") for r in rig.rows(layer)]


def check(rig, rows):
    versions = rig.dataset.history == "scd2"
    assert silver_of(rig) == (versions_of(rows) if versions else latest_of(rows))
    deleted = {r[OFFSET]: r["deleted"] for r in rig.rows("ledger") if r["verdict"] == DELETED}
    assert set(deleted) == deleted_of(rows, versions=versions)
    for row in rows:
        if row.offset in deleted:
            assert deleted[row.offset] == {"k": row.key, "o": row.order}
    assert sorted(offset for _, _, offset in held_places(rig)) == list(range(len(rows)))
    assert rig.silver_rows == len(silver_of(rig))
    assert rig.checksum == seal(rig)


def seal(rig):
    if not rig.files["silver"]:
        return 0
    names = ", ".join(f.name for f in FIELDS)
    paths = [f.path for f in rig.files["silver"]]
    sql = f"SELECT coalesce(sum(hash({names})::HUGEINT), 0)::VARCHAR FROM read_parquet({paths})"
    return int(duckdb.sql(sql).fetchall()[0][0])


def run(folder, of, batches):
    rig, seen = Rig(folder, of), []
    for batch in batches:
        rows = placed(batch, len(seen))
        rig.land(table(rows))
        refined = rig.refine()
        assert sum(refined.verdicts["p"].values()) == len(batch)
        seen += rows
        check(rig, seen)
    return rig


@pytest.mark.parametrize("of", [LATEST, VERSIONS], ids=["latest", "scd2"])
@settings(max_examples=20, deadline=None)
@given(histories, cuts)
def test_any_cut_of_any_history_with_deletes_and_moves_agrees_with_the_model(of, rows, at):
    with tempfile.TemporaryDirectory() as folder:
        run(folder, of, cut(rows, at))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("hundred", range(10))
@pytest.mark.parametrize("of", [LATEST, VERSIONS], ids=["latest", "scd2"])
def test_a_thousand_random_histories(of, hundred):
    seed = int(os.environ.get("HEADGATE_SEED", "1"))
    for number in range(100 * hundred, 100 * hundred + 100):
        dice = random.Random(f"{seed}:{number}")
        rows = [
            Row(dice.randrange(6), dice.randrange(9), dice.choice(["north", "south"]), dice.choice("abc"),
                dice.random() < 0.25)
            for _ in range(dice.randrange(1, 40))
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            try:
                run(folder, of, cut(rows, [dice.randrange(1, 40) for _ in range(dice.randrange(5))]))
            except AssertionError as problem:
                raise AssertionError(f"HEADGATE_SEED={seed}, history {number}") from problem


def test_an_older_row_that_comes_after_a_delete_does_not_bring_the_key_back(tmp_path):
    rows = [Row(1, 1, "north", "a", deletes=False), Row(1, 5, "north", "", deletes=True)]
    rig = run(tmp_path, LATEST, [[rows[0]], [rows[1]], [Row(1, 3, "north", "late", deletes=False)]])
    assert silver_of(rig) == {}
    assert {r[OFFSET]: (r["verdict"], r["by_offset"]) for r in rig.rows("ledger")} == {
        0: ("superseded", 1), 1: ("deleted", None), 2: ("superseded", 1),
    }  # fmt: skip


def test_a_newer_row_brings_a_deleted_key_back_and_the_delete_is_superseded(tmp_path):
    deletes = Row(1, 5, "north", "", deletes=True)
    rig = run(tmp_path, LATEST, [[deletes], [Row(1, 6, "south", "again", deletes=False)]])
    assert silver_of(rig) == {1: (1, 6, "south", "again")}
    assert [(r[OFFSET], r["verdict"], r["by_offset"], r["deleted"]) for r in rig.rows("ledger")] == [
        (0, "superseded", 1, None)
    ]


def test_a_late_change_splits_the_interval_that_it_falls_into(tmp_path):
    batches = [[Row(1, 10, "north", "a", deletes=False)], [Row(1, 30, "north", "c", deletes=False)],
               [Row(1, 20, "south", "b", deletes=False)], [Row(1, 25, "south", "", deletes=True)]]  # fmt: skip
    rig = run(tmp_path, VERSIONS, batches)
    assert sorted((f, t, current, v) for _, _, _, v, f, t, current in silver_of(rig).values()) == [
        (10, 20, False, "a"), (20, 25, False, "b"), (30, None, True, "c"),
    ]  # fmt: skip


def test_a_key_that_moves_to_another_partition_is_moved_and_not_doubled(tmp_path):
    moved = [[Row(k, 1, "north", "a", deletes=False) for k in range(4)], [Row(2, 2, "south", "b", deletes=False)]]
    rig = run(tmp_path, LATEST, moved)
    assert sorted((k, region) for k, _, region, _ in silver_of(rig).values()) == [
        (0, "north"), (1, "north"), (2, "south"), (3, "north"),
    ]  # fmt: skip


@pytest.mark.parametrize("of", [LATEST, VERSIONS], ids=["latest", "scd2"])
def test_files_that_are_shared_among_cores_lose_the_same_rows(tmp_path, of, monkeypatch):
    monkeypatch.setattr(rewrite, "SHARE_BYTES", 1)
    monkeypatch.setattr(rewrite, "GROUP_ROWS", 20)
    monkeypatch.setattr(output, "ROWS_PER_GROUP", 20)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 20)
    monkeypatch.setattr(Silver, "_indexed", None)  # their indexes follow, and are not made anew
    dice, seen = random.Random(1), []
    rig = Rig(tmp_path, of, threads=3)
    for order in (1, 3, 2, 4, 5):  # the third comes late, the fifth takes whole row groups
        keys = {1: range(200), 5: range(30, 170)}.get(order) or dice.sample(range(200), 60)
        rows = [Row(k, order, "north", "ab"[order > 1], deletes=order > 1 and dice.random() < 0.2) for k in keys]
        rig.land(table(rows), row_group_size=20)
        rig.refine()
        seen += placed(rows, len(seen))
        check(rig, seen)
    assert len(rig.files["silver"]) > 4


@pytest.mark.parametrize("of", [LATEST, VERSIONS], ids=["latest", "scd2"])
def test_lost_indexes_cost_time_and_change_nothing(tmp_path, of):
    rows = [Row(k, 1, "north", "a", deletes=k % 2 == 0) for k in range(6)]
    rig = run(tmp_path, of, [rows])
    rig.engine.close()
    for name in os.listdir(tmp_path / "keys" / "things"):
        os.truncate(tmp_path / "keys" / "things" / name, 100)
    rig.engine = Rig(tmp_path / "other", of, cache_directory=f"{tmp_path}/keys").engine
    more = [Row(k, 2, "south", "b", deletes=k == 1) for k in range(4)] + [Row(5, 0, "south", "old", deletes=False)]
    rig.land(table(more))
    rig.refine()
    check(rig, placed(rows + more))


def test_within_the_window_copies_are_found_and_what_is_older_waits_in_quarantine(tmp_path):
    fields = [text("id", required=True, key_position=1), instant("at", required=True)]
    of = dataset(fields, key=("id",), window=Window("at", 7 * 86_400))
    rig = Rig(tmp_path, of)

    def land(*rows):
        times = [datetime(2026, 1, day, tzinfo=UTC) for _, day in rows]
        rig.land(pa.table({"id": [key for key, _ in rows], "at": pa.array(times, pa.timestamp("us", "UTC"))}))
        return {verdict: n for verdict, n in rig.refine().verdicts["p"].items() if n}

    assert land(("old", 1), ("a", 10), ("b", 20)) == {"accepted": 3}  # nothing was there: no window yet
    assert land(("a", 10), ("b", 20), ("c", 13)) == {"duplicate": 1, "quarantined": 1, "accepted": 1}
    assert rig.rows("quarantine")[0]["reasons"][0]["rule"] == "headgate.late"
    assert land(("old", 20)) == {"accepted": 1}  # its namesake is older than the window, and is not looked for
    rig.dataset = replace(of, window=None)
    rig.replay()
    assert rig.rows("quarantine") == []
    assert len({r[OFFSET] for r in rig.rows("silver")} & {3}) == 0  # the late copy was a duplicate


def _typed(rows):
    return pa.table({name: pa.array([r.get(name) for r in rows], of) for name, of in (
        ("k", pa.int64()), ("o", pa.int64()), ("region", pa.string()), ("v", pa.string()), ("op", pa.string()))})  # fmt: skip


def _json(rows):
    return pa.table({RAW: [json.dumps(r).encode() for r in rows], FORMAT: ["json"] * len(rows)})


def _csv(rows):
    names = ["k", "o", "region", "v", "op"]
    raw = [",".join(str(r.get(name, "")) for name in names).encode() for r in rows]
    same = {FORMAT: "csv", HEADER: json.dumps(names), FILE: "in/a.csv"}
    return pa.table({RAW: raw, **{name: [value] * len(rows) for name, value in same.items()}})


@pytest.mark.parametrize("came", [_typed, _json, _csv], ids=["typed", "json", "csv"])
@pytest.mark.parametrize("history", ["latest", "scd2"])
def test_a_row_that_deletes_needs_its_key_and_order_only(tmp_path, history, came):
    fields = [
        integer("k", required=True, key_position=1),
        integer("o", required=True),
        Field("region", Type(Kind.STRING), partition="identity", required=True),
        text("v", required=True, limits=Limits(max_length=5)),
        text("op", required=True),
    ]
    rig = Rig(tmp_path, dataset(fields, key=("k",), order=("o",), operation=OPERATION, history=history))

    def land(*rows):
        rig.land(came(rows))
        return {verdict: n for verdict, n in rig.refine().verdicts["p"].items() if n}

    born = [{"k": k, "o": 1, "region": "north", "v": "a", "op": "c"} for k in range(4)]
    assert land(*born) == {"accepted": 4}
    assert land({"k": 1, "o": 2, "op": "d"}, {"k": 2, "o": 2, "v": "a", "op": "d"}) == {"deleted": 2}
    assert {r["k"] for r in rig.rows("silver") if history == "latest" or r["is_current"]} == {0, 3}
    bad = [
        {"k": 3, "op": "d"},
        {"o": 3, "op": "d"},
        {"k": 3, "o": 3, "op": "u"},
        {"k": 3, "o": 3, "v": "longer", "op": "d"},
    ]
    assert land(*bad) == {"quarantined": 4}
    reasons = [sorted(reason["rule"] for reason in row["reasons"]) for row in rig.rows("quarantine")]
    assert reasons == [["o.required"], ["k.required"], ["region.required", "v.required"], ["v.max_length"]]
