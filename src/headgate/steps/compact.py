"""Compact: many small files become few, beside running writers, at a cost that follows what is new.

Files are taken by rows, in tiers that grow by a factor of `fan`: so many files of one tier become one file of the next.
A row is rewritten once in each tier on its way to a full file and never again, however long the table lives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headgate import crash
from headgate.errors import CommitConflict, FixInputError
from headgate.ports.engine import Engine, Output, Rewrites
from headgate.ports.store import FileInfo, Keeps, Lake, TableView

FULL = 0.5  # of the target: a file of that size is left alone
TRIES = 5  # how often a table that others change is tried
BATCH_BYTES = 256 * 2**20  # rewritten in one publication: what is lost when a writer was faster


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large files shall become: `target_bytes` on disk; `fan` files of like size are merged into one."""

    target_bytes: int = 128 * 2**20
    fan: int = 8

    def full(self, info: FileInfo) -> bool:
        """Whether a file is large enough."""
        return info.size_bytes >= self.target_bytes * FULL

    def tier(self, info: FileInfo) -> int:
        """Which power of `fan` its rows reach. Rows, because bytes do not add up: small files are mostly footer."""
        return int(math.log(max(info.rows, 1)) / math.log(self.fan) + 1e-9)


@dataclass(slots=True)
class Compacted:
    """What compaction did to one table. `conflicts`: how often a writer had taken files first; `gave_up`: that was
    too often, and what is left waits for the next time."""

    table: str
    files_before: int = 0
    files_after: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    publications: int = 0
    conflicts: int = 0
    gave_up: bool = False


def small_files(files: Iterable[FileInfo], sizes: Sizes) -> int:
    """How many files are below a full one and share their partition with another such file."""
    counts: dict[tuple[object, ...], int] = {}
    for info in files:
        if not sizes.full(info):
            key = tuple(info.partition.items())
            counts[key] = counts.get(key, 0) + 1
    return sum(n for n in counts.values() if n > 1)


def plan(files: Sequence[FileInfo], sizes: Sizes, *, everything: bool) -> list[list[FileInfo]]:
    """Groups of files of one partition to become one file each, at most about the target size.

    With `everything` all that are not full; else only as many tiers as have filled up.
    """
    partitions: dict[tuple[object, ...], list[FileInfo]] = {}
    for info in files:
        if not sizes.full(info):
            partitions.setdefault(tuple(info.partition.items()), []).append(info)
    groups: list[list[FileInfo]] = []
    for small in partitions.values():
        chosen = small if everything else _filled(small, sizes)
        groups += [g for g in _cut(chosen, sizes.target_bytes) if len(g) > 1]
    return groups


def _filled(files: Sequence[FileInfo], sizes: Sizes) -> list[FileInfo]:
    """The files of the tiers up to the highest that is filled, once the tiers below have spilled into it."""
    tiers: dict[int, list[FileInfo]] = {}
    for info in files:
        tiers.setdefault(sizes.tier(info), []).append(info)
    chosen: list[FileInfo] = []
    below: list[FileInfo] = []
    for _, tier in sorted(tiers.items()):
        below = below + tier
        if len(tier) >= sizes.fan or (chosen and len(tier) + 1 >= sizes.fan):
            chosen = below
    return chosen


def _cut(files: Sequence[FileInfo], target_bytes: int) -> list[list[FileInfo]]:
    groups: list[list[FileInfo]] = []
    size = 0
    for info in files:
        if not groups or size + info.size_bytes > target_bytes:
            groups.append([])
            size = 0
        groups[-1].append(info)
        size += info.size_bytes
    return groups


