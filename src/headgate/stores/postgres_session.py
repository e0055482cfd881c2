"""One connection to a PostgreSQL that is written to, and PostgreSQL's errors as Headgate's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from headgate.errors import FixInputError, HeadgateError, StoreUnavailable

if TYPE_CHECKING:
    from psycopg2.extensions import connection

SESSION = (
    "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET search_path = pg_catalog; "
    "SET timezone = 'UTC'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; "
    "SET synchronous_commit = on; SET jit = off"
)
_REFUSED = (  # libpq gives no code for errors while connecting, so its words decide
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    'role "',
    'database "',
    "permission denied",
    "does not support SSL",
    "certificate",
    "private key",
    "invalid ",
    "is not currently accepting connections",
    "unrecognized configuration parameter",
    "definition of service",
    "missing ",
)
_HINTS = {
    "42501": "GRANT CREATE on the schema (or the database, to make it) and INSERT, UPDATE, DELETE on the table",
    "25006": "this server only reads: serve to the primary",
    "23505": "the key does not tell the rows of this table apart: name other columns with `key`, or use mode: replace",
    "21000": "the key does not tell the rows of this table apart: name other columns with `key`, or use mode: replace",
    "23502": "a column that must have a value is NULL in some row: a key must be complete",
    "22P02": "a value inside a nested column has no JSON form (NaN, an infinity): let a rule of the contract reject it",
    "2BP01": "other objects in the database depend on what would be changed",
}


class Target:
    """Where a PostgreSQL is, as libpq takes it: a URL or `host=… dbname=…`. Never shows a password."""

    def __init__(self, given: str, connect_timeout_s: int) -> None:
        import psycopg2
        from psycopg2.extensions import parse_dsn

        try:
            self._parameters: dict[str, Any] = dict(parse_dsn(given))
        except psycopg2.Error:
            # The cause is not chained and its words are not shown: they hold what was given.
            raise FixInputError(
                "the target is no PostgreSQL URL",
                hint="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                stage="serve",
            ) from None
        self._parameters.setdefault("connect_timeout", connect_timeout_s)
        self._parameters.setdefault("application_name", "headgate")
        secrets = (self._parameters.get(name) for name in ("password", "sslpassword"))
        self._secrets = [str(secret) for secret in secrets if secret]

    def __str__(self) -> str:
        import os

        given = self._parameters
        host = given.get("host") or os.environ.get("PGHOST") or "localhost"
        port = given.get("port") or os.environ.get("PGPORT") or 5432
        return f"{host}:{port}/{given.get('dbname') or os.environ.get('PGDATABASE') or ''}".rstrip("/")

    def connect(self) -> connection:
        """A new connection with fixed settings. StoreUnavailable when nobody answers, FixInputError when refused."""
        import psycopg2

        try:
            opened: connection = psycopg2.connect(**self._parameters)
        except (psycopg2.Error, UnicodeError, ValueError) as cause:
            # Not chained: its text or arguments could hold a password.
            raise self._unconnected(str(cause)) from None
        try:
            opened.autocommit = True
            with self.translated(), opened.cursor() as cursor:
                cursor.execute(SESSION)
            opened.autocommit = False
        except BaseException:
            opened.close()
            raise
        return opened

    def _unconnected(self, words: str) -> HeadgateError:
        said = self.clean(words)
        if any(one in said for one in _REFUSED):
            return FixInputError(
                f"PostgreSQL refused the connection: {said}",
                hint="check user, password, database and TLS settings of the target in `serve:`",
                where=str(self),
                stage="serve",
            )
        return self.unavailable(f"PostgreSQL does not answer: {said}")

    def unavailable(self, message: str) -> StoreUnavailable:
        """The error for a target that may answer later; nothing of the commit landed."""
        return StoreUnavailable(
            message,
            hint="is it running and reachable from here? The next run sends what is missing",
            where=str(self),
            stage="serve",
        )

    def clean(self, words: str) -> str:
        """One line, no secret."""
        line = " ".join(words.split()) or "no answer"
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line

    @contextmanager
    def translated(self, table: str | None = None) -> Iterator[None]:
        """psycopg2's errors become Headgate's, with the server's own words."""
        import psycopg2

        try:
            yield
        except psycopg2.Error as cause:
            raise self.error(cause, table) from None

    def error(self, cause: Exception, table: str | None = None) -> HeadgateError:
        """Headgate's error for one of psycopg2's: wait, or what a person must change."""
        code = getattr(cause, "pgcode", None) or ""
        diagnosis = getattr(cause, "diag", None)
        said = self.clean(getattr(diagnosis, "message_primary", None) or str(cause))
        if detail := getattr(diagnosis, "message_detail", None):
            said += f" ({self.clean(detail)[:300]})"
        if (
            not code
            or code[:2] in ("08", "53", "58")
            or code in ("55P03", "40001", "40P01", "57014")
            or code[:3] == "57P"
        ):
            return self.unavailable(f"PostgreSQL stopped answering: {said}")
        return FixInputError(
            f"PostgreSQL says: {said} ({code})",
            hint=_HINTS.get(code),
            where=f"{self} {table}" if table else str(self),
            stage="serve",
        )


def run(opened: connection, sql: str, values: Sequence[Any] | None = None) -> tuple[list[tuple[Any, ...]], int]:
    """Rows of a statement (of the last one when there are several), and how many it touched."""
    with opened.cursor() as cursor:
        cursor.execute(sql, values)
        return (cursor.fetchall() if cursor.description else []), cursor.rowcount


def end(opened: connection | None) -> None:
    """Close a connection; never fails."""
    with suppress(Exception):
        if opened is not None:
            opened.close()
