"""What a contract's server and the project may say about files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError
from headgate.sources.files_listing import kind_of
from headgate.sources.files_open import ENCODINGS, Opening
from headgate.sources.files_text import Dialect

_CHOICES: dict[str, tuple[str, ...]] = {
    "format": ("csv", "ndjson", "json", "parquet"),
    "compression": ("none", "gzip", "zstd"),
    "encoding": ENCODINGS,
    "changed": ("stop", "read"),
    "identity": ("time", "content"),
}
_SPELLINGS = {
    "encoding": {
        "utf8": "utf-8",
        "utf_8": "utf-8",
        "latin1": "latin-1",
        "iso-8859-1": "latin-1",
        "windows-1252": "cp1252",
    },
    "format": {"jsonl": "ndjson", "jsonlines": "ndjson", "tsv": "csv"},
    "compression": {"gz": "gzip", "zst": "zstd"},
    "delimiter": {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"},
}
_OTHERS = ("id", "description", "environment", "roles", "stream")  # what the standard says of any server


@dataclass(frozen=True, slots=True)
class Settings:
    """Which files, how they are written, and what they may cost.

    `path`: a file, a folder or a glob, absolute or relative to the project. `format` and `compression`: by the
    files' extensions when absent. `header`: true, false (columns are the contract's fields in order) or the list
    of names, for CSV files that have no header. `quote` may be empty: then quotes are content. `changed`: what to
    do when a file differs from what was read of it. `identity`: how to see that. `grows`: files are appended to.
    `settle_s`: leave files that changed less than so many seconds ago for the next run. `max_ratio` and
    `max_file_bytes` bound unpacking, `max_record_bytes` one record. `batch_bytes`: about how much to hand on at once.
    """

    path: str
    format: str | None = None
    compression: str | None = None
    delimiter: str | None = None
    quote: str = '"'
    header: bool | tuple[str, ...] = True
    encoding: str = "utf-8"
    changed: str = "stop"
    identity: str = "time"
    grows: bool = False
    settle_s: float = 0.0
    max_record_bytes: int = 1 << 24
    max_file_bytes: int = 1 << 36
    max_ratio: float = 500.0
    batch_bytes: int = 1 << 25

    def opening(self, compression: str | None) -> Opening:
        """How to open a file whose extension tells this compression."""
        kind = compression if self.compression is None else self.compression
        return Opening(
            cast("Literal['gzip', 'zstd'] | None", None if kind == "none" else kind),
            self.encoding,
            self.max_file_bytes,
            self.max_ratio,
        )

    def format_of(self, name: str) -> str:
        """The format of a file of this name. Raises FixInputError when neither setting nor extension tells it."""
        format_name = self.format or kind_of(name)[0]
        if format_name is None:
            raise FixInputError(
                "the file's name does not tell its format",
                where=name,
                hint="set the server's format: csv, ndjson, json or parquet",
                stage="extract",
            )
        return format_name

    def dialect(self, name: str) -> Dialect:
        """How records stand in a text file of this name."""
        delimiter = self.delimiter or ("\t" if ".tsv" in name.lower() else ",")
        return Dialect(self.format_of(name), delimiter, self.quote, self.header, self.max_record_bytes)


def settings_of(dataset: Dataset, server: Server, read: Mapping[str, Any]) -> Settings:
    """The settings; the project's win over the contract's. Raises FixInputError for one that cannot be."""
    where = str(server.place or server.name)
    known = {field.name: field for field in dataclasses.fields(Settings)}
    for name in read:
        if name not in known and not name.startswith("_"):
            raise FixInputError(
                f"no setting {name!r} for files",
                where=f"headgate.yaml: {dataset.name}",
                hint=f"known: {', '.join(known)}",
            )
    for name in server.options:
        if name not in known and name not in _OTHERS and not name.startswith("_"):
            raise FixInputError(f"no option {name!r} for files", where=where, hint=f"known: {', '.join(known)}")
    given = {n: v for n, v in {**server.options, **read}.items() if n in known and v is not None}
    if not isinstance(given.get("path"), str):
        raise FixInputError("the server has no path", where=where, hint="path: a file, a folder or a glob")
    if given.get("header") is False:
        given["header"] = [field.source_name for field in dataset.fields if field.transform is None]
    values = {name: _value(name, value, known[name], where) for name, value in given.items()}
    settings = Settings(**values)
    _refuse_contradictions(settings, where)
    return settings


def _value(name: str, value: Any, field: dataclasses.Field[Any], where: str) -> Any:
    """One setting, typed and spelt our way."""
    if name == "header" and isinstance(value, list | tuple):
        return tuple(str(item) for item in value)
    if isinstance(value, str) and name in _SPELLINGS:
        value = _SPELLINGS[name].get(value.lower(), value.lower() if name != "delimiter" else value)
    choices = _CHOICES.get(name)
    if choices and value not in choices:
        raise FixInputError(f"{name}: {value!r} is not known", where=where, hint=f"one of: {', '.join(choices)}")
    if field.default is dataclasses.MISSING or field.default is None or isinstance(field.default, str):
        wanted: type[Any] = str
    else:
        wanted = type(field.default)
    try:
        if wanted is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if wanted is not bool and isinstance(value, bool):
            raise TypeError(name)
        typed = wanted(value)
    except (TypeError, ValueError, KeyError) as cause:
        raise FixInputError(f"{name}: {value!r} is not of type {wanted.__name__}", where=where) from cause
    if wanted in {int, float} and not (typed > 0 or (name == "settle_s" and typed == 0)):
        raise FixInputError(f"{name}: {value!r} must be greater than 0", where=where)
    return typed


def _refuse_contradictions(settings: Settings, where: str) -> None:
    for name, text in (("delimiter", settings.delimiter), ("quote", settings.quote)):
        if text is None or (name == "quote" and not text):
            continue
        if len(text) != 1 or ord(text) > 127 or text in "\r\n":
            raise FixInputError(f"{name}: {text!r} is not one ASCII character", where=where)
    if settings.delimiter is not None and settings.delimiter == settings.quote:
        raise FixInputError("delimiter and quote are the same", where=where)
    if settings.max_record_bytes > 1 << 29:
        raise FixInputError("max_record_bytes is at most 512 MiB", where=where)
    if settings.grows and (
        settings.format in {"parquet", "json"}
        or settings.compression in {"gzip", "zstd"}
        or settings.encoding != "utf-8"
    ):
        raise FixInputError("only plain UTF-8 CSV and NDJSON files can grow", where=where, hint="remove grows")
