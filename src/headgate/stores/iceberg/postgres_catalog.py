"""A catalog in a PostgreSQL database, for projects whose runs are on several machines."""

from __future__ import annotations

import zlib
from typing import Any

import psycopg2
from psycopg2 import errorcodes

from headgate.errors import FixInputError, HeadgateError, StoreUnavailable
from headgate.stores.iceberg.trouble import of_storage

_ABSENT = {errorcodes.UNDEFINED_TABLE}
_FULL = {errorcodes.DISK_FULL}
_FORBIDDEN = {
    errorcodes.INSUFFICIENT_PRIVILEGE,
    errorcodes.READ_ONLY_SQL_TRANSACTION,
    errorcodes.INVALID_PASSWORD,
    errorcodes.INVALID_AUTHORIZATION_SPECIFICATION,
    errorcodes.INVALID_CATALOG_NAME,
}


class Postgres:
    """Connects by a libpq URL; the database must exist, its tables are made by the first writer."""

    mark = "%s"
    serial = "BIGINT GENERATED ALWAYS AS IDENTITY"

    def __init__(self, url: str, busy_timeout_s: float) -> None:
        self._url = url
        self._timeout_ms = int(busy_timeout_s * 1000)
        # Only what may be told: never the user's password.
        self.where = "postgresql catalog " + url.rpartition("@")[2].partition("?")[0].removeprefix("postgresql://")

    def connect(self) -> Any:
        """A connection in autocommit mode."""
        connection = psycopg2.connect(self._url, connect_timeout=max(2, self._timeout_ms // 1000))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{self._timeout_ms}ms",))
        return connection

    def create(self) -> None:
        """Nothing: the database must exist."""

    def begin(self, connection: Any, name: str) -> None:
        """Begin a transaction that waits for the catalog's other publications, also for one whose end is in doubt."""
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SET LOCAL synchronous_commit = on")
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (0x48474C4B, zlib.crc32(name.encode()) - 2**31))

    def absent(self, error: Exception) -> bool:
        """True when the tables have not been made."""
        return isinstance(error, psycopg2.Error) and error.pgcode in _ABSENT

    def clash(self, error: Exception) -> bool:
        """True when a row with that key exists."""
        return isinstance(error, psycopg2.IntegrityError)

    def translate(self, error: Exception) -> HeadgateError:
        """The error in our words."""
        if isinstance(error, OSError):
            return of_storage(error, self.where)
        if not isinstance(error, psycopg2.Error):
            raise error
        said = str(error).strip().partition("\n")[0]
        if error.pgcode in _FULL:
            return FixInputError("no space left to write the lake's catalog", where=self.where, hint="free space")
        if error.pgcode in _FORBIDDEN or "authentication failed" in said or "does not exist" in said:
            return FixInputError(
                f"cannot use the lake's catalog: {said}", where=self.where, hint="check the URL and rights"
            )
        return StoreUnavailable(f"the lake's catalog did not answer: {said}", where=self.where)
