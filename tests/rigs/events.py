"""Numbered events on a topic with two partitions, and the project that follows them."""

from __future__ import annotations

import json
from pathlib import Path

from rigs.kafka import Broker

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
      - {{name: amount, logicalType: number}}
"""


class Feed:
    """Numbered events, one of a hundred no JSON, over the partitions of a topic."""

    def __init__(self, broker: Broker, partitions: int = 2) -> None:
        self.broker, self.partitions, self.sent = broker, partitions, 0
        self.topic = broker.topic(partitions)

    def send(self, count: int) -> None:
        """So many more."""
        for partition in range(self.partitions):
            numbers = range(self.sent + partition, self.sent + count, self.partitions)
            values = [b"{oh no" if n % 100 == 99 else json.dumps({"id": n, "text": "x"}).encode() for n in numbers]
            self.broker.produce(self.topic, values, partition)
        self.sent += count

    @property
    def good(self) -> int:
        """How many of those sent are JSON."""
        return self.sent - self.sent // 100

    def follow(self, folder: Path, settings: str = "continuous: {batch_ms: 100}\n") -> Path:
        """A project that reads the topic."""
        (folder / "contracts").mkdir(parents=True)
        contract = CONTRACT.format(host=self.broker.bootstrap, topic=self.topic)
        (folder / "contracts" / "events.odcs.yaml").write_text(contract)
        (folder / "headgate.yaml").write_text(settings)
        return folder
