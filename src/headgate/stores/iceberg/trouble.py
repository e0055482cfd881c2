"""Errors of the operating system and of the catalog's database, told in our words."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from headgate.errors import FixInputError, HeadgateError, StoreUnavailable

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_BUSY = {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED
_NOT_WRITABLE = {3, 8, 14, 23}  # SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH
_FULL = 13  # SQLITE_FULL
_BROKEN = {11, 26}  # SQLITE_CORRUPT, SQLITE_NOTADB

_WHO_LOCKS = "run again once that has ended; a Spark session needs jdbc.init-catalog-tables=false, or it never lets go"


def of_storage(error: OSError, where: str) -> HeadgateError:
    """What a failed read or write of the warehouse means."""
    reason = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return FixInputError(f"no space left to write the lake: {reason}", where=where, hint="free space and run again")
    if error.errno in _NO_RIGHTS:
        return FixInputError(f"no right to write the lake: {reason}", where=where, hint="check owner and mode")
    return StoreUnavailable(f"the lake's storage failed: {reason}", where=where)


def of_sqlite(error: sqlite3.Error, where: str) -> HeadgateError:
    """What a failed statement of a SQLite catalog means."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _BUSY:
        return StoreUnavailable("the lake's catalog is locked by another process", where=where, hint=_WHO_LOCKS)
    if code == _FULL:
        return FixInputError("no space left to write the lake's catalog", where=where, hint="free space and run again")
    if code in _NOT_WRITABLE:
        return FixInputError(
            f"cannot open or write the lake's catalog: {error}", where=where, hint="check owner and mode"
        )
    if code in _BROKEN:
        return FixInputError(f"not a usable catalog: {error}", where=where, hint="restore it from a backup")
    return StoreUnavailable(f"the lake's catalog failed: {error}", where=where)


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Translate errors of the file system at the store's border."""
    try:
        yield
    except OSError as error:
        raise of_storage(error, where) from error
