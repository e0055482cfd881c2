"""`headgate topic create | list | describe | produce | consume`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from headgate.cli import show
from headgate.clients import kafka, kafka_topics
from headgate.clients.kafka import Address
from headgate.contract.model import Dataset, Server
from headgate.errors import ContractSyntaxError, FixInputError
from headgate.runtime.project import Project
from headgate.runtime.variables import environment, resolve

ROLL_READ = 4  # bytes of rows that are held for a byte of a compressed file, at most
OWN = ("_headgate.", "__")  # names of Headgate's and of Kafka's own topics begin so


def create_topic(arguments: argparse.Namespace) -> int:
    """Make a topic."""
    address = _address(arguments)
    config = {}
    for pair in arguments.config:
        name, equals, value = pair.partition("=")
        if not equals:
            raise FixInputError(f"--config {pair}", hint="write --config retention.ms=86400000")
        config[name] = value
    made = kafka_topics.create(
        kafka.admin(address),
        address,
        arguments.name,
        partitions=arguments.partitions,
        replication=arguments.replication,
        config=config,
        may_exist=arguments.if_missing,
    )
    if arguments.json:
        show.document({"topic": made.name, "partitions": len(made.partitions), "replication": made.replication})
    show.line(f"{made.name}: {len(made.partitions)} partitions, replication {made.replication}, at {address}")
    return 0


def list_topics(arguments: argparse.Namespace) -> int:
    """List topics with the number of messages' offsets that each keeps."""
    address = _address(arguments)
    client = kafka.admin(address)
    rows = []
    for name in kafka_topics.names(client, address):
        if name.startswith(OWN) and not arguments.all:
            continue
        found = kafka_topics.topic(client, address, name)
        if found is not None:
            bounds = kafka_topics.offsets(client, address, name, found.partitions)
            kept = sum(one.end - one.first for one in bounds.values())
            rows.append(
                {"topic": name, "partitions": len(found.partitions), "replication": found.replication, "offsets": kept}
            )
    if arguments.json:
        show.document(rows)
    else:
        numbers = ["partitions", "replication", "offsets"]
        show.table("", ["topic", *numbers], [list(one.values()) for one in rows], right=numbers)
    return 0


def describe(arguments: argparse.Namespace) -> int:
    """Show partitions, offsets, settings, and how far bronze has read."""
    address = _address(arguments)
    client = kafka.admin(address)
    found = kafka_topics.existing(client, address, arguments.name)
    bounds = kafka_topics.offsets(client, address, found.name, found.partitions)
    readers = _readers(arguments, found.name)
    told: dict[str, Any] = {
        "topic": found.name,
        "id": found.id,
        "replication": found.replication,
        "config": kafka_topics.configured(client, address, found.name),
        "partitions": [
            {
                "partition": number,
                "leader": found.leaders[number],
                "first": one.first,
                "committed": one.stable,
                "end": one.end,
                "lag": {name: max(one.stable - at.get(number, one.first), 0) for name, at in readers.items()},
            }
            for number, one in bounds.items()
        ],
        "lag": {
            name: sum(max(one.stable - at.get(number, one.first), 0) for number, one in bounds.items())
            for name, at in readers.items()
        },
    }
    if arguments.json:
        show.document(told)
        return 0
    numbers = ["partition", "leader", "first", "committed", "end", *(f"lag of {name}" for name in readers)]
    rows = [[*list(one.values())[:5], *one["lag"].values()] for one in told["partitions"]]
    show.table(f"{found.name}, replication {found.replication}", numbers, rows, right=numbers)
    for name, value in told["config"].items():
        show.line(f"  {name}={value}")
    return 0


def produce(arguments: argparse.Namespace) -> int:
    """Send lines as messages."""
    from headgate.clients.kafka_sending import send

    address = _address(arguments)
    kafka_topics.existing(kafka.admin(address), address, arguments.name)
    lines = _Lines(arguments.file, arguments.key, arguments.max)
    sent = send(address, arguments.name, lines.messages(), arguments.rate)
    if arguments.json:
        show.document({"topic": arguments.name, "messages": sent, "without_key": lines.keyless})
    missing = f"; {lines.keyless:,} have no {arguments.key} and went without a key" if lines.keyless else ""
    show.line(f"{sent:,} messages to {arguments.name}{missing}")
    return 0


class _Lines:
    """Lines of a file with their keys. One in which the key is not found goes without: what it is, others decide."""

    def __init__(self, path: str, key: str | None, most: int | None) -> None:
        self.path, self.keyless, self._most = path, 0, most
        self._key = key.split(".") if key else None

    def messages(self) -> Iterator[tuple[bytes | None, bytes]]:
        if self.path != "-" and not Path(self.path).is_file():
            raise FixInputError(f"no such file: {self.path}", hint="give an NDJSON file, or - for stdin")
        file = sys.stdin.buffer if self.path == "-" else open(self.path, "rb")  # noqa: SIM115
        try:
            count = 0
            for line in file:
                value = line.rstrip(b"\r\n")
                if not value.strip():
                    continue
                if self._most is not None and count >= self._most:
                    return
                count += 1
                yield self._key_of(value), value
        finally:
            if file is not sys.stdin.buffer:
                file.close()

    def _key_of(self, line: bytes) -> bytes | None:
        if self._key is None:
            return None
        try:
            value = json.loads(line)
            for member in self._key:
                value = value[member]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            value = None
        if value is None:
            self.keyless += 1
            return None
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "surrogatepass")


