"""Parquet files by path or URL, and the Arrow types they are written with."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from headgate.errors import FixInputError, StoreUnavailable
from headgate.ports.engine import Output

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GONE = (
    r"local file '(.+?)'",  # Arrow
    r'No files found .* "(.+?)"',
    r'Cannot open file "(.+?)": No such file',
    r'Cannot access file "(.+?)/\*\*/\*\.parquet"',  # a file that is not there might be a folder
)
FIELD_ID = b"PARQUET:field_id"
_OWN_ID = "__duckdb_field_id"


@contextmanager
def open_parquet(path: str, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """The Parquet file at a local path or URL, closed on leaving. Some columns may be read as dictionaries."""
    filesystem, inner = locate(path)
    source = inner if filesystem is None else filesystem.open_input_file(inner)
    with pq.ParquetFile(source, memory_map=filesystem is None, read_dictionary=list(dictionaries)) as file:
        yield file


@contextmanager
def disk_errors(folder: str, stage: str) -> Iterator[None]:
    """A full disk is nothing that a person must report: FixInputError. Any other failure stays what it is."""
    try:
        yield
    except OSError as cause:
        if cause.errno not in _NO_SPACE:
            raise
        message = f"no space left to write data files: {cause.strerror or cause}"
        raise FixInputError(message, where=folder, hint="free space and run again", stage=stage) from cause


@contextmanager
def missing_files() -> Iterator[None]:
    """A data file that is not there is told by its name: see `gone`."""
    try:
        yield
    except (FileNotFoundError, duckdb.IOException) as cause:
        error = gone(cause)
        if error is None:
            raise
        raise error from cause


def gone(cause: Exception, may_be_read: Collection[str] | None = None) -> StoreUnavailable | None:
    """The error for a complaint that a data file is not there: it was cleaned away since this look at the tables, or
    somebody lost it. None for any other. `may_be_read`: the only files that can be meant."""
    for pattern in _GONE:
        found = re.search(pattern, str(cause))
        if found and (may_be_read is None or found[1] in may_be_read):
            return StoreUnavailable(
                f"a data file is gone: {found[1]}",
                hint="try again; headgate status names files that stay missing: bring them back, or roll the table "
                "back to a snapshot without them",
            )
    return None


def locate(path: str) -> tuple[pyarrow.fs.FileSystem | None, str]:
    """The file system of a URL and the path inside it; (None, path) for a local file."""
    if path.startswith("file:"):
        return None, pyarrow.fs.FileSystem.from_uri(path)[1]
    if "://" in path:
        return pyarrow.fs.FileSystem.from_uri(path)
    return None, path


def file_schema(output: Output) -> pa.Schema:
    """The schema to write files with: the output's columns in plain Arrow types, with Iceberg's field ids."""
    return pa.schema([_numbered(one, output.field_ids.get(one.name)) for one in output.schema])


def plain_type(of: pa.DataType) -> pa.DataType:
    """The type without Arrow's large and view variants, which say how memory is laid out and nothing else."""
    plain: pa.DataType = _plain(of, {})
    return plain


def _numbered(field: Any, ids: Any) -> Any:
    inner: Mapping[str, Any] = ids if isinstance(ids, Mapping) else {}
    own = inner.get(_OWN_ID) if inner else ids
    metadata = None if own is None else {FIELD_ID: str(own).encode()}
    return pa.field(field.name, _plain(field.type, inner), field.nullable, metadata)


def _plain(of: Any, ids: Mapping[str, Any]) -> Any:
    t = pa.types
    if t.is_large_string(of) or t.is_string_view(of):
        return pa.string()
    if t.is_large_binary(of) or t.is_binary_view(of):
        return pa.binary()
    if t.is_struct(of):
        return pa.struct([_numbered(of.field(i), ids.get(of.field(i).name)) for i in range(of.num_fields)])
    if t.is_list(of) or t.is_large_list(of):
        return pa.list_(_numbered(of.value_field.with_name("element"), ids.get("element")))
    if t.is_map(of):
        key, item = of.key_field.with_name("key"), of.item_field.with_name("value")
        mapped: Any = pa.map_
        return mapped(_numbered(key, ids.get("key")), _numbered(item, ids.get("value")))
    return of
