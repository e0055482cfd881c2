"""Rows in a topic exactly once for readers of committed messages: killed anywhere, fenced, without an answer."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from headgate.clients.kafka import Address, admin
from headgate.clients.kafka_topics import topic
from headgate.errors import (
    CommitConflict,
    FixInputError,
    OutcomeUnknownError,
    RetryableError,
    SourceChanged,
    StalePosition,
)
from headgate.ports.batch import Position
from headgate.ports.store import TableSpec
from headgate.stores import kafka_transaction
from headgate.stores.kafka import open_sink
from rigs import kafka_writer
from rigs.kafka import Broker, until
from rigs.kafka_topics import visible
from rigs.kafka_writer import KEYS, SCHEMA, STREAM, batch

TESTS = Path(__file__).parents[1]
POINTS = ("kafka: rows sent, position not", "kafka: position sent, not committed", "kafka: committed")
NUMBER = itertools.count(1)
SPEC = TableSpec("silver.numbers", SCHEMA, key=("key",))


@pytest.fixture
def name():
    return f"store-{next(NUMBER)}"


@pytest.fixture
def open_one(broker, name):
    opened = []

    def make(**options):
        sink = open_sink(broker.bootstrap, {"topic": name, **options}, SPEC)
        opened.append(sink)
        return sink

    yield make
    for one in opened:
        one.close()


def writer(broker, name, rows, each=500, crash=None):
    env = {**os.environ, "PYTHONPATH": str(TESTS)} | ({"HEADGATE_CRASH": crash} if crash else {})
    command = [sys.executable, kafka_writer.__file__, broker.bootstrap, name, str(rows), str(each)]
    return subprocess.Popen(command, env=env)


def numbers(broker, name) -> list[int]:
    return [json.loads(m.value())["n"] for m in visible(broker.bootstrap, name)]


def is_whole(broker, name, rows: int) -> None:
    """Each row once, and the rows of a key in their order, in one partition."""
    found = visible(broker.bootstrap, name)
    assert sorted(json.loads(m.value())["n"] for m in found) == list(range(rows))
    for key in range(KEYS):
        mine = [m for m in found if m.key() == str(key).encode()]
        assert len({m.partition() for m in mine}) == 1
        assert [json.loads(m.value())["n"] for m in mine] == list(range(key, rows, KEYS))


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_and_run_again_each_row_is_there_once(broker, name, point):
    killed = writer(broker, name, 2_000, crash=point)
    assert killed.wait(60) == -signal.SIGKILL
    assert len(numbers(broker, name)) == (500 if point == "kafka: committed" else 0)
    again = writer(broker, name, 2_000)
    assert again.wait(60) == 0
    is_whole(broker, name, 2_000)


def killed_at_random(broker, name, kills: int, rows: int, seed: int) -> None:
    rng = random.Random(seed)
    print("seed", seed)
    for _ in range(kills):
        process = writer(broker, name, rows, each=200)
        before = len(numbers(broker, name))
        until(lambda: process.poll() is not None or len(numbers(broker, name)) > before, "a commit")  # noqa: B023
        threading.Event().wait(rng.random() * 0.1)
        process.kill()
        process.wait()
    last = writer(broker, name, rows, each=2_000)
    assert last.wait(120) == 0
    is_whole(broker, name, rows)


def test_killed_at_random_moments_each_row_is_there_once(broker, name):
    killed_at_random(broker, name, 3, 20_000, random.randrange(2**32))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_many_times_each_row_is_there_once(broker, name):
    killed_at_random(broker, name, int(os.environ.get("HEADGATE_KILLS", "50")), 200_000, random.randrange(2**32))


def test_a_zombie_that_wakes_up_commits_nothing(broker, name, open_one):
    """Stopped in the middle of a commit while another writes the same rows; then it goes on."""
    zombie, other = open_one(), open_one()
    zombie.commit(STREAM, [batch(0, 100)])

    def overtaken():
        yield batch(100, 200)
        other.commit(STREAM, [batch(100, 200), batch(200, 300)])
        yield batch(200, 250)

    with pytest.raises(StalePosition):
        zombie.commit(STREAM, overtaken())
    with pytest.raises(StalePosition):
        zombie.commit(STREAM, [batch(100, 200)])
    zombie.commit(STREAM, [batch(300, 400)])
    is_whole(broker, name, 400)


def test_a_writer_that_was_only_overtaken_may_try_again(broker, name, open_one):
    """Another process has opened the stream and written nothing: no row is lost and none is there twice."""
    first, second = open_one(), open_one()
    first.commit(STREAM, [batch(0, 100)])
    second._writer(STREAM)._take_over()
    with pytest.raises(CommitConflict):
        first.commit(STREAM, [batch(100, 200)])
    first.commit(STREAM, [batch(100, 200)])
    is_whole(broker, name, 200)


@pytest.mark.parametrize("landed", [True, False], ids=["it had landed", "it had not"])
def test_without_an_answer_the_position_tells_what_happened(broker, name, open_one, monkeypatch, landed):
    """The answer to the commit is lost on its way: looked up, never sent again."""
    import confluent_kafka

    sink = open_one()
    sink.commit(STREAM, [batch(0, 100)])
    ask, lost = kafka_transaction.Writer._until_answered, []

    def no_answer(self, question):
        if question.__name__ != "commit_transaction" or lost:
            return ask(self, question)
        lost.append(True)
        if landed:
            ask(self, question)
        raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT))

    monkeypatch.setattr(kafka_transaction.Writer, "_until_answered", no_answer)
    if landed:
        assert sink.commit(STREAM, [batch(100, 200)]) == 100
    else:
        with pytest.raises(RetryableError):
            sink.commit(STREAM, [batch(100, 200)])
        sink.commit(STREAM, [batch(100, 200)])
    assert lost
    assert sink.position(STREAM) == Position({"p": "200"})
    is_whole(broker, name, 200)


def test_a_broker_that_dies_in_a_commit_leaves_all_or_nothing(monkeypatch, tmp_path):
    """kill -9 of the broker while the commit is on its way; after its restart the position decides."""
    monkeypatch.setattr(kafka_transaction, "ANSWER_S", 2.0)
    monkeypatch.setattr(kafka_transaction, "SENT_S", 0.5)
    own = Broker().start()
    try:
        sink = open_sink(own.bootstrap, {"topic": "t"}, SPEC)
        sink.commit(STREAM, [batch(0, 1_000)])

        def dying():
            yield batch(1_000, 1_500)
            own.kill()
            yield batch(1_500, 2_000)

        started = time.monotonic()
        with pytest.raises((RetryableError, OutcomeUnknownError)):
            sink.commit(STREAM, dying())
        assert time.monotonic() - started < 90
        own.restart()
        sink.close()
        again = open_sink(own.bootstrap, {"topic": "t"}, SPEC)
        at = int(again.position(STREAM).tokens["p"])
        assert at in (1_000, 2_000)
        again.commit(STREAM, [batch(at, 3_000)])
        again.close()
        is_whole(own, "t", 3_000)
    finally:
        own.stop()


def test_an_open_transaction_of_a_dead_writer_does_not_hold_up_the_next(broker, name, open_one):
    killed = writer(broker, name, 2_000, crash=POINTS[1])
    assert killed.wait(60) == -signal.SIGKILL
    started = time.monotonic()
    assert open_one().position(STREAM) == Position.start()
    assert time.monotonic() - started < 15


def test_a_topic_that_was_made_anew_stops_the_stream(broker, name, open_one):
    open_one().commit(STREAM, [batch(0, 100)])
    broker.recreate(name, 3)
    with pytest.raises(SourceChanged, match="made anew"):
        open_one().position(STREAM)


def test_a_topic_with_more_partitions_stops_the_stream(broker, name, open_one):
    """Later rows of a key would go to another partition than its earlier ones."""
    from confluent_kafka.admin import NewPartitions

    open_one().commit(STREAM, [batch(0, 100)])
    broker.admin().create_partitions([NewPartitions(name, 5)])[name].result(30)
    until(lambda: len(topic(admin(Address(broker.bootstrap)), Address(broker.bootstrap), name).partitions) == 5, "five")
    with pytest.raises(SourceChanged, match="had 3 partitions and has 5"):
        open_one().commit(STREAM, [batch(100, 200)])


def test_a_row_larger_than_the_topic_takes_is_refused_whole(broker, name):
    import pyarrow as pa

    schema = pa.schema([("key", pa.int64()), ("text", pa.string())])
    sink = open_sink(broker.bootstrap, {"topic": name}, TableSpec("silver.big", schema, key=("key",)))
    rows = pa.RecordBatch.from_pydict(
        {"key": [1, 2], "text": ["fine", random.randbytes(2_000_000).hex()]}, schema=schema
    )
    from headgate.ports.batch import Batch

    with pytest.raises(FixInputError, match="larger than the topic takes") as caught:
        sink.commit("big", [Batch(rows, Position.start(), Position({"p": "2"}))])
    assert "max.message.bytes" in caught.value.hint
    assert visible(broker.bootstrap, name) == []
    sink.commit("big", [Batch(rows.slice(0, 1), Position.start(), Position({"p": "1"}))])
    sink.close()
    assert len(visible(broker.bootstrap, name)) == 1


def test_all_rows_in_one_partition_in_their_order_when_asked(broker, name, open_one):
    sink = open_one(ordered=True)
    sink.commit(STREAM, [batch(0, 300), batch(300, 600)])
    found = visible(broker.bootstrap, name)
    assert {m.partition() for m in found} == {0}
    assert [json.loads(m.value())["n"] for m in found] == list(range(600))
