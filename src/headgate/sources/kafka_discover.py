"""What a topic's messages could be read as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.contract.model import Dataset, Server
from headgate.sources.files_discover import Discovery, of_json
from headgate.sources.kafka import connect

SAMPLE_WAIT_S = 10.0


def discover(options: Mapping[str, Any], topic: str) -> Discovery:
    """Look at the topic's oldest messages. `options` are those of a contract's server.

    Raises FixInputError for a topic that is not there, is empty or holds no JSON objects, SourceUnavailable when no
    broker answers.
    """
    server = Server("bus", "kafka", {**options, "format": "json"})
    source = connect(Dataset(topic, (), "discovered", "0"), server, {"topic": topic, "wait_s": SAMPLE_WAIT_S})
    try:
        return of_json(source, server)
    finally:
        source.close()
