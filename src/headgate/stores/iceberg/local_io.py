"""Files of the warehouse on a local disk: inside the warehouse only, and on the disk before anybody points to them.

PyIceberg never syncs: after a power cut a pointer may be durable and the file behind it empty. Here every
written file is synced when it is closed, or, where `deferred`, when `sync` is called: once per publication,
many at a time.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.typedef import EMPTY_DICT, Properties

from headgate.errors import FixInputError
from headgate.threads import begun

_MOVED = "tables name their files by absolute paths: if the folder was moved, move it back or leave a link to it there"
WAREHOUSE = "warehouse"
_PARALLEL = 8
_SLOW_S = 0.002
_MOST_FOLDERS = 10_000


def local_path(location: str) -> str:
    """The path of a `file:` URL, or the path itself."""
    if location.startswith("file://"):
        return location[7:]
    return location.removeprefix("file:")


def location_of(path: str | Path) -> str:
    """The URL under which table metadata names a local file."""
    return f"file://{path}"


def sync_path(path: str) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_sync(path: str, start: int, end: int) -> None:
    """Let the system begin to write a stretch of a file to the disk, so that a later sync has less to wait for. Only a
    hint: not everywhere can it be given."""
    if end <= start or not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)  # what is not written yet stays
        finally:
            os.close(descriptor)


class _SyncedFile(io.BufferedWriter):
    """A new file that is on the disk once it is closed."""

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush()
                os.fsync(self.fileno())
            finally:
                super().close()


class LocalInputFile(InputFile):
    """A file to read."""

    def __init__(self, location: str, path: str) -> None:
        super().__init__(location)
        self._path = path

    def __len__(self) -> int:
        return os.stat(self._path).st_size

    def exists(self) -> bool:
        """True when the file is there."""
        return os.path.exists(self._path)

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002
        """The file's bytes, always seekable."""
        return open(self._path, "rb")


class LocalOutputFile(OutputFile):
    """A file to write; its folders are made."""

    def __init__(self, location: str, path: str, store: LocalIO) -> None:
        super().__init__(location)
        self._path = path
        self._store = store

    def __len__(self) -> int:
        return os.stat(self._path).st_size

    def exists(self) -> bool:
        """True when the file is there."""
        return os.path.exists(self._path)

    def to_input_file(self) -> LocalInputFile:
        """The same file, to read."""
        return LocalInputFile(self._location, self._path)

    def create(self, overwrite: bool = False) -> OutputStream:
        """Begin the file; FileExistsError when it is there and `overwrite` is not given."""
        self._store.wrote(self._path)
        self._store.durable.make(os.path.dirname(self._path))
        raw = io.FileIO(self._path, "w" if overwrite else "x")
        return io.BufferedWriter(raw) if self._store.deferred else _SyncedFile(raw)


class Durable:
    """Folders whose names are certainly on the disk, in the folders above them too: their own need no sync again."""

    def __init__(self) -> None:
        self._folders: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return path in self._folders

    def add(self, folders: Iterable[str]) -> None:
        """These have been synced, and what is above them."""
        if len(self._folders) > _MOST_FOLDERS:
            self._folders.clear()
        self._folders.update(folders)

    def make(self, folder: str) -> None:
        """Make a folder and those above it. One that was not there is not on the disk, whatever was before."""
        missing = folder
        while not os.path.isdir(missing):
            self._folders.discard(missing)
            missing = os.path.dirname(missing)
        os.makedirs(folder, exist_ok=True)


class LocalIO(FileIO):
    """PyIceberg's door to the warehouse. Raises FixInputError for a file outside of it."""

    def __init__(
        self, properties: Properties = EMPTY_DICT, *, deferred: bool = False, durable: Durable | None = None
    ) -> None:
        super().__init__(properties)
        self.deferred = deferred
        self.durable = durable or Durable()
        self._root = os.path.realpath(local_path(properties[WAREHOUSE]))
        self._unsynced: list[str] = []
        self._syncing: Future[None] | None = None

    def path(self, location: str) -> str:
        """The local path of a location; FixInputError when it leaves the warehouse."""
        if "://" in location and not location.startswith("file://"):
            raise FixInputError(f"not a file of this lake: {location}", hint="only local files can be used here")
        path = os.path.realpath(local_path(location))
        if not path.startswith(self._root + os.sep):
            raise FixInputError(f"outside of the warehouse: {location}", where=self._root, hint=_MOVED)
        return path

    def new_input(self, location: str) -> LocalInputFile:
        """A file to read. FixInputError outside of the warehouse."""
        return LocalInputFile(location, self.path(location))

    def new_output(self, location: str) -> LocalOutputFile:
        """A file to write. FixInputError outside of the warehouse."""
        return LocalOutputFile(location, self.path(location), self)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file. FixInputError outside of the warehouse."""
        os.remove(self.path(location if isinstance(location, str) else location.location))

    def wrote(self, path: str) -> None:
        """Remember a file that must be synced before it is pointed to."""
        self._unsynced.append(path)

    def begin_sync(self) -> None:
        """Make what is written so far durable beside the caller, who does not know it before `sync` has come back."""
        if self._syncing is None and (files := self._written()):
            self._syncing = begun(lambda: self._make_durable(files))

    def sync(self) -> list[str]:
        """Make everything written so far durable: the files, then their folders up to one that is. The files written
        since the last time."""
        files = self._written()
        self._make_durable(files)
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()
        return files

    def _written(self) -> list[str]:
        files = list(dict.fromkeys(self._unsynced))
        self._unsynced.clear()
        return files

    def _make_durable(self, files: list[str]) -> None:
        named: set[str] = set()
        for path in files:
            while path not in self.durable and path not in named and path.startswith(self._root + os.sep):
                named.add(path)
                path = os.path.dirname(path)  # noqa: PLW2901
        sync_all(files if self.deferred else [])
        sync_all(sorted({os.path.dirname(path) for path in named}))
        self.durable.add(named.difference(files))

    def discard(self, paths: Iterable[str]) -> None:
        """Remove files that nobody can point to; one that is gone or cannot be removed is left to the upkeep."""
        for path in paths:
            with suppress(OSError):
                os.remove(path)

    def forget(self) -> list[str]:
        """The files written since the last sync, forgotten."""
        if self._syncing is not None:
            wait([self._syncing])  # its error is for the next `sync`
        return self._written()


def sync_all(paths: list[str]) -> None:
    """Sync several paths; on a disk where one sync takes long, the rest together, which costs little more than one."""
    began = time.perf_counter()
    for number, path in enumerate(paths):
        sync_path(path)
        rest = paths[number + 1 :]
        if len(rest) > 1 and time.perf_counter() - began > _SLOW_S * (number + 1):
            with ThreadPoolExecutor(min(_PARALLEL, len(rest))) as pool:
                list(pool.map(sync_path, rest))
            return
