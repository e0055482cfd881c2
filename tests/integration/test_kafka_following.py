"""Reads that go on: workers that share a topic, one that does not know it was replaced, brokers that go and come back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from headgate.contract.model import Dataset, Server
from headgate.errors import PositionLost, SourceChanged, SourceUnavailable, StalePosition
from headgate.ports.batch import Position
from headgate.sources import kafka
from headgate.sources.kafka_client import SETTINGS
from headgate.steps.land import Incoming, Pace, bronze_spec, keep_end, land, land_group
from headgate.steps.run import Run
from headgate.stores.iceberg import open_lake
from rigs.kafka import Broker, until

DATASET = Dataset("events", (), "events", "1.0.0")
PARTITIONS = 12


def source(broker: Broker, topic: str, **read):
    return kafka.connect(DATASET, Server("bus", "kafka", {"host": broker.bootstrap, "topic": topic}), read)


def lake_of(folder):
    return open_lake({"catalog": "sqlite", "warehouse": str(folder / "lake")})


def position(lake) -> Position:
    return lake.cut().table("bronze.events").position("events")


def prepared(folder):
    lake = lake_of(folder)
    keep_end(DATASET, bronze_spec(DATASET, kafka.SCHEMA), lake, run(), Position.start(), Position.start())
    return lake


def run():
    return Run("test", datetime.now(UTC))


def in_bronze(lake) -> list[tuple[str, int, bytes]]:
    import pyarrow.parquet as pq

    rows = []
    for info in lake.cut().table("bronze.events").files():
        some = pq.read_table(info.path, columns=["_hg_partition", "_hg_offset", "_hg_raw"]).to_pylist()
        rows += [(r["_hg_partition"], r["_hg_offset"], r["_hg_raw"]) for r in some]
    return rows


class Worker(threading.Thread):
    """Lands what it follows, and asks the table again whenever it is told that it stands elsewhere."""

    def __init__(self, made, folder) -> None:
        super().__init__(daemon=True)
        self.made, self.folder = made, folder
        self.quit, self.pause = threading.Event(), threading.Event()
        self.rows = self.refused = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.error = error

    def _run(self) -> None:
        lake, one = lake_of(self.folder), self.made()
        try:
            while not self.quit.is_set():
                at = position(lake)
                batches = Incoming(one.follow(at), self.quit.is_set)
                try:
                    while batches.more():
                        while self.pause.is_set():
                            self.quit.wait(0.02)
                        group = land_group(
                            DATASET, bronze_spec(DATASET, one.schema()), lake, run(), batches, at, Pace(seconds=0.05)
                        )
                        at = group.end
                        one.acknowledge(at)
                        self.rows += group.rows
                except StalePosition:
                    self.refused += 1
                finally:
                    batches.close()
        finally:
            one.close()


def finish(workers) -> None:
    for worker in workers:
        worker.quit.set()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
        if worker.error:
            raise worker.error


def test_three_workers_share_twelve_partitions_while_they_come_and_go(broker, tmp_path):
    topic = broker.topic(PARTITIONS)
    lake = prepared(tmp_path)
    workers = [Worker(lambda: source(broker, topic, group=f"{topic}-workers"), tmp_path) for _ in range(4)]
    sent: list[tuple[str, int, bytes]] = []

    def send(rounds: int) -> None:
        for _ in range(rounds):
            for p in range(PARTITIONS):
                first = len([1 for name, _, _ in sent if name == f"{topic}/{p}"])
                values = [b"%d" % (first + n) for n in range(100)]
                broker.produce(topic, values, p)
                sent.extend((f"{topic}/{p}", first + n, value) for n, value in enumerate(values))

    def landed(count: int):
        def enough() -> bool:
            errors = [worker.error for worker in workers if worker.error]
            assert not errors, errors[0]
            return lake_of(tmp_path).cut().table("bronze.events").rows() >= count

        return enough

    workers[0].start()
    send(2)
    until(landed(600), "the first worker works")
    for worker in workers[1:3]:
        worker.start()

    def all_work() -> bool:  # the first may be through with what there was before the others have their share
        send(1)
        return all(w.rows for w in workers[:3])

    until(all_work, "every worker works")
    workers[0].quit.set()  # one leaves in order, another comes
    workers[3].start()

    def the_last_works() -> bool:
        send(1)
        return workers[3].rows > 0

    until(the_last_works, "the one that came works too")
    until(landed(len(sent)), "everything is in bronze")
    finish(workers)
    assert Counter(in_bronze(lake)) == Counter(sent)
    assert all(worker.rows for worker in workers)
    hint = broker.committed(f"{topic}-workers", topic, PARTITIONS)
    assert max(hint) > 0  # told to the group for those who watch; nobody reads from it


def test_a_worker_that_was_replaced_without_knowing_is_refused_and_starts_again_from_the_table(broker, tmp_path):
    topic = broker.topic(2)
    lake = prepared(tmp_path)
    both = [Worker(lambda: source(broker, topic), tmp_path) for _ in range(2)]
    both[0].start()
    broker.produce(topic, [b"0"])
    until(lambda: both[0].rows == 1, "the first lands")
    both[0].pause.set()
    broker.produce(topic, [b"1", b"2"])
    both[1].start()
    until(lambda: both[1].rows == 2, "the second goes on where the table stands")
    both[0].pause.clear()  # it holds what the second has landed
    until(lambda: both[0].refused == 1, "the first is refused")
    both[1].pause.set()
    broker.produce(topic, [b"3"])
    until(lambda: both[0].rows == 2, "the first goes on from the table")
    both[1].pause.clear()
    until(lambda: both[1].refused, "the second is refused in turn")
    finish(both)
    assert Counter(in_bronze(lake)) == Counter((f"{topic}/0", n, b"%d" % n) for n in range(4))


def test_an_idle_read_says_so_at_once_and_a_topic_that_is_made_again_meanwhile_stops_it(broker):
    topic = broker.topic(1)
    broker.produce(topic, [b"a", b"b"])
    one = source(broker, topic)
    try:
        batches = one.follow(Position.start())
        until(lambda: next(batches).rows.num_rows == 2, "the messages")
        took = []
        for _ in range(5):
            begun = time.monotonic()
            assert next(batches).rows.num_rows == 0
            took.append(time.monotonic() - begun)
        assert min(took) < 1.0
        broker.recreate(topic)
        broker.produce(topic, [b"other"] * 5)
        with pytest.raises((SourceChanged, PositionLost)):
            until(lambda: next(batches).rows.num_rows, "messages of another topic: there must be none")
    finally:
        one.close()


@pytest.mark.parametrize("offset", ["beyond", "cluster", "topic", "malformed", "other partition"])
def test_a_position_that_cannot_be_stops_by_name(broker, offset):
    import json

    topic = broker.topic(1)
    broker.produce(topic, [b"a", b"b"])
    one = source(broker, topic)
    (end,) = [b.end for b in one.read(Position.start())]
    token = json.loads(end.tokens[f"{topic}/0"])
    name = f"{topic}/0"
    match offset:
        case "beyond":
            token["offset"] = 77
        case "cluster":
            token["cluster"] = "AAAAAAAAAAAAAAAAAAAAAA"
        case "topic":
            token["topic"] = "AAAAAAAAAAAAAAAAAAAAAA"
        case "malformed":
            token["offset"] = "2"
        case "other partition":
            name = f"{topic}/1"
    with pytest.raises((PositionLost, SourceChanged)) as told:
        list(one.read(Position({name: json.dumps(token)})))
    assert told.value.exit_code == 5
    one.close()


def test_a_broker_that_is_killed_in_the_middle_and_comes_back_costs_no_message(tmp_path, monkeypatch):
    broker = Broker()
    try:
        topic = broker.start().topic(3)
        sent = [(f"{topic}/{p}", n, b"x" * 1000) for p in range(3) for n in range(3000)]
        for p in range(3):
            broker.produce(topic, [b"x" * 1000] * 3000, p)
        lake = prepared(tmp_path)
        worker = Worker(lambda: source(broker, topic, batch_bytes=200_000), tmp_path)
        worker.start()
        until(lambda: worker.rows, "the first rows")
        broker.kill()
        broker.restart()
        until(lambda: worker.error or worker.rows == len(sent), "all rows", 60)
        finish([worker])
        assert Counter(in_bronze(lake)) == Counter(sent)
        # A read with an end says that nobody is there, in the time that it was given. It holds less than there is.
        for name, size in {"queued.max.messages.kbytes": 1024, "max.partition.fetch.bytes": 100_000}.items():
            monkeypatch.setitem(SETTINGS, name, size)
        one = source(broker, topic, wait_s=1)
        batches = one.read(Position.start())
        next(batches)
        with broker.frozen(), pytest.raises(SourceUnavailable, match="did not answer for 1 s"):
            for _ in batches:
                pass
        one.close()
        again = source(broker, topic)
        assert land(DATASET, again, lake, run()).rows == 0
        again.close()
    finally:
        broker.stop()


@pytest.mark.slow
def test_another_leader_goes_on_where_the_first_stopped(tmp_path):
    broker = Broker(nodes=3)
    try:
        topic = broker.start().topic(1, min_insync_replicas=2)
        lake = prepared(tmp_path)
        worker = Worker(lambda: source(broker, topic), tmp_path)
        worker.start()
        for sent in (500, 1000, 1500):
            broker.produce(topic, [b"x"] * 500)
            until(lambda sent=sent: worker.error or worker.rows == sent, "all rows", 60)
            broker.move_leader(topic)
        broker.produce(topic, [b"x"] * 500)
        until(lambda: worker.error or worker.rows == 2000, "all rows", 60)
        finish([worker])
        assert Counter(in_bronze(lake)) == Counter((f"{topic}/0", n, b"x") for n in range(2000))
    finally:
        broker.stop()