def consume(arguments: argparse.Namespace) -> int:
    """Print messages as they are, one a line, or keep them as files."""
    address = _address(arguments)
    client = kafka.admin(address)
    found = kafka_topics.existing(client, address, arguments.name)
    if arguments.to:
        return _keep(arguments, address)
    from headgate.clients.kafka_reading import messages

    bounds = kafka_topics.offsets(client, address, found.name, found.partitions)
    ends = {number: one.stable for number, one in bounds.items()}
    latest = arguments.start == "latest"
    starts = ends if latest else {number: one.first for number, one in bounds.items()}
    going = messages(address, found.name, starts, None if latest or arguments.follow else ends)
    count = 0
    if arguments.json:
        sys.stdout.write("[")
    for some in going:
        for message in some[: None if arguments.max is None else arguments.max - count]:
            if arguments.json:
                sys.stdout.write(("\n " if not count else ",\n ") + json.dumps(_envelope(message), ensure_ascii=False))
            else:
                sys.stdout.buffer.write(_line(message.value()))
            count += 1
        sys.stdout.flush()
        if arguments.max is not None and count >= arguments.max:
            break
    if arguments.json:
        sys.stdout.write("\n]\n")
    show.line(f"{count:,} messages from {found.name}")
    return 0


def _line(value: bytes | None) -> bytes:
    """The value on one line. In JSON a line break is white space: a blank says the same."""
    return (b"null" if value is None else value.replace(b"\n", b" ")) + b"\n"


def _envelope(message: Any) -> dict[str, Any]:
    _, milliseconds = message.timestamp()
    headers = [[name, _text(value)] for name, value in message.headers() or ()]
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp_ms": milliseconds,
        "key": _text(message.key()),
        "value": _text(message.value()),
        "headers": headers,
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _keep(arguments: argparse.Namespace, address: Address) -> int:
    """Everything new as NDJSON files: the same move as into any other store, so asking again goes on. With --follow
    until SIGTERM or SIGINT: what has come by then is kept.
    """
    from headgate.ports.store import TableSpec
    from headgate.runtime.wire import source_module, store_module
    from headgate.steps.carry import carry
    from headgate.steps.land import Pace

    server = Server("topic", "kafka", {**address.passed, "host": address.bootstrap, "topic": arguments.name})
    dataset = Dataset(arguments.name, (), arguments.name, "0")
    read = {
        "start": "latest" if arguments.start == "latest" else "earliest",
        **({"group": arguments.group} if arguments.group else {}),
    }
    source = source_module("kafka", "topic").connect(dataset, server, read)
    options = {
        "roll_rows": arguments.roll_rows,
        "roll_bytes": arguments.roll_bytes,
        "compression": arguments.compression,
    }
    sink = store_module("ndjson", "topic").open_sink(arguments.to, options, TableSpec(arguments.name, source.schema()))
    pace = Pace(arguments.roll_rows, ROLL_READ * arguments.roll_bytes, arguments.roll_seconds)
    asked = Event()
    if arguments.follow:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, lambda *_: asked.set())
    try:
        done = carry(source, sink, arguments.name, pace=pace, stop=asked.is_set if arguments.follow else None)
    finally:
        source.close()
        sink.close()
    if arguments.json:
        show.document({"topic": arguments.name, "messages": done.rows, "to": arguments.to})
    show.line(f"{done.rows:,} messages from {arguments.name} to {arguments.to}")
    return 0


# --- where


def _address(arguments: argparse.Namespace) -> Address:
    """The cluster: what was said, else the environment, else the project's first server of type kafka."""
    env = environment(Path(arguments.project))
    server = _server(arguments, env)
    if arguments.bootstrap or env.get("KAFKA_BOOTSTRAP"):
        options = {**(server or {}), "host": arguments.bootstrap or env["KAFKA_BOOTSTRAP"], "port": None}
        return Address.parse(options)
    if server is None:
        raise FixInputError(
            "which Kafka?", hint="give --bootstrap HOST:PORT, set KAFKA_BOOTSTRAP, or name a server of type kafka"
        )
    return Address.parse(server)


def _server(arguments: argparse.Namespace, env: Mapping[str, str]) -> dict[str, Any] | None:
    """Options of the project's first server of type kafka; None without one, or without a project."""
    project = _project(arguments)
    for dataset in project.datasets if project else ():
        for server in dataset.servers:
            if server.kind == "kafka":
                given = {k: v for k, v in server.options.items() if k != "host" or not arguments.bootstrap}
                return dict(resolve(given, env, str(server.place or server.name)))
    return None


def _project(arguments: argparse.Namespace) -> Project | None:
    try:
        return Project.open(arguments.project)
    except ContractSyntaxError:
        raise
    except FixInputError:  # there is none here
        return None


def _readers(arguments: argparse.Namespace, topic: str) -> dict[str, dict[int, int]]:
    """Datasets whose bronze was read from this topic: how far, in each partition."""
    from headgate.sources.kafka_position import tokens_of

    project = _project(arguments)
    if project is None or not (project.folder / project.settings.lake.warehouse).is_dir():
        return {}
    cut, found = project.lake.cut(), {}
    for dataset in project.datasets:
        table = cut.table(f"bronze.{dataset.name}")
        at = table.position(dataset.name) if table is not None else None
        if at is not None and any(name.startswith(f"{topic}/") for name in at.tokens):
            found[dataset.name] = {number: token.offset for number, token in tokens_of(at, topic).items()}
    return found
