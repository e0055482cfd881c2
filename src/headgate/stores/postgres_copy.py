"""COPY into a table while the rows are still being made: a thread sends what this one encodes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from psycopg2.extensions import connection

AHEAD = 4  # chunks encoded and not yet sent
_LOOK_S = 0.1  # how often to see whether the sender has died while the queue is full


class _Stopped(Exception):
    """The maker of rows failed: the COPY must fail too."""


class _Pipe:
    """What psycopg2 reads: one chunk at each call, whatever size it asks for."""

    def __init__(self) -> None:
        self.chunks: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self.stopped = False

    def read(self, _size: int = -1) -> bytes:
        chunk = self.chunks.get()
        if self.stopped:
            raise _Stopped
        return chunk or b""


def copy_in(opened: connection, sql: str, chunks: Iterable[bytes]) -> None:
    """Run a COPY … FROM STDIN with these chunks, made in the calling thread and sent by another.

    Raises what the maker of the chunks raises, else psycopg2's error; the COPY then has failed as well.
    """
    pipe, failed = _Pipe(), []

    def send() -> None:
        try:
            with opened.cursor() as cursor:
                cursor.copy_expert(sql, cast("Any", pipe))
        except Exception as error:
            failed.append(error)

    sender = threading.Thread(target=send, name="headgate-copy", daemon=True)
    sender.start()
    try:
        for chunk in chunks:
            if chunk and not _put(pipe, sender, chunk):
                break
    except BaseException:
        pipe.stopped = True
        _put(pipe, sender, None)
        sender.join()
        raise
    _put(pipe, sender, None)
    sender.join()
    if failed:
        raise failed[0]


def _put(pipe: _Pipe, sender: threading.Thread, chunk: Any) -> bool:
    """Hand over a chunk; False when nobody takes it any more."""
    while sender.is_alive():
        try:
            pipe.chunks.put(chunk, timeout=_LOOK_S)
        except queue.Full:
            continue
        return True
    return False
