"""Finds the files that a path, folder or glob names, in a fixed order, without ever leaving the folder given.

A glob knows `*`, `?`, `[...]` within a name and `**` for any number of folders. Names beginning with a dot are
found only when the pattern says the dot. A folder stands for all files under it with an extension of the format.
A symbolic link is followed when its target lies in the folder and refused by name when it does not; folders
behind links are not walked (their files are found where they are).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headgate.errors import FixInputError

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Found:
    """A file: `name` relative to the folder (with `/`), and what the listing saw of it."""

    name: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Place:
    """What the option `path` means. `root` is a real folder, `label` its name for positions.

    The label is relative to the project when the root lies inside it, so that a project may move. `pattern` is
    matched below the root; None: all files of a known extension.
    """

    root: Path
    label: str
    pattern: str | None


def place(path: str, base: str) -> Place:
    """The place that `path` names, relative to the folder `base`. Raises FixInputError."""
    if not path or "\0" in path:
        raise FixInputError("the server's path is empty or not a path", hint="path: a file, a folder or a glob")
    pure = PurePosixPath(path.removeprefix("file://"))
    if ".." in pure.parts:
        raise FixInputError(
            f"path {path!r} climbs out of its folder with '..'",
            hint="write an absolute path, or one inside the project",
        )
    parts = pure.parts
    magic = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    fixed = Path(base, *parts[:magic])
    if magic < len(parts):
        return _place(fixed, base, "/".join(parts[magic:]), path)
    if fixed.is_dir():
        return _place(fixed, base, None, path)
    if not os.path.lexists(fixed):
        raise FixInputError(f"no file or folder {path!r}", where=str(fixed), hint="check the server's path")
    return _place(fixed.parent, base, _escaped(fixed.name), path)


def find(where: Place, extensions: frozenset[str]) -> list[Found]:
    """All files of the place, sorted by name. Raises FixInputError for a link that leaves the folder."""
    match = _matcher(where.pattern) if where.pattern else None
    found = []
    for name, entry in _walk(where.root, where.pattern):
        if match is None:
            if not any(name.lower().endswith(extension) for extension in extensions):
                continue
        elif not match.fullmatch(name):
            continue
        path = _target(entry, where.root, name) if entry.is_symlink() else entry.path
        if not os.path.isfile(path):
            continue
        if not _is_text(name):
            raise FixInputError("the file's name is not UTF-8", where=ascii(name), hint="rename the file")
        try:
            seen = entry.stat()
        except FileNotFoundError:  # gone since the folder was read
            continue
        found.append(Found(name, path, seen.st_size, seen.st_mtime_ns))
    return sorted(found, key=lambda file: file.name)


def kind_of(name: str) -> tuple[str | None, str | None]:
    """(format, compression) that a file name's extensions tell."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    return (FORMATS.get(suffixes[-1]) if suffixes else None), compression


def extensions_of(format_name: str | None) -> frozenset[str]:
    """Endings of the files that a folder stands for."""
    formats = [e for e, f in FORMATS.items() if format_name in (None, f, "json" if f == "ndjson" else f)]
    return frozenset(e + c for e in formats for c in ("", *COMPRESSIONS))


def _place(folder: Path, base: str, pattern: str | None, path: str) -> Place:
    try:
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError) as cause:
        raise FixInputError(
            f"no folder for path {path!r}", where=str(folder), hint="check the server's path"
        ) from cause
    home = Path(base).resolve()
    label = root.relative_to(home).as_posix() if root.is_relative_to(home) else root.as_posix()
    return Place(root, label, pattern)


def _walk(root: Path, pattern: str | None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Entries below the folder that are not folders, as (name relative to the root, entry)."""
    depth = None if pattern is None or "**" in pattern else pattern.count("/")
    pending = [(str(root), "")]
    while pending:
        where, before = pending.pop()
        try:
            with os.scandir(where) as entries:
                listed = list(entries)
        except PermissionError as cause:
            raise FixInputError("no right to list this folder", where=where) from cause
        except FileNotFoundError:  # gone since its own folder was read
            continue
        except NotADirectoryError as cause:
            raise FixInputError("this is a file, not a folder", where=where, hint="check the server's path") from cause
        for entry in listed:
            name = before + entry.name
            if pattern is None and entry.name.startswith((".", "_")):
                continue
            if _is_folder(entry):
                walked = depth is None or name.count("/") < depth
                if walked and entry.is_symlink():
                    _target(entry, root, name)
                elif walked:
                    pending.append((entry.path, name + "/"))
            else:
                yield name, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder or leads to one; a link that leads nowhere does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _target(entry: os.DirEntry[str], root: Path, name: str) -> str:
    """Where a link leads; FixInputError when that is not in the folder."""
    try:
        target = Path(entry.path).resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        target = None
    if target is None or not target.is_relative_to(root):
        raise FixInputError(
            "this link leads out of the folder",
            where=name,
            hint="give the target's own path, or copy the file; links are followed only within the folder",
            stage="extract",
        )
    return str(target)


def _matcher(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over names relative to the root."""
    parts = pattern.split("/")
    expression = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            expression += r"(?:[^./][^/]*/)*" + (r"[^./][^/]*" if last else "")
        else:
            hidden = "" if part.startswith(".") else r"(?!\.)"
            expression += hidden + _segment(part) + ("" if last else "/")
    return re.compile(expression, re.DOTALL)


def _segment(part: str) -> str:
    """One name's pattern as a regular expression: nothing in it crosses a `/`."""
    expression, at = "", 0
    while at < len(part):
        mark, at = part[at], at + 1
        close = part.find("]", at + (2 if part[at : at + 1] == "!" else 1)) if mark == "[" else -1
        if mark == "*":
            expression = expression.removesuffix("[^/]*") + "[^/]*"
        elif mark == "?":
            expression += "[^/]"
        elif close > 0:
            expression += _one_of(part[at:close])
            at = close + 1
        else:
            expression += re.escape(mark)
    return expression


def _one_of(inside: str) -> str:
    """The characters between brackets as a regular expression for one of them; never a `/`."""
    negated, inside = inside.startswith("!"), inside.removeprefix("!")
    allowed, at = "", 0
    while at < len(inside):
        first, last = inside[at], inside[at]
        at += 1
        if inside[at : at + 1] == "-" and at + 1 < len(inside):
            last, at = inside[at + 1], at + 2
        if first <= last:  # a range the wrong way round holds nothing
            allowed += f"{re.escape(first)}-{re.escape(last)}"
    if not allowed:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{allowed}]"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
