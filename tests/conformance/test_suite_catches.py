"""The suites are only worth something if wrong connectors do not pass: each of these must be caught by name."""

from __future__ import annotations

import hashlib
from functools import reduce

import discovery
import memory_sink
import memory_source
import pytest

from headgate.testing import Broken, SinkConformance, SourceConformance, Suite, Tally, behaviour, tally_rows
from headgate.testing.ledger import MODULUS, row_texts

SOURCES, SINKS = SourceConformance(), SinkConformance()


@pytest.mark.parametrize("name", SOURCES.applicable(memory_source.MemoryRig))
def test_a_right_source_keeps(name):
    with memory_source.rig_for(memory_source.MemorySource) as rig:
        SOURCES.check(name, rig)


@pytest.mark.parametrize("name", SINKS.applicable(memory_sink.MemorySinkRig))
def test_a_right_sink_keeps(name):
    with memory_sink.rig_for(memory_sink.MemorySink) as rig:
        SINKS.check(name, rig)


@pytest.mark.parametrize("wrong", memory_source.WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_source_is_caught(wrong):
    caught = SOURCES.broken(lambda: memory_source.rig_for(wrong), memory_source.MemoryRig)
    assert memory_source.WRONG[wrong] in caught, f"only {list(caught)}"


@pytest.mark.parametrize("wrong", memory_sink.WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_sink_is_caught(wrong):
    caught = SINKS.broken(lambda: memory_sink.rig_for(wrong), memory_sink.MemorySinkRig)
    assert memory_sink.WRONG[wrong] in caught, f"only {list(caught)}"


def test_every_behaviour_of_a_source_is_broken_by_some_wrong_source():
    """A behaviour that nothing ever breaks shows nothing."""
    caught = set()
    for wrong in memory_source.WRONG:
        caught |= SOURCES.broken(lambda wrong=wrong: memory_source.rig_for(wrong), memory_source.MemoryRig).keys()
    never = set(SOURCES.behaviours()) - caught
    assert never <= {
        "idle_is_said_only_when_nothing_is_new",  # the memory source does not offer it
        "closing_works_at_any_time",
        "a_read_gives_several_ends",
    }, never


def test_an_xor_ledger_would_be_fooled_and_the_sum_is_not():
    """Three copies of a row are one copy to an XOR, and a doubled pair is nothing."""

    def xor(rows):
        batch = memory_sink.pa.RecordBatch.from_pylist(rows)
        hashes = [int.from_bytes(hashlib.md5(text).digest(), "little") for text in row_texts(batch, ["id"])]
        return reduce(int.__xor__, hashes, 0) % MODULUS

    schema = memory_sink.pa.schema([("id", memory_sink.pa.int64())])
    doubled, other = [{"id": 1}, {"id": 1}, {"id": 2}], [{"id": 3}, {"id": 3}, {"id": 2}]
    assert xor(doubled) == xor(other)
    assert tally_rows(doubled, schema) != tally_rows(other, schema)
    assert tally_rows(doubled, schema).rows == tally_rows(other, schema).rows


def test_a_rig_cannot_leave_a_behaviour_out_in_silence():
    class Some(Suite):
        @behaviour("cut_the_wire")
        def something(self, rig):
            """Needs a wire."""

    class Silent:
        pass

    class Explained:
        cannot = {"cut_the_wire": "there is no wire"}

    with pytest.raises(Broken, match="cut_the_wire"):
        Some.applicable(Silent)
    assert Some.applicable(Explained) == []


def test_behaviours_are_documented():
    for suite in (SOURCES, SINKS):
        for name in suite.behaviours():
            assert getattr(suite, name).__doc__, name
    assert Tally(1, 2) + Tally(3, MODULUS - 1) == Tally(4, 1)


def test_a_connector_without_a_rig_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "some_sources").mkdir()
    (tmp_path / "some_sources" / "__init__.py").touch()
    (tmp_path / "some_sources" / "pigeon.py").write_text("def connect(dataset, server, read): ...\n")
    (tmp_path / "some_sources" / "pigeon_feed.py").write_text("GRAIN = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(discovery.connectors("some_sources", ("connect",))) == ["pigeon"]
    assert discovery.rigs("pigeon", "SourceRig") == []
