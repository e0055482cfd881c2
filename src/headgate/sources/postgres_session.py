"""One connection to PostgreSQL with fixed output settings, and PostgreSQL's errors as Headgate's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.errors import FixInputError, HeadgateError, SourceUnavailable

if TYPE_CHECKING:
    from psycopg2.extensions import connection

# Every value is printed one way, whatever the role's, the database's or the server's own settings are.
SESSION = """
SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET search_path = pg_catalog;
SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET lc_monetary = 'C';
SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmloption = 'content';
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = on;
SET row_security = off; SET jit = off; SET max_parallel_workers_per_gather = 0;
"""
_NEWER = ((140000, "SET idle_session_timeout = 0;"), (170000, "SET transaction_timeout = 0;"))

PASSED = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslnegotiation",
    "channel_binding",
    "gssencmode",
    "krbsrvname",
    "passfile",
    "service",
    "target_session_attrs",
    "options",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_REFUSED = (  # libpq gives no code for errors while connecting, so its words decide
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "authentication failed",
    'role "',
    "does not support SSL",
    "certificate",
    "private key",
    "invalid sslmode",
    "invalid channel_binding",
    "invalid target_session_attrs",
    "invalid value",
    "permission denied for database",
    "is not currently accepting connections",
    "unrecognized configuration parameter",
    "invalid connection option",
    "definition of service",
)

_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_DURATION = "seconds, or text such as 10 min or 24 h"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is and who asks. Unset parts are libpq's: PGHOST, PGUSER, PGPASSWORD, `~/.pgpass` and so on."""

    host: str | None = None
    port: int | None = None
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False, metadata={"secret": True})
    connect_timeout_s: int = 10
    lock_timeout_s: float = 60.0
    passed: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"secret": True})

    @classmethod
    def parse(cls, options: Mapping[str, Any], read: Mapping[str, Any]) -> Address:
        """The address from a contract's server and the dataset's `read` settings, which win."""
        both = {**options, **{k: v for k, v in read.items() if k in PASSED}}
        port = both.get("port")
        try:
            number = int(port) if port not in (None, "") else None
        except (TypeError, ValueError) as cause:
            raise FixInputError(f"the port is not a number: {port!r}", stage="extract") from cause
        return cls(
            host=_text(both.get("host")),
            port=number,
            database=_text(both.get("database")),
            user=_text(both.get("user") or both.get("username")),
            password=_text(both.get("password")),
            connect_timeout_s=seconds(read.get("connect_timeout", both.get("connect_timeout", 10)), "connect_timeout"),
            lock_timeout_s=_measure(read.get("lock_timeout", 60), "lock_timeout", _SECONDS, _DURATION),
            passed={name: str(both[name]) for name in PASSED if both.get(name) not in (None, "")},
        )

    def parameters(self) -> dict[str, Any]:
        """What libpq takes."""
        own = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
            "connect_timeout": self.connect_timeout_s,
            "application_name": "headgate",
        }
        return {**self.passed, **{k: v for k, v in own.items() if v is not None}}

    def __str__(self) -> str:
        """host:port/database as far as known; never a secret."""
        import os

        host = self.host or os.environ.get("PGHOST") or "localhost"
        port = self.port or os.environ.get("PGPORT") or 5432
        database = self.database or os.environ.get("PGDATABASE") or ""
        return f"{host}:{port}/{database}" if database else f"{host}:{port}"


def seconds(value: Any, name: str) -> int:
    """A duration: a number of seconds, or text such as `10 min`, `24 h`, `1 day`."""
    return int(_measure(value, name, _SECONDS, _DURATION))


def size(value: Any, name: str) -> int:
    """A size: a number of bytes, or text such as `64 MiB`."""
    units = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 1000, "mb": 10**6, "gb": 10**9}
    return int(_measure(value, name, units, "bytes, or text such as 64 MiB"))


def _measure(value: Any, name: str, units: Mapping[str, int], form: str) -> float:
    with suppress(ValueError, OverflowError):
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(int(value * 1000)) / 1000  # OverflowError for infinity
        if isinstance(value, str):
            text = value.strip().lower()
            digits = text.rstrip("abcdefghijklmnopqrstuvwxyz").strip()
            unit = text[len(digits) :].strip()
            factor = units.get(unit) or units.get(unit.removesuffix("s")) or (1 if not unit else None)
            if factor is not None and float(digits) >= 0:
                return float(digits) * factor
    raise FixInputError(f"{name}: {value!r} is not a measure", hint=f"write {form}", stage="extract")


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


