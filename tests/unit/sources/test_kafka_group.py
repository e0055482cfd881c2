"""A member that waits for its group neither spins nor keeps its process from ending."""

from threading import Event

from headgate.contract.model import Dataset, Server
from headgate.ports.batch import Position
from headgate.sources import kafka, kafka_group
from headgate.sources.kafka_group import Member


def test_leaving_a_group_that_does_not_settle_is_waited_for_only_a_moment(monkeypatch):
    monkeypatch.setattr(kafka_group, "LEAVING_S", 0.0)
    settled, left = Event(), Event()

    class Client:
        def close(self):
            assert settled.wait(30)
            left.set()

    member = object.__new__(Member)
    member._client = Client()
    member.close()
    assert not left.is_set()
    settled.set()
    assert left.wait(30), "it goes on leaving by itself"


def test_a_worker_sleeps_while_its_group_settles():
    waits = []

    class Settling:
        partitions = None

        def poll(self, wait_s=0.0):
            waits.append(wait_s)

        def close(self):
            pass

    dataset = Dataset("events", (), "events", "1.0.0")
    server = Server("bus", "kafka", {"host": "127.0.0.1:1", "topic": "events"})
    source = kafka.connect(dataset, server, {"group": "workers"})
    source._member = Settling()
    batches = source.follow(Position.start())
    assert [next(batches).rows.num_rows for _ in range(3)] == [0, 0, 0]
    assert waits == [kafka.SETTLING_S] * 3
    source.close()
