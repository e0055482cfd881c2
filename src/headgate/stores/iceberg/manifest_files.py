"""Manifests and their lists as PyIceberg writes them, but what all files of one schema share is worked out once.

That is the schema in Avro's words and the tree of encoders: most of the cost of a manifest of a few entries.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pyiceberg.avro.file import MAGIC as AVRO
from pyiceberg.avro.file import META_SCHEMA, SYNC_SIZE, AvroFileHeader, AvroOutputFile
from pyiceberg.avro.resolver import construct_writer, resolve_writer
from pyiceberg.avro.writer import Writer
from pyiceberg.io import OutputFile
from pyiceberg.manifest import (
    DEFAULT_READ_VERSION,
    MANIFEST_LIST_FILE_SCHEMAS,
    ManifestListWriter,
    ManifestListWriterV2,
    ManifestWriter,
    ManifestWriterV2,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

_COMPRESSION: Literal["deflate"] = "deflate"
_MOST_FORMS = 200


@dataclass(frozen=True, slots=True)
class _Form:
    """What files of one schema share. `of` are the objects that it was made of: while it is kept, their ids are theirs
    alone."""

    of: tuple[Any, ...]
    avro: str
    writer: Writer
    metadata: Mapping[str, str]


class _Forms:
    """The forms in use, by the identity of what they were made of."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[int, ...], _Form] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, of: tuple[Any, ...], make: Callable[[], _Form]) -> _Form:
        """The form of these objects, made when it is not there."""
        key = tuple(map(id, of))
        with self._lock:
            form = self._held.get(key)
            if form is None:
                form = self._held[key] = make()
                if len(self._held) > _MOST_FORMS:
                    self._held.popitem(last=False)
            return form


_FORMS = _Forms()


class _Output(AvroOutputFile[Any]):
    """An Avro file of a known form."""

    def __init__(self, output_file: OutputFile, form: _Form, metadata: Mapping[str, str]) -> None:
        self.output_file, self.writer, self.metadata = output_file, form.writer, dict(metadata)
        self.sync_bytes = os.urandom(SYNC_SIZE)
        self._avro = form.avro

    def _write_header(self) -> None:
        codec = self.compression_name()
        header = AvroFileHeader(
            AVRO, {**self.metadata, "avro.schema": self._avro, "avro.codec": codec}, self.sync_bytes
        )
        construct_writer(META_SCHEMA).write(self.encoder, header)

    def compression_name(self) -> str:
        return _COMPRESSION


class _Manifest(ManifestWriterV2):
    def new_writer(self) -> AvroOutputFile[Any]:
        form = _FORMS.get((self._spec, self._schema), self._form)
        return _Output(self._output_file, form, form.metadata)

    def _form(self) -> _Form:
        file_schema = self._with_partition(2)
        writer = resolve_writer(record_schema=self._with_partition(DEFAULT_READ_VERSION), file_schema=file_schema)
        return _Form((self._spec, self._schema), _in_avro(file_schema, "manifest_entry"), writer, self._meta)


class _ManifestList(ManifestListWriterV2):
    def __enter__(self) -> ManifestListWriter:
        form = _FORMS.get((MANIFEST_LIST_FILE_SCHEMAS,), _list_form)
        self._writer = _Output(self._output_file, form, self._meta)
        self._writer.__enter__()
        return self


def _list_form() -> _Form:
    schemas = MANIFEST_LIST_FILE_SCHEMAS
    writer = resolve_writer(record_schema=schemas[DEFAULT_READ_VERSION], file_schema=schemas[2])
    return _Form((schemas,), _in_avro(schemas[2], "manifest_file"), writer, {})


def _in_avro(schema: Schema, name: str) -> str:
    return json.dumps(AvroSchemaConversion().iceberg_to_avro(schema, schema_name=name))


def manifest_writer(
    version: int, spec: PartitionSpec, schema: Schema, output: OutputFile, snapshot_id: int
) -> ManifestWriter:
    """A context manager that takes the entries of one manifest."""
    if version == 2:
        return _Manifest(spec, schema, output, snapshot_id, _COMPRESSION)
    return write_manifest(version, spec, schema, output, snapshot_id, _COMPRESSION)  # type: ignore[arg-type]


def manifest_list_writer(
    version: int, output: OutputFile, snapshot_id: int, parent_id: int | None, sequence: int
) -> ManifestListWriter:
    """A context manager that takes the manifests of one snapshot."""
    if version == 2:
        return _ManifestList(output, snapshot_id, parent_id, sequence, _COMPRESSION)
    return write_manifest_list(version, output, snapshot_id, parent_id, sequence, _COMPRESSION)  # type: ignore[arg-type]
