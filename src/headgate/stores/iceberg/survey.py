"""What lies in a table's folder: what its current snapshot names, what only its history names, and what nobody does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from headgate.stores.iceberg.cut import Storage
from headgate.stores.iceberg.layout import KEY
from headgate.stores.iceberg.local_io import local_path
from headgate.stores.iceberg.manifest_reads import in_list


@dataclass(frozen=True, slots=True)
class Found:
    """A file on the disk."""

    path: str
    size_bytes: int
    modified_s: float  # since 1970


@dataclass(slots=True)
class Survey:
    """The files of one table, by who names them. `ours` is False for a table that another tool made."""

    table: str
    ours: bool = True
    current: list[Found] = field(default_factory=list)
    history: list[Found] = field(default_factory=list)
    unnamed: list[Found] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # named by the current snapshot, and not on the disk


def listed(folders: Mapping[str, str]) -> dict[str, list[Found]]:
    """The files below each table's folder (table -> folder), without those below another table's folder inside it."""
    places = {folder: table for table, folder in folders.items()}
    return {table: list(_walk(folder, places.keys() - {folder})) for table, folder in folders.items()}


def _walk(folder: str, others: Iterable[str]) -> Iterator[Found]:
    beyond = set(others)
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.path not in beyond:
                    waiting.append(entry.path)
                continue
            try:
                told = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Found(entry.path, told.st_size, told.st_mtime)


def folder_of(metadata: TableMetadata) -> str:
    """A table's folder."""
    return os.path.realpath(local_path(metadata.location))


def survey(
    storage: Storage, tables: Mapping[str, tuple[str, TableMetadata]], files: Mapping[str, list[Found]]
) -> list[Survey]:
    """Sort listed files by who names them. `tables` maps each table to its metadata file and content, read after
    the files were listed: so a file that a publication has made visible meanwhile is named."""
    current: dict[str, set[str]] = {}
    named: set[str] = set()
    for table, (location, metadata) in tables.items():
        current[table] = {local_path(location)}
        named.update(local_path(entry.metadata_file) for entry in metadata.metadata_log)
        for statistics in [*metadata.statistics, *metadata.partition_statistics]:
            named.add(local_path(statistics.statistics_path))
        for snapshot in metadata.snapshots:
            paths = set(_paths(storage, snapshot))
            named |= paths
            if snapshot.snapshot_id == metadata.current_snapshot_id:
                current[table] |= paths
    return [_sorted(table, tables[table][1], files[table], current[table], named) for table in sorted(tables)]


def _sorted(table: str, metadata: TableMetadata, files: list[Found], current: set[str], named: set[str]) -> Survey:
    made = Survey(table, ours=KEY in metadata.properties)
    for found in files:
        if found.path in current:
            made.current.append(found)
        elif found.path in named:
            made.history.append(found)
        else:
            made.unnamed.append(found)
    there = {found.path for found in files}
    made.missing = sorted(path for path in current if path not in there and not os.path.exists(path))
    return made


def _paths(storage: Storage, snapshot: Snapshot) -> Iterator[str]:
    """Every file that a snapshot names, itself included."""
    if not snapshot.manifest_list:
        return
    yield local_path(snapshot.manifest_list)
    for manifest in in_list(storage.io, snapshot.manifest_list):
        yield local_path(manifest.manifest_path)
        for entry in storage.manifests.entries(storage.io, manifest):
            yield local_path(entry.data_file.file_path)
