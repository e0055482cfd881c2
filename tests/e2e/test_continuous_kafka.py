"""A topic that is followed: seen at once, drained on a stop, killed at crash points, shared by workers; nothing lost."""

from __future__ import annotations

import signal
import threading

import pytest

from e2e.command import good
from rigs.events import Feed
from rigs.going import Going, account, rows_of, until

POINTS = (
    "land: rows written, position not",
    "refine: published",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("land: published", "continuous: landed, not told", "refine: files written, not published")
    ),
)


@pytest.fixture
def feed(broker):
    return Feed(broker)


@pytest.fixture
def project(tmp_path, feed):
    return feed.follow(tmp_path)


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


class Onlooker(threading.Thread):
    """Another member of the group, which tells how often the group gives it something or takes it away."""

    def __init__(self, broker, topic, group):
        from confluent_kafka import Consumer

        super().__init__(daemon=True)
        own = {
            "group.id": group,
            "group.instance.id": "onlooker",
            "partition.assignment.strategy": "cooperative-sticky",
        }
        self.client = Consumer({"bootstrap.servers": broker.bootstrap, "log_level": 0, **own})
        self.moves, self.mine, self.quit = 0, set(), threading.Event()
        self.client.subscribe([topic], on_assign=self.given, on_revoke=self.taken, on_lost=self.taken)
        self.start()

    def given(self, client, partitions):
        client.incremental_assign(partitions)
        self.mine |= {one.partition for one in partitions}
        self.moves += 1

    def taken(self, client, partitions):
        client.incremental_unassign(partitions)
        self.mine -= {one.partition for one in partitions}
        self.moves += 1

    def run(self):
        while not self.quit.is_set():
            self.client.poll(0.05)
        self.client.close()


@pytest.mark.parametrize("member", ["member: a, ", ""])
def test_a_lasting_member_that_is_back_in_time_moves_nobody(tmp_path, broker, member):
    """Killed and started again within the session; without a lasting name the group shares out anew."""
    feed = Feed(broker, 4)
    topic = feed.topic
    read = f"{{{member}group: {topic}-{len(member)}, session_s: {30 if member else 6}}}"
    project = feed.follow(tmp_path, f"continuous: {{batch_ms: 100}}\ndatasets: {{events: {{read: {read}}}}}\n")
    with Going(project) as going:
        feed.send(400)
        going.until_rows("bronze.events", 400)
        onlooker = Onlooker(broker, topic, f"{topic}-{len(member)}")
        until(lambda: len(onlooker.mine) == 2, "half of the partitions are the onlooker's")
        feed.send(400)
        going.until_rows("bronze.events", 600)
        going.send(signal.SIGKILL)
        going.end()
    before = onlooker.moves
    with Going(project, said="again.err") as going:
        feed.send(400)
        if member:
            going.until_rows("bronze.events", 800)
            assert rows_of(project, "bronze.events") == 800, "the other half is the onlooker's"
        else:
            until(lambda: onlooker.moves > before, "the group shares out anew")
        assert going.stop() == 0, going.said
    assert (onlooker.moves == before) is bool(member)
    onlooker.quit.set()
    onlooker.join()
