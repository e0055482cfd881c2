"""Which publications are under way: a locked file for each, so that the upkeep takes nobody's files for left-overs.

The operating system lets go of the lock when the process dies, however it dies, so a lease can neither be forgotten
nor expire too early. A killed publication leaves its unlocked file behind; in it stand the folders of tables that it
was about to make, which no catalog names.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "_upkeep"
_BORN = ".new"


def lease_folder(warehouse: Path) -> Path:
    """Where the leases of a warehouse are."""
    return warehouse / FOLDER / "running"


class Lease:
    """The lease of one publication, from its first file to its end."""

    def __init__(self, warehouse: Path, publication: str) -> None:
        folder = lease_folder(warehouse)
        self._path = folder / publication
        born = folder / f"{publication}{_BORN}"
        try:
            self._file = os.open(born, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(born, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.rename(born, self._path)  # whoever sees the name sees it locked

    def name(self, folder: str) -> None:
        """Remember the folder of a table that is being made."""
        os.write(self._file, f"{folder}\n".encode())

    def release(self) -> None:
        """The publication has ended, in whatever way."""
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Dead:
    """What a killed publication left: when it began, and the folders of tables that it was making."""

    modified_s: float
    folders: list[str]


@dataclass(slots=True)
class Leases:
    """Publications under way, and those whose process died."""

    running: set[str] = field(default_factory=set)
    dead: dict[str, Dead] = field(default_factory=dict)

    @classmethod
    def read(cls, warehouse: Path) -> Leases:
        """All leases now."""
        found = cls()
        folder = lease_folder(warehouse)
        if not folder.is_dir():
            return found
        for path in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):  # it ended meanwhile
                found._see(path)
        return found

    def _see(self, path: Path) -> None:
        publication = path.name.removesuffix(_BORN)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.running.add(publication)
        else:
            if path.name.endswith(_BORN):
                self.running.add(publication)  # perhaps between its two first steps
            else:
                folders = path.read_text("utf-8").split("\n")[:-1]
                self.dead[publication] = Dead(os.fstat(handle).st_mtime, folders)
        finally:
            os.close(handle)

    def forget(self, warehouse: Path, publication: str) -> None:
        """Remove the lease of a dead publication whose files are gone."""
        with suppress(OSError):
            os.unlink(lease_folder(warehouse) / publication)


@contextmanager
def turn(warehouse: Path, name: str) -> Iterator[bool]:
    """Whether this one's turn it is: true for one at a time, over all processes. The lock goes with its process."""
    folder = warehouse / FOLDER / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
