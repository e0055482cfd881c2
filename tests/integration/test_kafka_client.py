"""The two ways in which messages come, compiled and by objects of Python, give the same rows, positions and errors."""

from __future__ import annotations

import gc
import struct
import threading

import pyarrow as pa
import pytest

from headgate import native
from headgate.clients.kafka import Address, admin
from headgate.clients.kafka_topics import topic as described
from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError, SourceUnavailable
from headgate.ports.batch import Position
from headgate.sources import kafka, kafka_client
from headgate.sources.kafka_client import Bounds, opened
from headgate.sources.kafka_rows import Joined
from headgate.sources.kafka_settings import Settings
from headgate.sources.kafka_topic import Topic
from rigs.kafka import Broker

DATASET = Dataset("events", (), "events", "1.0.0")
PARTITIONS = 3
BODIES = [b"", None, b"{}", b"\x00\xff", b"x" * 5000]
KEYS = [None, b"", b"key"]
HEADERS = [None, [("a", b"1")], [("a", None), ("a", b""), ("é", b"\xff")], [("", b"")]]


@pytest.fixture(params=["compiled", "objects"])
def way(request, monkeypatch):
    monkeypatch.setenv("HEADGATE_PURE", str(int(request.param == "objects")))
    return request.param


@pytest.fixture
def compiled():
    if native.load("kafka_batch") is None:
        pytest.skip("not compiled here: see tests/unit/test_native.py")


def source(broker: Broker, topic: str, **read):
    return kafka.connect(DATASET, Server("bus", "kafka", {"host": broker.bootstrap, "topic": topic}), read)


def topic_of(broker: Broker, name: str) -> Topic:
    return Topic(Address(broker.bootstrap), Settings(name, name))


def gathered(client) -> None:
    while not client.gather(1 << 20, 0.1, -1)[0]:
        pass


def of_all_sorts(broker: Broker) -> str:
    """Every body with every key and headers, of several times; one compressed
    partition, one in transactions of which some are aborted."""
    topic = broker.topic(PARTITIONS)
    writers = [
        broker.producer(),
        broker.producer(**{"compression.type": "zstd", "linger.ms": 50}),
        broker.producer(transactional_id=f"{topic}-sorts"),
    ]
    writers[2].init_transactions()
    for number, writer in enumerate(writers):
        for end in ("commit_transaction", "abort_transaction", "commit_transaction"):
            if number == 2:
                writer.begin_transaction()
            for n, body in enumerate(BODIES):
                for key in KEYS:
                    for headers in HEADERS:
                        stamp = [1, 1_700_000_000_000, 1_750_000_000_000][n % 3]
                        writer.produce(topic, body, key, number, timestamp=stamp, headers=headers)
            assert writer.flush(30) == 0
            if number == 2:
                getattr(writer, end)()
    return topic


def test_both_ways_give_the_same_rows_and_the_same_positions(broker, monkeypatch, compiled):
    topic = of_all_sorts(broker)
    found = {}
    for pure in ("0", "1"):
        monkeypatch.setenv("HEADGATE_PURE", pure)
        for size in (20_000, 1 << 23):
            batches = list(source(broker, topic, batch_bytes=size).read(Position.start()))
            for batch in batches:
                batch.rows.validate(full=True)
            rows = pa.Table.from_batches([batch.rows for batch in batches]).sort_by(
                [("_hg_partition", "ascending"), ("_hg_offset", "ascending")]
            )
            found[pure, size] = rows.to_pylist(), batches[-1].end
    first, *others = found.values()
    assert len(first[0]) == 8 * len(BODIES) * len(KEYS) * len(HEADERS)
    assert all(other == first for other in others)


def test_messages_come_compiled_where_they_can(broker, compiled):
    bounds = Bounds.of(1)
    client = opened(topic_of(broker, broker.topic(1)), bounds, [0])
    assert isinstance(client, kafka_client._Columns)
    client.close()


def test_another_library_is_not_trusted(broker, monkeypatch, compiled):
    class Other:
        @staticmethod
        def bind(path: str) -> bool:
            return False

    monkeypatch.setattr(native, "load", lambda name: Other)
    client = opened(topic_of(broker, broker.topic(1)), Bounds.of(1), [0])
    assert isinstance(client, kafka_client._Objects)
    client.close()


def test_nothing_is_taken_before_the_end_is_passed_and_no_message_beyond_it(broker, way):
    topic = broker.topic(2)
    broker.produce(topic, [b"%d" % n for n in range(50)], 0)
    broker.produce(topic, [b"%d" % n for n in range(50)], 1)
    bounds = Bounds.of(2)
    bounds.next[:], bounds.stop[:] = (10, 0), (20, 7)
    client = opened(topic_of(broker, topic), bounds, [0, 1])
    while (bounds.next < bounds.stop).any():
        client.gather(1 << 20, 0.1, -1)
    rows = client.take().select(["_hg_partition", "_hg_offset"]).to_pydict()
    client.close()
    read = sorted(zip(rows["_hg_partition"], rows["_hg_offset"], strict=True))
    assert read == [*((f"{topic}/0", n) for n in range(10, 20)), *((f"{topic}/1", n) for n in range(7))]


