"""Kafka clusters: how one is reached, and Kafka's errors as Headgate's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from headgate.errors import (
    CommitConflict,
    FixInputError,
    HeadgateError,
    MissingExtraError,
    RetryableError,
    SourceUnavailable,
    StoreUnavailable,
)

TIMEOUT_S = 15.0  # how long one question to the cluster may take

_RIGHTS = (
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
)
_IDENTITY = ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM")
_UNKNOWN_TOPIC = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID")
_FENCED = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "INVALID_PRODUCER_ID_MAPPING")
_TOO_LARGE = ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE")
_SETTINGS = (
    "INVALID_CONFIG",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_REQUEST",
    "POLICY_VIOLATION",
    "TOPIC_EXCEPTION",
    "TOPIC_ALREADY_EXISTS",
    "INVALID_TRANSACTION_TIMEOUT",
    "_INVALID_ARG",
    "_NOT_IMPLEMENTED",
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a cluster is and who asks: `bootstrap` is `host:port[,host:port…]`; `passed` are librdkafka's own
    settings, such as `security.protocol` and `sasl.password`."""

    bootstrap: str
    passed: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"secret": True})
    refusals: list[Any] = field(default_factory=list, repr=False, compare=False)  # told aside; the calls only time out

    @classmethod
    def parse(cls, options: Mapping[str, Any], where: str | None = None) -> Address:
        """From a server of a contract, or options of a store: `host` (or `bootstrap`), maybe `port`, and any setting
        of librdkafka by its own name (`security.protocol`) or with underscores (`security_protocol`)."""
        host = str(options.get("host") or options.get("bootstrap") or "").strip()
        if not host:
            raise FixInputError(
                "no Kafka cluster is named", where=where, hint="write host: broker:9092 in the contract's server"
            )
        port = options.get("port")
        if port not in (None, ""):
            host = ",".join(one if ":" in one else f"{one}:{port}" for one in host.split(","))
        passed = {}
        for name, value in options.items():
            dotted = name if "." in name else name.replace("_", ".")
            if dotted.startswith(("security.", "sasl.", "ssl.", "client.", "socket.", "enable.ssl")):
                passed[dotted] = str(value)
        return cls(host, passed)

    def __str__(self) -> str:
        """The brokers; never a secret."""
        return self.bootstrap

    def settings(self, **own: Any) -> dict[str, Any]:
        """What a client of librdkafka takes; `own` with underscores for dots."""
        return {
            "client.id": "headgate",
            "socket.keepalive.enable": True,
            "log_level": 2,
            "logger": _quiet(),
            "error_cb": self._aside,
            **self.passed,
            "bootstrap.servers": self.bootstrap,
            **{name.replace("_", "."): value for name, value in own.items()},
        }

    def _aside(self, error: Any) -> None:
        """Errors come back from the calls that they concern, but for this one: a login that fails is tried for ever."""
        if error.name() in _IDENTITY and not self.refusals:
            self.refusals.append(error)


def module() -> Any:
    """The Kafka client. MissingExtraError when it is not installed."""
    try:
        import confluent_kafka
    except ModuleNotFoundError as cause:
        raise MissingExtraError("the Kafka client is not installed", hint="pip install 'headgate[kafka]'") from cause
    return confluent_kafka


def admin(address: Address) -> Any:
    """A client that asks about topics and makes them."""
    module()
    from confluent_kafka.admin import AdminClient

    with translated(address, SourceUnavailable):
        return AdminClient(address.settings())


@contextmanager
def translated(
    address: Address,
    unavailable: type[RetryableError] = StoreUnavailable,
    *,
    where: str | None = None,
    client: Any = None,
) -> Iterator[None]:
    """Raises Kafka's errors as Headgate's; what may pass by itself becomes `unavailable`. `client` is asked why."""
    kafka = module()
    try:
        yield
    except kafka.KafkaException as cause:
        if client is not None:
            client.poll(0)
        raise error_of(cause, address, unavailable, where=where) from cause


def told_by(cause: Exception) -> Any:
    """The KafkaException in an error that a client raised, None when it is another error. A fatal one may come as the
    cause of a SystemError: the client raises it while it calls back, and Python complains of that."""
    for one in (cause, cause.__cause__):
        if isinstance(one, module().KafkaException):
            return one
    return None


def name_of(error: Any) -> str:
    """The code of a KafkaError, or of the exception that carries it, such as `UNKNOWN_TOPIC_OR_PART`."""
    inner = error.args[0] if isinstance(error, Exception) and error.args else error
    name = getattr(inner, "name", None)
    return str(name()) if callable(name) else str(inner)


def error_of(
    cause: Any, address: Address, unavailable: type[RetryableError] = StoreUnavailable, *, where: str | None = None
) -> HeadgateError:
    """The error of Headgate that says what to do about one of Kafka's."""
    inner = cause.args[0] if isinstance(cause, Exception) and cause.args else cause
    name = name_of(inner)
    told = inner.str() if callable(getattr(inner, "str", None)) else str(inner)
    place = where or str(address)
    if name in _RIGHTS:
        return FixInputError(f"Kafka refuses it: {told}", where=place, hint="give the client this right (ACL)")
    if name in _IDENTITY:
        return FixInputError(
            f"Kafka does not let the client in: {told}", where=place, hint="check security.protocol, sasl.* and ssl.*"
        )
    if name in _UNKNOWN_TOPIC:
        return FixInputError("there is no such topic", where=place, hint="headgate topic list; headgate topic create")
    if name in _TOO_LARGE:
        return FixInputError(
            f"a message is larger than the topic takes: {told}", where=place, hint="raise the topic's max.message.bytes"
        )
    if name in _SETTINGS:
        return FixInputError(f"Kafka refuses it: {told}", where=place)
    if name in _FENCED:
        return CommitConflict("another producer took over; nothing of this commit landed", where=place)
    if address.refusals:
        return error_of(address.refusals[0], Address(address.bootstrap), unavailable, where=where)
    hint = f"is a broker running at {address}?"
    return unavailable(f"Kafka did not answer as it should: {told} ({name})", where=place, hint=hint)


def _quiet() -> Any:
    """Log lines of librdkafka go to Python's logging, where nobody is disturbed by a broker that restarts."""
    import logging

    logger = logging.getLogger("headgate.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
