"""Key indexes that a compaction carries on: hashes of rows that move to another file are taken from the indexes of the
files they leave, so that nothing is hashed and no file is read again to be indexed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.arrays import take
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.engines.duckdb.key_index import ROW, IndexLayout, open_index, settle
from headgate.ports.store import FileInfo


def kept_indexes(cache: str, dataset: str) -> Mapping[str, Sequence[str]]:
    """The kept indexes of a dataset: name of the data file, without its ending -> paths, newest first."""
    found: dict[str, list[tuple[float, str]]] = {}
    folder = os.path.join(cache, dataset)
    settle(folder)
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder) if cache and dataset else ():
            stem, _, rest = entry.name.rpartition("-")
            if rest.endswith(".arrow"):
                with suppress(FileNotFoundError):
                    found.setdefault(stem, []).append((entry.stat().st_mtime, entry.path))
    return {stem: [path for _, path in sorted(paths, reverse=True)] for stem, paths in found.items()}


def common_layout(files: Sequence[FileInfo], indexes: Mapping[str, Sequence[str]]) -> IndexLayout | None:
    """How all of these files are indexed, if they all are; the newest way that they have in common."""
    common = [{_fingerprint(path) for path in indexes.get(_stem(info.path), ())} for info in files]
    for path in indexes.get(_stem(files[0].path), ()):
        schema = _schema(path)
        if schema is not None and all(_fingerprint(path) in some for some in common):
            return IndexLayout(os.path.dirname(path), schema, _fingerprint(path))
    return None


def _fingerprint(path: str) -> str:
    return path.rpartition("-")[2].removesuffix(".arrow")


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _schema(path: str) -> pa.Schema | None:
    try:
        with open(path, "rb") as source:
            return pa.ipc.open_file(source).schema
    except (OSError, pa.ArrowException):
        return None


def hashes_of(info: FileInfo, layout: IndexLayout) -> pa.Table | None:
    """Key and content hash of each row of a file, in the file's order; None when the index is not whole."""
    index = open_index(layout, info.path, info.rows)
    if index is None:
        return None
    index.expect(info.rows)
    rows = pa.Table.from_batches([part.rows.select([ROW, KEY, CONTENT]) for part in index.parts])
    numbers = rows[ROW].to_numpy()
    at = np.argsort(numbers, kind="stable")
    if not np.array_equal(numbers[at], np.arange(info.rows, dtype=np.uint32)):
        return None
    return take(rows.select([KEY, CONTENT]), at)
