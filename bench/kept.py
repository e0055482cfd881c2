"""Where a hop keeps what it needs: a temporary folder, or one that stays (BENCH_FOLDER) so that what takes long to make
is made once, and beforehand (`--prepare`)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def folder(hop: str) -> Iterator[str]:
    """The hop's folder; gone afterwards unless it is to be kept."""
    kept = os.environ.get("BENCH_FOLDER")
    if kept:
        path = os.path.join(kept, hop)
        os.makedirs(path, exist_ok=True)
        yield path
        return
    path = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
