"""Workers side by side: in this thread when there is little to do, else one per core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.pieces import Piece
from headgate.engines.duckdb.worker import CAREFUL_ROWS, PieceReport, Rewrite, RewriteReport, Worker, WriteReport
from headgate.ports.engine import RefineJob


class Pool(Protocol):
    """Workers of one job. The verbs are those of `Worker`, over all workers."""

    def decode(self, pieces: Sequence[Piece]) -> list[PieceReport]:
        """Every piece decoded by some worker, which holds its rows."""

    def suspects(self, hashes: np.ndarray) -> pa.Table:
        """Held rows of these key hashes, of all workers."""

    def write(self, lost: Mapping[int, np.ndarray]) -> list[WriteReport]:
        """Everything held is written, but the lost rows."""

    def rewrite(self, tasks: Sequence[Rewrite]) -> list[RewriteReport]:
        """Every silver file of the tasks written again."""


def decode_all(worker: Worker, pieces: Iterable[Piece]) -> Iterator[PieceReport]:
    """Every piece, and what waited for careful reading."""
    for piece in pieces:
        yield worker.decode(piece)
        if rest := worker.decode_rest(least=CAREFUL_ROWS):
            yield rest
    if rest := worker.decode_rest():
        yield rest


class InlinePool:
    """One worker in the calling thread."""

    def __init__(self, settings: Settings, job: RefineJob) -> None:
        self._worker = Worker(settings, job)

    def decode(self, pieces: Sequence[Piece]) -> list[PieceReport]:
        return list(decode_all(self._worker, pieces))

    def suspects(self, hashes: np.ndarray) -> pa.Table:
        return self._worker.suspects(hashes)

    def write(self, lost: Mapping[int, np.ndarray]) -> list[WriteReport]:
        return [self._worker.write(lost)]

    def rewrite(self, tasks: Sequence[Rewrite]) -> list[RewriteReport]:
        return [self._worker.rewrite(task) for task in tasks]

    def close(self) -> None:
        """Give back memory and temporary files."""
        self._worker.close()


@contextmanager
def open_pool(settings: Settings, job: RefineJob, pieces: Sequence[Piece]) -> Iterator[Pool]:
    """The right pool for this much work, closed on leaving."""
    pool = InlinePool(settings, job)
    try:
        yield pool
    finally:
        pool.close()