def compact(
    table: str,
    lake: Lake,
    engine: Engine,
    sizes: Sizes,
    *,
    everything: bool = False,
    judged: int | None = None,
    until: float | None = None,
    batch_bytes: int = BATCH_BYTES,
    beside: bool = False,
) -> Compacted:
    """Rewrite a table's small files. Rows, their version, positions and facts stay as they are.

    `judged` spares files of later commits (bronze rows that wait for a verdict); `until` is the instant of
    `time.monotonic` after which no further publication is begun; each rewrites about `batch_bytes`, on one
    core when that is `beside` other work of this process. When a writer has
    taken the files first, nothing of that publication stays and the table is looked at again; after TRIES times in a
    row compaction gives up. Raises what a publication raises, but not CommitConflict.
    """
    if not isinstance(engine, Rewrites):
        raise FixInputError("this engine cannot compact", hint="run maintain with engine: duckdb", where=table)
    done = Compacted(table)
    tries, bound = 0, judged
    while until is None or time.monotonic() < until:
        view = lake.cut().table(table)
        if bound is None and view is not None:
            bound = max((f.sequence for f in view.files()), default=0)  # what comes later waits for the next time
        groups = _batch(_plan(view, sizes, bound, everything=everything), batch_bytes) if view is not None else []
        if view is None or not groups:
            break
        try:
            if not _publish(view, groups, lake, engine, done, beside=beside):
                break
            tries = 0
        except (CommitConflict, FileNotFoundError) as cause:
            if isinstance(cause, FileNotFoundError):
                _check_there(table, lake, cause)
            done.conflicts += 1
            tries, bound = tries + 1, judged
            if tries >= TRIES:
                done.gave_up = True
                break
    return done


def _check_there(table: str, lake: Lake, cause: FileNotFoundError) -> None:
    """A file that was read is gone: let go of by others meanwhile, which is no harm, or lost."""
    for debt in lake.debts() if isinstance(lake, Keeps) else ():
        if debt.table == table and debt.missing:
            raise FixInputError(
                f"a file that the table needs is gone: {debt.missing[0]}",
                where=table,
                hint="bring it back, or roll the table back to a snapshot without it; headgate status lists all",
                stage="maintain",
            ) from cause


def _plan(view: TableView, sizes: Sizes, bound: int | None, *, everything: bool) -> list[list[FileInfo]]:
    files = [f for f in view.files() if bound is None or f.sequence <= bound]
    sort = view.sort
    if sort and all(sort[0] in f.lower for f in files):
        files.sort(key=lambda f: (f.lower[sort[0]], f.sequence))
    return plan(files, sizes, everything=everything)


def _batch(groups: list[list[FileInfo]], batch_bytes: int) -> list[list[FileInfo]]:
    """The first groups, up to what one publication may take."""
    taken: list[list[FileInfo]] = []
    size = 0
    for group in groups:
        size += sum(info.size_bytes for info in group)
        if taken and size > batch_bytes:
            break
        taken.append(group)
    return taken


def _publish(
    view: TableView,
    groups: Sequence[Sequence[FileInfo]],
    lake: Lake,
    engine: Rewrites,
    done: Compacted,
    *,
    beside: bool,
) -> bool:
    """One publication; False when it would not leave fewer files."""
    before = [info for group in groups for info in group]
    with lake.publication("maintain") as publication:
        layer, _, name = view.name.partition(".")
        keys_of = name if layer == "silver" else ""
        folder = publication.folder(view.name)
        output = Output(folder, view.schema, view.field_ids(), sort=tuple(view.sort), keys_of=keys_of)
        written = engine.rewrite(groups, output, beside=beside)
        after = sum(len(paths) for paths in written)
        if after >= len(before):
            return False
        size = 0
        for group, paths in zip(groups, written, strict=True):
            size += publication.rewrite(view.name, [info.path for info in group], paths)
        publication.note({"compacted": view.name, "files_before": len(before), "files_after": after})
        crash.point("compact: files written, not published")
        publication.commit()
    crash.point("compact: published")
    done.publications += 1
    done.files_before += len(before)
    done.files_after += after
    done.rows += sum(info.rows for info in before)
    done.bytes_before += sum(info.size_bytes for info in before)
    done.bytes_after += size
    return True
