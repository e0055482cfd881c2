"""A topic that is followed: seen at once, drained on a stop, killed at crash points, shared by workers; nothing lost."""

from __future__ import annotations

import json
import signal

import pytest

from e2e.command import good
from rigs.going import Going, account, rows_of

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: events
version: 1.0.0
status: active
servers:
  - {{server: bus, type: kafka, host: '{host}', format: json}}
schema:
  - name: events
    physicalName: {topic}
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
      - {{name: text, logicalType: string}}
"""
POINTS = (
    "land: rows written, position not",
    "refine: published",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("land: published", "continuous: landed, not told", "refine: files written, not published")
    ),
)


class Feed:
    """Numbered events, one of a hundred no JSON, over the partitions of a topic."""

    def __init__(self, broker, topic, partitions):
        self.broker, self.topic, self.partitions, self.sent = broker, topic, partitions, 0

    def send(self, count):
        for partition in range(self.partitions):
            numbers = range(self.sent + partition, self.sent + count, self.partitions)
            values = [b"{oh no" if n % 100 == 99 else json.dumps({"id": n, "text": "x"}).encode() for n in numbers]
            self.broker.produce(self.topic, values, partition)
        self.sent += count

    @property
    def good(self):
        return self.sent - self.sent // 100


@pytest.fixture
def feed(broker):
    return Feed(broker, broker.topic(2), 2)


@pytest.fixture
def project(tmp_path, broker, feed):
    (tmp_path / "contracts").mkdir()
    contract = CONTRACT.format(host=broker.bootstrap, topic=feed.topic)
    (tmp_path / "contracts" / "events.odcs.yaml").write_text(contract)
    (tmp_path / "headgate.yaml").write_text("continuous: {batch_ms: 100}\n")
    return tmp_path


def proven(project, feed):
    found = account(project)
    numbers = (found["state"], found["bronze"], found["silver"], found["quarantine"])
    assert numbers == ("balanced", feed.sent, feed.good, feed.sent // 100)
    assert good("query", "select count(distinct id) as n from silver.events", project=project) == [{"n": feed.good}]


def test_messages_are_seen_while_it_runs_and_a_stop_drains(project, feed):
    feed.send(1_000)
    with Going(project) as going:
        going.until_rows("silver.events", feed.good)
        feed.send(500)
        going.until_rows("silver.events", feed.good)
        feed.send(2_000)
        going.until_rows("bronze.events", feed.sent - 2_000 + 1)
        assert going.stop() == 0, going.said
    good("run", project=project)
    proven(project, feed)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_the_next_process_goes_on(project, feed, point):
    feed.send(400)
    with Going(project, env={"HEADGATE_CRASH": f"{point}@2"}) as going:
        going.until_rows_or_end("bronze.events", 400)
        feed.send(400)
        going.until_rows_or_end("silver.events", feed.good)
        feed.send(400)
        assert going.end() == -signal.SIGKILL, going.said
    with Going(project) as going:
        going.until_rows("silver.events", feed.good)
        assert going.stop() == 0, going.said
    proven(project, feed)


def test_two_workers_share_a_topic_and_one_dies(project, feed):
    (project / "headgate.yaml").write_text("continuous: {batch_ms: 100}\ndatasets: {events: {read: {group: shared}}}\n")
    feed.send(400)
    with Going(project) as one:
        one.until_rows("silver.events", feed.good)
        (project / "two").mkdir()
        with Going(project, said="going-two.err") as two:
            two.until_said("following")
            feed.send(400)
            one.until_rows("silver.events", feed.good)
            two.send(signal.SIGKILL)
            two.end()
            feed.send(400)
            assert one.stop() == 0, one.said
    good("run", project=project)
    proven(project, feed)
    assert rows_of(project, "silver.events") == feed.good
