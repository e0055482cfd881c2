"""History that was compacted between any two jobs: verdicts, versions and deletes are those of the obvious model, and
what a compaction wrote needs not be read again for its keys."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refine_rig import Rig, info
from test_history_kinds import LATEST, VERSIONS, Row, check, cut, cuts, histories, placed, table

from headgate.engines.duckdb.history import Silver, index_layout
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.engines.duckdb.key_index import FILTER, ROW, open_index

KINDS = pytest.mark.parametrize("of", [LATEST, VERSIONS], ids=["latest", "scd2"])


def compacted(rig, layers=("silver", "ledger")):
    """Files of one partition value become one, as the lake does it: with the number of the newest commit."""
    job = rig.job([])
    for layer in layers:
        groups = {}
        for one in rig.files[layer]:
            groups.setdefault(one.lower.get("region") if layer == "silver" else None, []).append(one)
        output = replace(job.outputs[layer], partition=(), keys_of="things" if layer == "silver" else "")
        written = rig.engine.rewrite(list(groups.values()), output)
        rig.files[layer] = [
            info(path, max(one.sequence for one in group))
            for group, paths in zip(groups.values(), written, strict=True)
            for path in paths
        ]


def run(folder, of, batches, compact_after):
    rig, seen = Rig(folder, of), []
    for number, batch in enumerate(batches):
        rows = placed(batch, len(seen))
        rig.land(table(rows))
        assert sum(rig.refine().verdicts["p"].values()) == len(batch)
        seen += rows
        if number in compact_after:
            compacted(rig)
        check(rig, seen)
    return rig


@KINDS
@settings(max_examples=20, deadline=None)
@given(histories, cuts, st.sets(st.integers(0, 4)))
def test_any_history_compacted_in_between_agrees_with_the_model(of, rows, at, compact_after):
    with tempfile.TemporaryDirectory() as folder:
        run(folder, of, cut(rows, at), compact_after)


ROWS = [[Row(k, o, "north", f"{o}", deletes=(k + o) % 5 == 0) for k in range(20)] for o in range(4)]


@KINDS
def test_a_compacted_file_is_not_read_again_for_its_keys(tmp_path, of, monkeypatch):
    rig = run(tmp_path, of, ROWS[:3], {2})
    read = []
    monkeypatch.setattr(Silver, "_indexed", lambda _, info: read.append(info.path))
    rig.engine = Rig(tmp_path / "other", of, cache_directory=f"{tmp_path}/keys").engine  # nothing open in memory
    seen = placed([row for batch in ROWS[:3] for row in batch])
    rows = placed(ROWS[3], len(seen))
    rig.land(table(rows))
    rig.refine()
    check(rig, seen + rows)
    assert read == []


@KINDS
def test_the_index_of_a_compacted_file_is_what_reading_it_gives(tmp_path, of):
    rig = run(tmp_path, of, ROWS, {3})
    layout = index_layout(rig.engine.settings, rig.job([]))
    (carried,) = [open_index(layout, one.path, one.rows) for one in rig.files["silver"]]
    os.unlink(layout.path(rig.files["silver"][0].path))
    rig.engine = Rig(tmp_path / "other", of, cache_directory=f"{tmp_path}/keys").engine
    more = placed([Row(1, 9, "south", "new", deletes=False)], 80)
    rig.land(table(more))
    path, rows = rig.files["silver"][0].path, rig.files["silver"][0].rows
    rig.refine()
    made = open_index(layout, path, rows)
    assert made is not None
    assert made is not carried
    for part, other in zip(made.parts, carried.parts, strict=True):
        assert part.rows.equals(other.rows)
    assert {KEY, CONTENT, FILTER, ROW} <= set(layout.schema.names)


@KINDS
@pytest.mark.parametrize("lost", ["one", "torn"])
def test_without_all_indexes_compaction_makes_none_and_nothing_is_wrong(tmp_path, of, lost):
    rig = run(tmp_path, of, ROWS[:3], set())
    layout = index_layout(rig.engine.settings, rig.job([]))
    path = layout.path(rig.files["silver"][0].path)
    os.unlink(path) if lost == "one" else os.truncate(path, 100)
    compacted(rig)
    assert [open_index(layout, one.path, one.rows) for one in rig.files["silver"]] == [None]
    seen = placed([row for batch in ROWS[:3] for row in batch])
    rows = placed(ROWS[3], len(seen))
    rig.land(table(rows))
    rig.refine()
    check(rig, seen + rows)
