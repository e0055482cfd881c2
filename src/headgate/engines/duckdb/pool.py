"""Workers side by side: one in this thread when there is little to do, else one per core.

Typed rows are judged by threads, since DuckDB and Arrow leave Python's lock alone; raw rows by processes, since
the JSON gate holds it. Beside other work of the process one is enough: more would wait for that lock, hold more
memory and have to be made for each job. Verdicts do not depend on which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.idle import Idle
from headgate.engines.duckdb.pieces import Piece
from headgate.engines.duckdb.processes import start_workers
from headgate.engines.duckdb.worker import CAREFUL_ROWS, PieceReport, Worker, WriteReport
from headgate.ports.batch import RAW
from headgate.ports.engine import RefineJob

PROCESSES_FROM_BYTES = 96 * 2**20  # raw bytes; below, starting processes costs more than it saves
THREADS_FROM_BYTES = 24 * 2**20

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Works(Protocol):
    """A worker, here or in another process."""

    def decode(self, piece: Piece) -> PieceReport:
        """See `Worker.decode`."""

    def decode_rest(self, *, least: int = 1) -> PieceReport | None:
        """See `Worker.decode_rest`."""

    def suspects(self, hashes: np.ndarray) -> pa.Table:
        """See `Worker.suspects`."""

    def write(self, lost: Mapping[int, np.ndarray], closes: Mapping[int, pa.Table]) -> WriteReport:
        """See `Worker.write`."""

    def close(self) -> None:
        """See `Worker.close`."""


class Pool:
    """The workers of one job. A failing worker fails the call; the others finish what they are at."""

    def __init__(self, workers: Sequence[Works]) -> None:
        self.workers = workers

    def decode(self, pieces: Sequence[Piece]) -> list[PieceReport]:
        """Every piece decoded by some worker, which holds its rows."""
        left, lock = iter(pieces), Lock()

        def work(worker: Works) -> list[PieceReport]:
            return list(_decode_all(worker, _shared(left, lock)))

        return [report for reports in self._each(work) for report in reports]

    def suspects(self, hashes: np.ndarray) -> pa.Table:
        """Held rows of these key hashes (sorted), of all workers."""
        found = [t for t in self._each(lambda worker: worker.suspects(hashes)) if t.num_columns]
        return pa.concat_tables(found)

    def write(self, lost: Mapping[int, np.ndarray], closes: Mapping[int, pa.Table]) -> list[WriteReport]:
        """Everything held is written, but the lost rows (piece -> row numbers); closed rows with their ends."""
        return self._each(lambda worker: worker.write(lost, closes))

    def _each(self, work: Callable[[Works], _Result]) -> list[_Result]:
        """The work done by all workers at once."""
        if len(self.workers) == 1:
            return [work(self.workers[0])]
        with ThreadPoolExecutor(len(self.workers)) as threads:
            return [done.result() for done in [threads.submit(work, worker) for worker in self.workers]]


def _decode_all(worker: Works, pieces: Iterable[Piece]) -> Iterator[PieceReport]:
    """Every piece, and what waited for careful reading."""
    for piece in pieces:
        yield worker.decode(piece)
        if rest := worker.decode_rest(least=CAREFUL_ROWS):
            yield rest
    if rest := worker.decode_rest():
        yield rest


def _shared(tasks: Iterator[_Task], lock: Lock) -> Iterator[_Task]:
    """Tasks taken from an iterator that other threads take from too."""
    while True:
        with lock:
            try:
                task = next(tasks)
            except StopIteration:
                return
        yield task


@contextmanager
def open_pool(settings: Settings, job: RefineJob, pieces: Sequence[Piece], idle: Idle) -> Iterator[Pool]:
    """The right workers for this much work; on leaving all are stopped, but the one of a small job rests."""
    raw = RAW in job.bronze_schema.names
    size = sum(piece.size_bytes for piece in pieces)
    many = 1 if job.beside else min(settings.cores, len(pieces))
    with ExitStack() as stack:
        workers: list[Works] = []
        children = idle.take_children() if many > 1 and raw and size >= THREADS_FROM_BYTES else None
        if children is not None or (many > 1 and raw and size >= PROCESSES_FROM_BYTES):
            workers.extend(stack.enter_context(start_workers(settings, job, many, children)))
        elif many > 1 and size >= THREADS_FROM_BYTES:
            workers.extend(Worker(settings, job, n, many) for n in range(many))
        else:
            yield Pool([stack.enter_context(idle.worker(settings, job))])
            return
        for worker in workers:
            stack.callback(worker.close)
        yield Pool(workers)