class Session:
    """A connection that only reads. Not for use by two threads at once, but for `cancel`."""

    def __init__(self, address: Address) -> None:
        """Connects. SourceUnavailable when nobody answers, FixInputError when the server refuses us."""
        self.address = address
        self.stop_reading: Callable[[], None] | None = None  # set by who reads with threads of its own
        self.connection: connection = _connect(address)
        try:
            self.connection.autocommit = True
            version = self.connection.server_version
            newer = [setting for since, setting in _NEWER if version >= since]
            self.query(SESSION + "".join(newer) + f"SET lock_timeout = {max(1, int(address.lock_timeout_s * 1000))}")
        except BaseException:
            self.close()
            raise

    def query(self, sql: str, values: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a statement; of the last one when there are several."""
        with self.translated(), self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def copy(self, sql: str, sink: Any) -> None:
        """Runs COPY ... TO STDOUT; `sink.write` gets UTF-8, or bytes as they are from a database in SQL_ASCII."""
        raw = self.connection.get_parameter_status("server_encoding") == "SQL_ASCII"
        with self.translated(), self.connection.cursor() as cursor:
            if raw:
                cursor.execute("SET client_encoding = 'SQL_ASCII'")
            cursor.copy_expert(sql.encode(), sink)
            if raw:
                cursor.execute("SET client_encoding = 'UTF8'")

    def cancel(self) -> None:
        """Stops a running statement from another thread; silent when there is none."""
        with suppress(Exception):
            self.connection.cancel()

    def close(self) -> None:
        """Ends what is running, then the connection. Never fails."""
        if self.stop_reading is not None:
            self.stop_reading()
        with suppress(Exception):
            self.connection.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """psycopg2's errors become Headgate's, with the server's own words."""
        import psycopg2

        try:
            yield
        except psycopg2.Error as cause:
            raise translate(cause, self.address) from cause


def _connect(address: Address) -> connection:
    import psycopg2

    try:
        opened: connection = psycopg2.connect(**address.parameters())
    except (psycopg2.Error, UnicodeError) as cause:
        # The cause is not chained: its text or arguments could hold a password.
        raise _connect_error(str(cause), address) from None
    return opened


def _connect_error(words: str, address: Address) -> HeadgateError:
    said = _clean(words, address)
    missing = 'database "' in said and "does not exist" in said
    if missing or any(one in said for one in _REFUSED):
        return FixInputError(
            f"PostgreSQL refused the connection: {said}",
            hint="check user (PGUSER), database and TLS settings of the server; the password comes from PGPASSWORD or "
            "~/.pgpass",
            where=str(address),
            stage="extract",
        )
    return SourceUnavailable(
        f"PostgreSQL does not answer: {said}",
        hint="is it running and reachable from here? headgate doctor tries it",
        where=str(address),
        stage="extract",
    )


def _clean(words: str, address: Address) -> str:
    """One line, no secret."""
    line = " ".join(words.split()) or "no answer"
    for secret in (address.password, address.passed.get("sslpassword")):
        if secret:
            line = line.replace(secret, "***")
    return line


def translate(cause: Exception, address: Address) -> HeadgateError:
    """Headgate's error for one of psycopg2's: retry, or what a person must change."""
    code = getattr(cause, "pgcode", None) or ""
    said = _clean(getattr(getattr(cause, "diag", None), "message_primary", None) or str(cause), address)
    where = str(address)
    if not code or code[:2] in ("08", "53", "58") or code in ("55P03", "40001", "40P01", "57014") or code[:3] == "57P":
        return SourceUnavailable(
            f"PostgreSQL stopped answering: {said}",
            hint="run the same command again: what was published stays, and it goes on from there",
            where=where,
            stage="extract",
        )
    hint = {
        "42501": "GRANT SELECT on the table to the user; row security needs a role with BYPASSRLS, because rows that a "
        "policy hides would be lost without a word",
        "42P01": "the table has gone: was it dropped or renamed?",
        "42703": "a column has gone: was it dropped or renamed?",
    }.get(code)
    return FixInputError(f"PostgreSQL says: {said} ({code})", hint=hint, where=where, stage="extract")