def test_a_message_that_comes_again_is_not_taken(broker, way):
    topic = broker.topic(1)
    broker.produce(topic, [b"1", b"2"])
    bounds = Bounds.of(1)
    client = opened(topic_of(broker, topic), bounds, [0])
    bounds.next[0] = 1
    with pytest.raises(SourceUnavailable, match="again"):
        gathered(client)
    client.close()


def test_a_setting_that_the_client_refuses_is_the_users_to_mend(broker, way, monkeypatch):
    monkeypatch.setitem(kafka_client.SETTINGS, "fetch.max.bytes", "many")
    topic = broker.topic(1)
    broker.produce(topic, [b"1"])
    with pytest.raises(FixInputError, match=r"fetch\.max\.bytes"):
        list(source(broker, topic).read(Position.start()))


def test_rows_outlive_the_client_that_brought_them(broker, way):
    topic = broker.topic(1)
    broker.produce(topic, [b"%05d" % n * 100 for n in range(3000)])
    one = source(broker, topic, batch_bytes=100_000)
    batches = [batch.rows for batch in one.read(Position.start())]
    one.close()
    values = pa.Table.from_batches(batches).column("_hg_raw").to_pylist()
    assert values == [b"%05d" % n * 100 for n in range(3000)]


def test_a_read_ends_when_its_source_is_closed_beside_it(broker, way):
    one, read, ended = source(broker, broker.topic(1)), threading.Event(), []

    def follow():
        try:
            for _ in one.follow(Position.start()):
                read.set()
        except SourceUnavailable as error:
            ended.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    assert read.wait(30)
    one.close()
    thread.join(30)
    assert not thread.is_alive()


def test_a_read_that_began_before_gives_the_same_rows_and_one_from_elsewhere_is_not_mistaken_for_it(broker, way):
    topic = broker.topic(1)
    broker.produce(topic, [b"%d" % n for n in range(50)], 0)
    plain = source(broker, topic, batch_bytes=100)
    expected = list(plain.read(Position.start()))
    middle = expected[2].end
    plain.close()
    for begun, after, left in [
        (Position.start(), Position.start(), expected),
        (middle, middle, expected[3:]),
        (Position.start(), middle, expected[3:]),
    ]:
        one = source(broker, topic, batch_bytes=100)
        one.begin(begun)
        batches = list(one.read(after))
        assert pa.Table.from_batches([b.rows for b in batches]) == pa.Table.from_batches([b.rows for b in left])
        assert (batches[0].start, batches[-1].end) == (after, expected[-1].end)
        one.close()


def test_a_read_that_began_raises_only_where_it_is_asked_for_and_ends_with_its_source(broker, way):
    one = source(broker, "there-is-none")
    one.begin(Position.start())
    with pytest.raises(FixInputError):
        next(one.read(Position.start()))
    one.close()
    gone = kafka.connect(DATASET, Server("bus", "kafka", {"host": "127.0.0.1:1", "topic": "x"}), {"wait_s": 3600})
    gone.begin(Position.start())
    ahead = gone._ahead
    gone.close()
    assert not ahead._thread.is_alive()


def test_headers_with_a_name_that_is_no_text_are_told_as_such():
    """A producer of Python cannot send one."""

    def column(*values):
        ends = [0]
        for value in values:
            ends.append(ends[-1] + len(value))
        return None, struct.pack(f"{len(ends)}i", *ends), b"".join(values), 0

    headers = b"\x05", struct.pack("4i", 0, 2, 2, 3), 1, 3, column(b"a", b"\xff", b"b"), column(b"1", b"2", b"3")
    rows = Joined(
        3,
        struct.pack("3i", 0, 0, 0),
        struct.pack("3q", 0, 1, 2),
        b"\x01\x01\x00",
        struct.pack("3q", 0, 1, -1),
        column(b"", b"", b""),
        column(b"", b"", b""),
        headers,
    ).rows(pa.array(["t/0"]), "json")
    rows.validate(full=True)
    assert rows.column("_hg_headers").to_pylist() == [
        [{"name": "_hg_unreadable", "value": None}],
        None,
        [{"name": "b", "value": b"3"}],
    ]


@pytest.mark.parametrize(
    "ask",
    [lambda asked, _: asked.facts(), lambda asked, client: described(client, asked.address, asked.settings.topic)],
)
def test_to_ask_again_and_again_what_a_topic_is_holds_no_memory(broker, ask):
    """A run that goes on asks ten times a second, for days."""
    asked = topic_of(broker, broker.topic(1))
    client = admin(asked.address)
    for _ in range(100):
        last = ask(asked, client)
    asked.close()
    assert last
    gc.collect()
    assert sum(type(one).__name__ == "Uuid" for one in gc.get_objects()) < 50
