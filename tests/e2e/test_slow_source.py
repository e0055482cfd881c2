"""A broker that takes connections and never answers: its dataset waits, the others go on, and memory stays."""

from __future__ import annotations

import json
from pathlib import Path

from e2e.command import good, headgate
from rigs.events import Feed
from rigs.going import Going, until
from rigs.kafka import Broker

OTHER = """\
apiVersion: v3.2.0
kind: DataContract
id: others
version: 1.0.0
status: active
servers:
  - {server: drop, type: local, path: 'inbox/*.ndjson', format: ndjson}
schema:
  - name: others
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: text, logicalType: string}
"""
MOST_MIB = 512


def drop(project, number):
    (project / "inbox" / f"{number}.ndjson").write_text(json.dumps({"id": number, "text": "x"}) + "\n")


def others(project):
    """Rows of the other dataset; the broker is not asked."""
    return good("query", "select count(*) as n from silver.others", project=project)[0]["n"]


def test_a_broker_that_stands_still_holds_up_nobody_else(tmp_path):
    broker = Broker().start()
    try:
        feed = Feed(broker, 1)
        topic = feed.topic
        broker.produce(topic, [b'{"id": 1}'])
        read = "events: {read: {wait_s: 2}}"
        feed.follow(tmp_path, f"continuous: {{batch_ms: 100}}\ndatasets: {{{read}}}\n")
        (tmp_path / "inbox").mkdir()
        (tmp_path / "contracts" / "others.odcs.yaml").write_text(OTHER)
        drop(tmp_path, 0)
        with Going(tmp_path) as going:
            going.until_rows("silver.events", 1)
            going.until_rows("silver.others", 1)
            with broker.frozen():
                for number in range(1, 6):  # each is seen while the broker does not answer
                    drop(tmp_path, number)
                    until(lambda number=number: others(tmp_path) == number + 1, "the file that came meanwhile")
                done = headgate("run", "events", project=tmp_path)
                assert (done.code, "did not answer for 2 s" in done.err) == (3, True), done.err
            broker.produce(topic, [b'{"id": 2}'])
            going.until_rows("silver.events", 2)
            status = Path(f"/proc/{going.process.pid}/status").read_text()
            assert int(status.partition("VmHWM:")[2].split()[0]) < MOST_MIB * 1024
            assert going.stop() == 0, going.said
        assert others(tmp_path) == 6
    finally:
        broker.stop()
