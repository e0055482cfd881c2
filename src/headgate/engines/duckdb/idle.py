"""What the next job can use again: a worker with its statements and decoders made, and a connection for decisions;
or worker processes that were started for it.

Small jobs that follow each other would spend more on making these than on their rows. Only what ended well is kept:
after any error the worker and its connection are thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock

import duckdb

from headgate.engines.duckdb.connection import Database, Settings, connect
from headgate.engines.duckdb.processes import Children
from headgate.engines.duckdb.worker import Worker
from headgate.ports.engine import RefineJob
from headgate.threads import begun

MOST_JOBS = 500  # of one connection: DuckDB keeps 2 KiB of each table it was ever shown, until it is closed


class Idle:
    """One idle worker a dataset, and connections. Safe for several threads: what is in use is nobody else's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._workers: dict[str, tuple[Worker, int]] = {}  # and how many jobs each had
        self._connections: list[tuple[duckdb.DuckDBPyConnection, int]] = []
        self._opening: Future[duckdb.DuckDBPyConnection] | None = None
        self._children: Children | None = None

    @contextmanager
    def worker(self, settings: Settings, job: RefineJob) -> Iterator[Worker]:
        """A worker for the whole of a small job."""
        with self._lock:
            worker, jobs = self._workers.pop(job.dataset.name, (None, 0))
        if worker is not None and (jobs >= MOST_JOBS or not worker.fits(job)):
            worker.close()
            worker, jobs = None, 0
        if worker is None:
            worker = Worker(settings, job, opening=self._take_opening())
        else:
            worker.begin(job)
        try:
            yield worker
        except BaseException:
            worker.close()
            raise
        worker.rest()
        with self._lock:
            other, _ = self._workers.pop(job.dataset.name, (None, 0))
            self._workers[job.dataset.name] = worker, jobs + 1
        if other is not None:
            other.close()

    @contextmanager
    def database(self, settings: Settings) -> Iterator[Database]:
        """A connection with all cores and half of the memory. Making one costs more than most small jobs need it for,
        so it is made when it is first asked for."""
        mine: list[tuple[duckdb.DuckDBPyConnection, int]] = []

        def get() -> duckdb.DuckDBPyConnection:
            if not mine:
                with self._lock:
                    mine.extend(self._connections[-1:])
                    del self._connections[-1:]
                if mine and mine[0][1] >= MOST_JOBS:
                    mine.pop()[0].close()
            if not mine:
                opening = self._take_opening()
                mine.append((opening.result() if opening else _database(settings), 0))
            return mine[0][0]

        try:
            yield get
        except BaseException:
            for one, _ in mine:
                one.close()
            raise
        with self._lock:
            self._connections.extend((one, jobs + 1) for one, jobs in mine)

    def start_database(self, settings: Settings) -> None:
        """Start to open a connection for a small job that is to come, when none rests."""
        with self._lock:
            if self._opening is None and not self._workers and not self._connections:
                self._opening = begun(lambda: _database(settings))

    def _take_opening(self) -> Future[duckdb.DuckDBPyConnection] | None:
        with self._lock:
            opening, self._opening = self._opening, None
        return opening

    def start_children(self, count: int) -> None:
        """Start worker processes for a large job that is to come."""
        with self._lock:
            if self._children is None and count > 1:
                self._children = Children(count)

    def take_children(self) -> Children | None:
        """The worker processes that were started, now somebody's own."""
        with self._lock:
            children, self._children = self._children, None
        return children

    def close(self) -> None:
        """Give everything back."""
        children = self.take_children()
        if children is not None:
            children.close()
        opening = self._take_opening()
        if opening is not None:
            opening.result().close()
        with self._lock:
            idle = [*self._workers.values(), *self._connections]
            self._workers.clear()
            self._connections.clear()
        for one, _ in idle:
            one.close()


def _database(settings: Settings) -> duckdb.DuckDBPyConnection:
    return connect(settings, threads=settings.cores, share=2)
