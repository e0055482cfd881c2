"""A topic kept as NDJSON files while it fills: every message in one file once, whatever is killed when."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from e2e.command import good
from headgate.stores.ndjson_place import open_place
from rigs import s3
from rigs.kafka import until

NAME = re.compile(r"ingest_date=\d{4}-\d\d-\d\d/(.+)@(\d+)\.(\d{12})-(\d{12})\.\d{8}T\d{6}Z\.ndjson(\.zst)?$")
POINTS = ("ndjson: files written, not committed", "ndjson: committed, files pending", "carry: committed")


def command(topic: str, target: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "headgate", "topic", "consume", topic, "--to", target, *more]


def kept(target: str, options: dict | None = None) -> dict[tuple[int, int], list[bytes]]:
    """(partition, first offset) -> lines, after proving that names say what is inside and that no two overlap."""
    place, found, reached = open_place(target, options or {}), {}, {}
    for name in sorted(n for n in place.names("") if "ingest_date=" in n):
        match = NAME.search(name)
        assert match, name
        partition, first, last = int(match[2]), int(match[3]), int(match[4])
        content = place.read(name)
        lines = zstandard.ZstdDecompressor().stream_reader(content).read() if match[5] else content
        found[partition, first] = lines.splitlines()
        reached.setdefault(partition, []).append((first, last))
    for spans in reached.values():
        spans.sort()
        assert all(before[1] < after[0] for before, after in zip(spans, spans[1:], strict=False)), spans
    return found


def messages(target: str, options: dict | None = None) -> list[int]:
    return sorted(json.loads(line)["n"] for lines in kept(target, options).values() for line in lines)


def fill(broker, topic: str, first: int, count: int) -> None:
    for partition in range(3):
        broker.produce(topic, [json.dumps({"n": first + n * 3 + partition}).encode() for n in range(count)], partition)


@pytest.fixture
def environment(broker):
    return {**os.environ, **s3.KEYS, "KAFKA_BOOTSTRAP": broker.bootstrap}


def test_files_are_cut_by_rows_and_go_on_where_they_were(broker, environment, tmp_path):
    topic = broker.topic(3)
    target = str(tmp_path / "raw")
    for run in range(3):
        fill(broker, topic, run * 300, 100)
        told = good(
            "topic", "consume", topic, "--to", target, "--roll-rows", "40", env={"KAFKA_BOOTSTRAP": broker.bootstrap}
        )
        assert told["messages"] == 300
    assert messages(target) == list(range(900))
    assert all(len(lines) <= 40 for lines in kept(target).values())


def test_killed_at_every_point_it_loses_and_doubles_nothing(broker, environment, tmp_path):
    topic = broker.topic(3)
    target = str(tmp_path / "raw")
    for number, point in enumerate((*POINTS, *POINTS)):
        fill(broker, topic, number * 60, 20)
        killed = {**environment, "HEADGATE_CRASH": point}
        done = subprocess.run(command(topic, target), env=killed, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        kept(target)
    subprocess.run(command(topic, target), env=environment, check=True, capture_output=True)
    assert messages(target) == list(range(60 * 2 * len(POINTS)))
    # Files of commits that died before they were decided wait to be cleared; nobody reads them.
    assert len({p.parent for p in Path(target).rglob("_pending/*/*")}) == 2


@pytest.mark.usefixtures("s3_keys")
def test_a_bucket_follows_a_topic_until_it_is_asked_to_stop(broker, environment, s3_server):
    topic = broker.topic(3)
    target, options = f"s3://{s3_server.make_bucket()}/raw", {"endpoint": s3_server.endpoint}
    environment = {**environment, "AWS_ENDPOINT_URL": s3_server.endpoint}
    fill(broker, topic, 0, 50)
    more = ("--follow", "--roll-seconds", "0.3", "--compression", "none", "--group", f"raw-{topic}")
    going = subprocess.Popen(command(topic, target, *more), env=environment, stderr=subprocess.PIPE)
    try:
        until(lambda: len(messages(target, options)) == 150, "the first messages are kept", 60)
        fill(broker, topic, 150, 50)
        until(lambda: len(messages(target, options)) == 300, "what came later is kept too", 60)
        fill(broker, topic, 300, 10)
    finally:
        going.send_signal(signal.SIGTERM)
        _, said = going.communicate(timeout=60)
    assert going.returncode == 0, said
    subprocess.run(command(topic, target, "--compression", "none"), env=environment, check=True, capture_output=True)
    assert messages(target, options) == list(range(330))
