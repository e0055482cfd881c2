"""The index of keys: finds exactly the rows whose hash is asked for, also in parts, rewritten, and read back."""

from __future__ import annotations

import mmap
import os
import threading

import numpy as np
import pyarrow as pa
import pytest
from refine_rig import Rig, dataset, integer, text

from headgate.contract.to_arrow import VALID_TO
from headgate.engines.duckdb import history, key_index, refine
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.engines.duckdb.key_index import ROW, IndexLayout, IndexWriter, Wanted, open_index

COLUMNS = pa.schema([pa.field("k", pa.string()), pa.field(VALID_TO, pa.int64())])
NOTHING = pa.table({ROW: pa.array([], pa.uint32()), VALID_TO: pa.array([], pa.int64())})


def rows(hashes):
    return pa.table(
        {
            KEY: pa.array(hashes, pa.uint64()),
            CONTENT: pa.array(hashes // 2, pa.uint64()),
            "k": pa.array([str(h) for h in hashes]),
            VALID_TO: pa.nulls(len(hashes), pa.int64()),
        }
    )


def random_hashes(count, seed=1):
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


def indexed(folder, hashes, *, at_once=3000):
    layout = IndexLayout.of(str(folder), COLUMNS, "test")
    writer = IndexWriter(layout)
    for start in range(0, len(hashes), at_once):
        writer.add(rows(hashes[start : start + at_once]), start)
    return writer.close("data/f.parquet") or open_index(layout, "data/f.parquet", len(hashes))


def found(index, hashes):
    return {(r[ROW], r[KEY]) for table in index.find(Wanted(np.unique(hashes))) for r in table.to_pylist()}


@pytest.mark.parametrize("count", [1, 4095, 4096, 50_001])
@pytest.mark.parametrize("part_rows", [7000, key_index.PART_ROWS])
def test_every_row_is_found_by_its_hash_and_no_other(tmp_path, monkeypatch, count, part_rows):
    monkeypatch.setattr(key_index, "PART_ROWS", part_rows)
    hashes = random_hashes(count)
    hashes[count // 2] = hashes[0]  # a hash may stand twice
    index = indexed(tmp_path, hashes)
    assert index.rows == count
    assert found(index, hashes) == set(enumerate(hashes.tolist()))
    assert found(index, random_hashes(100_000, seed=2)) == set()
    some = hashes[:: max(1, count // 50)]
    wanted = np.concatenate([random_hashes(5000, seed=3), some])
    assert found(index, wanted) == {(n, h) for n, h in enumerate(hashes.tolist()) if h in set(some.tolist())}


@pytest.mark.parametrize("kind", ["even", "low", "steps", "one value"])
def test_a_few_hashes_stand_where_a_search_from_the_middle_says(kind):
    values = random_hashes(300_000)
    if kind == "low":
        values >>= np.uint64(20)  # nothing is where evenness says
    elif kind == "steps":
        values &= np.uint64(0xF << 60)
    elif kind == "one value":
        values[:] = values[0]
    ordered = np.sort(values)
    edges = np.array([0, 2**64 - 1, ordered[0], ordered[-1]], np.uint64)
    for seed in range(20):
        few = np.unique(np.concatenate([random_hashes(100, seed), ordered[seed::9973], edges]))
        assert len(few) * key_index._ROWS_TO_A_PAGE < len(ordered)
        at = key_index.first_not_less(ordered, few)
        assert np.array_equal(at, np.searchsorted(ordered, few))


@pytest.mark.parametrize("wanted", [1, 100, 50_000])
def test_an_index_on_the_disk_says_the_same_however_much_is_wanted_of_it(tmp_path, wanted):
    hashes = random_hashes(200_000)
    index = indexed(tmp_path, hashes)
    index.expect(wanted)
    at = np.random.default_rng(6).choice(len(hashes), wanted, replace=False)
    assert found(index, hashes[at]) == {(int(n), int(hashes[n])) for n in at}


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="asks Linux")
def test_of_an_index_in_which_little_was_found_only_the_filter_stays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(key_index, "PART_ROWS", 150_000)
    hashes = random_hashes(400_000)
    index = indexed(tmp_path, hashes, at_once=100_000)
    assert len(found(index, hashes[::4000])) == 100
    assert len(index.parts) == 2
    assert _resident_bytes(tmp_path) <= 2 * len(hashes) + 8 * mmap.PAGESIZE
    assert len(found(index, hashes[::100])) == 4000
    assert _resident_bytes(tmp_path) > 10 * len(hashes)


def _resident_bytes(folder):
    """Of files in the folder that are mapped."""
    mine, size = False, 0
    with open("/proc/self/smaps") as maps:
        for line in maps:
            if not line.split()[0].endswith(":"):
                mine = str(folder) in line
            elif mine and line.startswith("Rss:"):
                size += int(line.split()[1]) * 1024
    return size


def test_the_filter_lets_few_of_the_others_through(tmp_path):
    (part,) = indexed(tmp_path, random_hashes(200_000)).parts
    wanted = Wanted(np.unique(random_hashes(100_000, seed=2)))
    words = part._words[key_index._word_of(wanted.hashes, len(part._words))]
    assert 0 < ((words & wanted.bits) == wanted.bits).mean() < 0.02


def test_a_rewritten_file_has_the_rows_that_stay_at_their_new_numbers(tmp_path):
    hashes = random_hashes(20_000)
    index = indexed(tmp_path, hashes)
    gone = np.random.default_rng(5).random(len(hashes)) < 0.3
    stay = np.flatnonzero(~gone)
    closes = pa.table({ROW: pa.array(stay[::7], pa.uint32()), VALID_TO: pa.array(stay[::7] + 1_000_000)})
    writer = IndexWriter(index.layout)
    for table in index.without(gone, closes):
        writer.add(table)
    writer.close("data/g.parquet")
    after = open_index(index.layout, "data/g.parquet", len(stay))
    assert found(after, hashes) == set(enumerate(hashes[stay].tolist()))
    ends = {r[ROW]: r[VALID_TO] for t in after.find(Wanted(np.unique(hashes))) for r in t.to_pylist()}
    assert {n: end for n, end in ends.items() if end is not None} == {
        n: int(stay[n]) + 1_000_000 for n in range(0, len(stay), 7)
    }


def test_an_index_of_other_columns_or_of_another_size_is_not_taken(tmp_path):
    index = indexed(tmp_path, random_hashes(10))
    assert open_index(index.layout, "data/f.parquet", 11) is None
    other = IndexLayout.of(str(tmp_path), COLUMNS, "another contract")
    assert open_index(other, "data/f.parquet", 10) is None


def test_an_index_has_its_name_once_it_is_on_the_disk_and_whoever_looks_waits_for_it(tmp_path, monkeypatch):
    layout, begun, may_end = IndexLayout.of(str(tmp_path), COLUMNS, "test"), threading.Event(), threading.Event()
    named_before_synced = []

    def sync(_descriptor):
        begun.set()
        assert may_end.wait(60)
        named_before_synced.append(os.path.exists(layout.path("data/f.parquet")))

    monkeypatch.setattr(os, "fsync", sync)
    writer = IndexWriter(layout)
    writer.add(rows(random_hashes(10)), 0)
    writer.close("data/f.parquet")  # comes back while the disk is at work
    assert begun.wait(60)
    may_end.set()
    assert open_index(layout, "data/f.parquet", 10).rows == 10
    assert named_before_synced == [False]


def test_an_index_that_the_disk_did_not_take_is_not_there(tmp_path, monkeypatch):
    def refuse(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert indexed(tmp_path, random_hashes(10)) is None
    assert os.listdir(tmp_path) == []


def test_what_a_job_lets_go_does_not_take_the_next_ones_indexes_along(tmp_path, monkeypatch):
    rig = Rig(tmp_path, dataset([integer("k", required=True, key_position=1), text("v")], key=("k",)))
    may_go, list_folder = threading.Event(), os.listdir

    def listed(folder):
        assert may_go.wait(60)
        return list_folder(folder)

    rig.land(pa.table({"k": [1], "v": ["a"]}))
    rig.refine()
    monkeypatch.setattr(os, "listdir", listed)
    rig.land(pa.table({"k": [2], "v": ["b"]}))
    rig.refine()  # what it has no use for is still to go
    rig.land(pa.table({"k": [3], "v": ["c"]}))

    def settled(folder):
        may_go.set()
        key_index.settle(folder)

    monkeypatch.setattr(refine, "settle", settled)
    rig.refine()
    may_go.set()
    rig.engine.close()
    assert len(list(os.scandir(tmp_path / "keys" / "things"))) == 3


@pytest.mark.parametrize("changed", [[1], [1, 2]])
def test_a_row_that_is_not_where_the_index_says_stops_the_job(tmp_path, changed):
    of = dataset([integer("k", required=True, key_position=1), text("v")], key=("k",))
    rig = Rig(tmp_path, of)
    rig.land(pa.table({"k": [1, 2], "v": ["a", "b"]}))
    rig.refine()
    key_index.settle()
    (name,) = (tmp_path / "keys" / "things").iterdir()
    reader = pa.ipc.open_file(pa.OSFile(str(name)))
    batch = reader.get_batch(0)
    turned = pa.array(batch.column(ROW).to_numpy()[::-1].copy())
    wrong = batch.set_column(batch.schema.get_field_index(ROW), batch.schema.field(ROW), turned)
    with pa.OSFile(str(name), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(wrong)
    rig.land(pa.table({"k": changed, "v": ["c"] * len(changed)}))
    with pytest.raises(Exception, match="not found again"):
        rig.refine()


def test_what_a_killed_run_began_goes_after_a_day_and_what_another_writes_stays(tmp_path):
    rig = Rig(str(tmp_path), dataset([integer("k", required=True, key_position=1)], key=("k",)))
    rig.land(pa.table({"k": [1, 2]}))
    rig.refine()
    key_index.settle()
    folder = os.path.dirname(next(p for p in _files(tmp_path) if p.endswith(".arrow")))
    old, young = (os.path.join(folder, name) for name in ("old.part", "young.part"))
    for path in (old, young):
        open(path, "w").close()
    a_day_ago = os.path.getmtime(old) - history.ABANDONED_S - 1
    os.utime(old, (a_day_ago, a_day_ago))
    rig.land(pa.table({"k": [2, 3]}))
    rig.refine()
    key_index.settle()
    assert not os.path.exists(old)
    assert os.path.exists(young)


def _files(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
