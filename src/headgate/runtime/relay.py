"""`transport:` of a dataset: two moves of the same shape, source to topic and topic to bronze, seen as one source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError, SourceChanged
from headgate.ports.source import Peeks, Source, Tells
from headgate.runtime.settings import TransportSettings
from headgate.runtime.variables import resolve

if TYPE_CHECKING:
    import pyarrow as pa

    from headgate.ports.batch import Batch, Position
    from headgate.ports.store import Sink

_LARGEST_MESSAGE = {"max.message.bytes": str(64 << 20)}  # of topics that are made for a transport

_WRITING = ("partitions", "replication", "config", "create", "compression", "transaction_timeout_s")
_READING = ("wait_s", "batch_bytes")


def relayed(
    dataset: Dataset, direct: Source, asked: TransportSettings, env: Mapping[str, str], store: Any, carried: Any
) -> Relay:
    """The dataset's source behind its transport: `store` is the module with `open_sink`, `carried` the one that reads
    what was carried. FixInputError when nothing says where the transport is."""
    return Relay(dataset, direct, _server(dataset, asked, env), store, carried)


def _server(dataset: Dataset, asked: TransportSettings, env: Mapping[str, str]) -> Server:
    """Where the transport is: the contract's server that is named, else its first of that kind; the settings' own
    options win; KAFKA_BOOTSTRAP when neither says it."""
    fit = [s for s in dataset.servers if s.name == asked.server or (asked.server is None and s.kind == asked.kind)]
    if asked.server is not None and not fit:
        known = ", ".join(s.name for s in dataset.servers) or "none"
        raise FixInputError(
            f"transport: no server {asked.server}",
            where=f"headgate.yaml: {dataset.name}",
            hint=f"servers in the contract: {known}",
        )
    own = resolve(dict(asked.options), env, f"headgate.yaml: {dataset.name}")
    given = resolve(dict(fit[0].options), env, str(fit[0].place or dataset.name)) if fit else {}
    address = {name: value for name, value in given.items() if name not in ("topic", "format")}
    if not fit and env.get("KAFKA_BOOTSTRAP"):
        address = {"host": env["KAFKA_BOOTSTRAP"]}
    options = {**address, **own}
    if port := options.pop("port", None):
        options["host"] = ",".join(h if ":" in h else f"{h}:{port}" for h in str(options.get("host", "")).split(","))
    options |= {"topic": str(own.get("topic") or f"headgate.{dataset.name}")}
    if not options.get("host"):
        raise FixInputError(
            f"transport: the contract names no server of type {asked.kind}",
            where=f"headgate.yaml: {dataset.name}",
            hint=f"add one to the contract's servers, or write transport: {{kind: {asked.kind}, host: broker:9092}}",
        )
    return Server(asked.kind, asked.kind, options, fit[0].place if fit else dataset.place)


@dataclass
class Relay:
    """Reads what stands in the topic, after it has brought there what is new. See `headgate.ports.source`."""

    dataset: Dataset
    direct: Source
    server: Server
    store: Any
    carried: Any
    _sink: Sink | None = field(default=None, init=False)
    _arriving: Source | None = field(default=None, init=False)

    def schema(self) -> pa.Schema:
        """The direct source's columns behind the coordinates that rows have in the topic."""
        return self._arrivals().schema()

    def read(self, after: Position) -> Iterator[Batch]:
        """Bring everything new to the topic, then give what stands there after the position."""
        from headgate.steps.carry import carry

        topic = str(self.server.options["topic"])
        if after.tokens and not any(name.startswith(f"{topic}/") for name in after.tokens):
            raise SourceChanged(
                f"bronze holds rows that came without the transport, from {', '.join(sorted(after.tokens))}",
                where=f"bronze.{self.dataset.name}",
                hint="rows would be there twice: take the transport out again, or begin with another lake",
            )
        carry(self.direct, self._outgoing(), self.dataset.name)
        yield from self._arrivals().read(after)

    def idle(self, after: Position) -> bool:
        """Whether nothing is new at the source, and nothing waits in the topic."""
        there, here = self.direct, self._arrivals()
        if not isinstance(there, Peeks) or not isinstance(here, Peeks):
            return False
        return there.idle(self._outgoing().position(self.dataset.name)) and here.idle(after)

    def tell(self) -> Mapping[str, Any]:
        """What both say; `transport` is the topic's part."""
        told = dict(self.direct.tell()) if isinstance(self.direct, Tells) else {}
        here = self._arrivals()
        told["transport"] = dict(here.tell()) if isinstance(here, Tells) else {}
        told["limitations"] = [*told.get("limitations", ()), *told["transport"].pop("limitations", ())]
        return told

    def close(self) -> None:
        """Give back all connections."""
        for one in (self._arriving, self._sink, self.direct):
            if one is not None:
                one.close()

    def _outgoing(self) -> Sink:
        if self._sink is None:
            self._open()
        assert self._sink is not None
        return self._sink

    def _arrivals(self) -> Source:
        if self._arriving is None:
            self._open()
        assert self._arriving is not None
        return self._arriving

    def _open(self) -> None:
        from headgate.formats.messages import Form
        from headgate.ports.store import TableSpec
        from headgate.steps.carry import key_columns
        from headgate.steps.land import bronze_spec

        schema = self.direct.schema()
        bronze_spec(self.dataset, schema)  # complains about names that cannot stand side by side
        key = key_columns(self.dataset, schema)
        options = {k: v for k, v in self.server.options.items() if k not in ("host", *_READING)}
        options = {"config": _LARGEST_MESSAGE, **options, "ordered": key is None}
        host, spec = str(self.server.options["host"]), TableSpec(self.dataset.name, schema, key=key or ())
        self._sink = self.store.open_sink(host, options, spec)
        arriving = {k: v for k, v in self.server.options.items() if k not in _WRITING}
        server = Server(self.server.name, self.server.kind, arriving, self.server.place)
        self._arriving = self.carried.connect(self.dataset, server, {}, Form.of(self.dataset.name, schema))
