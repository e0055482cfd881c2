"""Manifests and their lists as PyIceberg reads them, but the reader of a schema is made once, not for each file: most
of the cost of a manifest of a few entries, and tables have dozens of those."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from pyiceberg.avro.decoder import new_decoder
from pyiceberg.avro.file import META_SCHEMA, AvroFile, AvroFileHeader
from pyiceberg.avro.reader import Reader
from pyiceberg.avro.resolver import construct_reader, resolve_reader
from pyiceberg.manifest import (
    DEFAULT_READ_VERSION,
    MANIFEST_ENTRY_SCHEMAS,
    MANIFEST_LIST_FILE_SCHEMAS,
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    PartitionFieldSummary,
    _inherit_from_manifest,
)

from headgate.stores.iceberg.local_io import LocalIO

_MOST_READERS = 200


class _Readers:
    """Readers by what is read, and the schema that its files state."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[Any, str], Reader] = OrderedDict()
        self._lock = threading.Lock()
        self.header: Any = construct_reader(META_SCHEMA, {-1: AvroFileHeader})

    def get(self, file: AvroFile[Any]) -> Reader:
        """The reader of a file whose header has been read."""
        key = file.read_types[-1], file.header.meta.get("avro.schema", "")
        with self._lock:
            found = self._made.get(key)
        if found is None:
            schema: Any = file.read_schema
            found = resolve_reader(file.header.get_schema(), schema, file.read_types, file.read_enums)
            with self._lock:
                self._made[key] = found
                if len(self._made) > _MOST_READERS:
                    self._made.popitem(last=False)
        return found


_READERS = _Readers()


class _Avro(AvroFile[Any]):
    """An Avro file whose reader may be known already."""

    def __enter__(self) -> _Avro:
        with self.input_file.open() as file:
            self.decoder = new_decoder(file.read())
        self.header = _READERS.header.read(self.decoder)
        self.reader = _READERS.get(self)
        return self


def live_in(io: LocalIO, manifest: ManifestFile) -> list[ManifestEntry]:
    """The entries of a manifest that are not deleted."""
    with _Avro(
        io.new_input(manifest.manifest_path),
        MANIFEST_ENTRY_SCHEMAS[DEFAULT_READ_VERSION],
        read_types={-1: ManifestEntry, 2: DataFile},
        read_enums={0: ManifestEntryStatus, 101: FileFormat, 134: DataFileContent},
    ) as file:
        return [_inherit_from_manifest(e, manifest) for e in file if e.status != ManifestEntryStatus.DELETED]


def in_list(io: LocalIO, location: str) -> list[ManifestFile]:
    """The manifests of a list."""
    with _Avro(
        io.new_input(location),
        MANIFEST_LIST_FILE_SCHEMAS[DEFAULT_READ_VERSION],
        read_types={-1: ManifestFile, 508: PartitionFieldSummary},
        read_enums={517: ManifestContent},
    ) as file:
        return list(file)
