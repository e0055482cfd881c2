"""Remove what nobody names: left behind by killed or refused publications, or let go by history.

A file is removed only when all of this holds:

1. it lies in the folder of a table that Headgate made, and no table of the catalog names it in any snapshot;
2. no publication under way can own it: its own id is in the name of every file that a publication makes;
3. no publication in doubt can own it: the tables are read when none is between its last step and its end;
4. it is old enough: a file that was never published has not been touched for so long; one that was published, and
   that a reader may still be reading, was already found without a name so long ago. Where the journal's lines are
   folded away, any file may have been published.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from headgate import crash
from headgate.errors import StoreUnavailable
from headgate.ports.store import Cleaned
from headgate.stores.iceberg.cut import Storage
from headgate.stores.iceberg.journal import folded_until
from headgate.stores.iceberg.leases import FOLDER, Leases
from headgate.stores.iceberg.pointers import Pointers
from headgate.stores.iceberg.survey import Found, Survey, folder_of, listed, survey

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(slots=True)
class Marks:
    """Since when files are known to have no name: path relative to the warehouse -> seconds since 1970."""

    warehouse: Path
    since: dict[str, float] = field(default_factory=dict)

    @property
    def _path(self) -> Path:
        return self.warehouse / FOLDER / "unnamed.json"

    def read(self) -> None:
        """What earlier looks have found."""
        with suppress(OSError, ValueError):
            self.since = json.loads(self._path.read_text("utf-8"))

    def age_s(self) -> float | None:
        """Seconds since the last look; None when there was none."""
        try:
            return max(time.time() - self._path.stat().st_mtime, 0.0)
        except OSError:
            return None

    def write(self) -> None:
        """Keep it for the next look, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(self.since), "utf-8")
        draft.replace(self._path)


@dataclass(frozen=True, slots=True)
class Look:
    """The whole lake at one moment: every table's files by who names them, and the publications under way."""

    surveys: Sequence[Survey]
    leases: Leases
    folders: frozenset[str]  # of all tables


def look(storage: Storage, pointers: Pointers, warehouse: Path, *, settled: bool = False) -> Look:
    """See what lies where. With `settled`, rule 3 holds."""
    for _ in range(5):
        try:
            folders = {name: folder_of(storage.metadata(at, name)) for name, at in pointers.read().items()}
            files = listed(folders)
            leases = Leases.read(warehouse)
            now = pointers.settled() if settled else pointers.read()
            tables = {name: (at, storage.metadata(at, name)) for name, at in now.items()}
            if {name: folder_of(metadata) for name, (_, metadata) in tables.items()} == folders:
                return Look(survey(storage, tables, files), leases, frozenset(folders.values()))
        except (StoreUnavailable, FileNotFoundError):
            continue  # history moved on while it was being read
    raise StoreUnavailable("the lake changes too fast to be surveyed", hint="try again", where=str(warehouse))


def clean(
    storage: Storage, pointers: Pointers, warehouse: Path, keep_s: float, *, dry_run: bool = False
) -> list[Cleaned]:
    """Remove what may be removed, or with `dry_run` only say it; per table, those left out that have nothing."""
    seen = look(storage, pointers, warehouse, settled=True)
    marks = Marks(warehouse)
    marks.read()
    judge = _Judge(seen.leases, marks, keep_s, pointers, seen.surveys)
    done: list[Cleaned] = []
    for one in seen.surveys:
        mine = Cleaned(one.table)
        for found in one.unnamed if one.ours else ():
            if not judge.may_go(found):
                mine.waiting_files += 1
                mine.waiting_bytes += found.size_bytes
                continue
            mine.files += 1
            mine.bytes += found.size_bytes
            if not dry_run:
                _remove(found.path)
        if mine.files or mine.waiting_files:
            done.append(mine)
    if not dry_run:
        marks.since = judge.waiting
        marks.write()
        _remove_folders(seen)
        _forget(seen, pointers, warehouse, keep_s)
    return done


class _Judge:
    """Rules 2 and 4."""

    def __init__(
        self, leases: Leases, marks: Marks, keep_s: float, pointers: Pointers, surveys: Sequence[Survey]
    ) -> None:
        self.leases, self.marks, self.keep_s = leases, marks, keep_s
        self.now = time.time()
        owners = {_owner(found.path) for one in surveys if one.ours for found in one.unnamed}
        self.landed = pointers.landed({owner for owner in owners if owner})
        self.folded_until = folded_until(pointers)
        self.waiting: dict[str, float] = {}  # the marks for the next time

    def may_go(self, found: Found) -> bool:
        """Whether an unnamed file may be removed now."""
        owner = _owner(found.path)
        relative = os.path.relpath(found.path, self.marks.warehouse)
        # A clock that was set back makes a file wait longer, never shorter.
        first = min(self.marks.since.get(relative, self.now), self.now)
        published = owner is None or owner in self.landed or found.modified_s < self.folded_until
        old = self.now - (first if published else found.modified_s) >= self.keep_s
        if old and owner not in self.leases.running:
            return True
        self.waiting[relative] = first
        return False


def _owner(path: str) -> str | None:
    """The publication that made a file: its id is the name of the data folder, or begins the name of the file."""
    folder, _, name = path.rpartition("/")
    for text in (folder.rpartition("/")[2], name):
        if found := _ID.search(text):
            return found[0]
    return None


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(path)
    crash.point("clean: one file removed")


def _remove_folders(seen: Look) -> None:
    """Data folders of ended publications, where nothing is left in them."""
    for folder in {os.path.dirname(f.path) for one in seen.surveys if one.ours for f in one.unnamed}:
        name = os.path.basename(folder)
        if _ID.fullmatch(name) and name not in seen.leases.running:
            with suppress(OSError):
                os.rmdir(folder)


def _forget(seen: Look, pointers: Pointers, warehouse: Path, keep_s: float) -> None:
    """Remove what dead publications left of tables that were never made, then their leases."""
    told, until = pointers.landed(set(seen.leases.dead)), folded_until(pointers)
    for publication, lease in seen.leases.dead.items():
        landed = publication in told or lease.modified_s < until
        if not landed and time.time() - lease.modified_s < keep_s:
            continue
        for folder in lease.folders:
            if not landed and os.path.realpath(folder) not in seen.folders:
                _remove_unmade(folder, publication)
        seen.leases.forget(warehouse, publication)


def _remove_unmade(folder: str, publication: str) -> None:
    """The files of one publication in the folder of a table that it was about to make, and the folder."""
    for inner, _, names in os.walk(folder, topdown=False):
        for name in names:
            if _owner(os.path.join(inner, name)) == publication:
                _remove(os.path.join(inner, name))
        with suppress(OSError):
            os.rmdir(inner)
