"""Workers in processes of their own, each on one end of a pipe.

Not `multiprocessing`: its children import the program's main module again, which a library must not ask of its
callers. Here one fresh interpreter imports this module and, where the system can, forks itself into the others.
A worker whose pipe closes ends, so nothing outlives a killed parent.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.files import disk_errors
from headgate.engines.duckdb.key_index import settle
from headgate.engines.duckdb.pieces import Piece
from headgate.engines.duckdb.worker import PieceReport, Worker, WriteReport
from headgate.errors import DefectError, HeadgateError, RetryableError
from headgate.ports.engine import RefineJob

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from headgate.engines.duckdb.processes import serve; serve(json.loads(sys.argv[2]))"
)
_STOP_S = 10.0
# Pieces come and go by tens of megabytes. Left alone, allocators give each back to the system and fetch it anew, page
# by page: glibc told to keep them, for Arrow too, takes far fewer. Nobody here needs threads for matrices.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OPENBLAS_NUM_THREADS": "1",
}


class RemoteWorker:
    """A worker at the other end of a pipe; the verbs of `Worker`."""

    def __init__(self, connection: Connection, settings: Settings, job: RefineJob, number: int, share: int) -> None:
        self._connection = connection
        self._ask("open", settings, job, number, share)

    def decode(self, piece: Piece) -> PieceReport:
        """See `Worker.decode`."""
        report: PieceReport = self._ask("decode", piece)
        return report

    def decode_rest(self, *, least: int = 1) -> PieceReport | None:
        """See `Worker.decode_rest`."""
        report: PieceReport | None = self._ask("decode_rest", least)
        return report

    def suspects(self, hashes: np.ndarray) -> pa.Table:
        """See `Worker.suspects`."""
        rows: pa.Table = self._ask("suspects", hashes)
        return rows

    def write(self, lost: Mapping[int, np.ndarray], closes: Mapping[int, pa.Table]) -> WriteReport:
        """See `Worker.write`."""
        report: WriteReport = self._ask("write", lost, closes)
        return report

    def close(self) -> None:
        """Let the worker end."""
        self._connection.close()

    def _ask(self, verb: str, *arguments: Any) -> Any:
        try:
            self._connection.send((verb, arguments))
            failed, answer = self._connection.recv()
        except (EOFError, OSError) as cause:
            raise RetryableError(
                "a worker process of the engine died",
                hint="the system may have killed it for lack of memory: lower the engine's threads or memory_limit",
                stage="refine",
            ) from cause
        if failed:
            raise answer
        return answer


class Children:
    """Worker processes, started and waiting for a job. They begin at once to load what they need."""

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        forks = sys.platform == "linux"  # elsewhere a process that has loaded system libraries must not fork
        groups = [[theirs for _, theirs in pairs]] if forks else [[theirs] for _, theirs in pairs]
        self.count = count
        self._children = [_start(group) for group in groups]
        self._connections = [Connection(ours.detach()) for ours, _ in pairs]
        for _, theirs in pairs:
            theirs.close()

    def workers(self, settings: Settings, job: RefineJob) -> Sequence[RemoteWorker]:
        """A worker of the job in each."""
        return [RemoteWorker(c, settings, job, n, self.count) for n, c in enumerate(self._connections)]

    def close(self) -> None:
        """Let them end."""
        for connection in self._connections:
            connection.close()
        for child in self._children:
            _end(child)


@contextmanager
def start_workers(
    settings: Settings, job: RefineJob, count: int, children: Children | None = None
) -> Iterator[Sequence[RemoteWorker]]:
    """So many workers in processes of their own, gone on leaving; in `children`, when they are already there."""
    if children is None or children.count != count:
        if children is not None:
            children.close()
        children = Children(count)
    try:
        yield children.workers(settings, job)
    finally:
        children.close()


def _start(ends: Sequence[socket.socket]) -> subprocess.Popen[bytes]:
    numbers = [end.fileno() for end in ends]
    return subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps(sys.path), json.dumps(numbers)],
        pass_fds=numbers,
        stdin=subprocess.DEVNULL,
        env=os.environ | _ENVIRONMENT,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def serve(numbers: Sequence[int]) -> None:
    """In the child: one process per pipe, each a worker until its pipe closes."""
    # An interrupt from the terminal reaches everybody; the parent decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # rows come by millions and hold no circles
    forked: list[int] = []
    mine = numbers[0]
    for other in numbers[1:]:
        pid = os.fork()
        if pid == 0:
            mine, forked = other, []
            break
        forked.append(pid)
    for number in numbers:
        if number != mine:
            os.close(number)
    _work(Connection(mine))
    settle()
    for pid in forked:
        os.waitpid(pid, 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # everything is closed; to take an interpreter apart piece by piece takes a tenth of a second


def _work(connection: Connection) -> None:
    worker: Worker | None = None
    while True:
        try:
            verb, arguments = connection.recv()
        except (EOFError, OSError):
            break
        answer: tuple[bool, Any]
        try:
            with disk_errors("a worker's files", "refine"):
                if verb == "open":
                    worker, result = Worker(*arguments), None
                elif verb == "decode_rest":
                    result = worker.decode_rest(least=arguments[0]) if worker else None
                else:
                    result = getattr(worker, verb)(*arguments)
            answer = False, result
        except HeadgateError as problem:
            answer = True, problem
        except Exception as problem:  # anything else may not survive the pipe
            answer = True, DefectError(f"{type(problem).__name__} in a worker: {problem}", stage="refine")
        with suppress(OSError):
            connection.send(answer)
    if worker is not None:
        worker.close()
