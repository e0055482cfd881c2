"""Gold models: one SQL file each, named after its table. The first comment describes it; a line
`-- headgate: {…}` sets how it is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from headgate.errors import ContractSyntaxError
from headgate.steps.derive import Model

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_HEADER = re.compile(r"^\s*--\s*headgate:\s*(\{.*\})\s*$")
_COMMENT = re.compile(r"^\s*--\s?(.*)$")
_KEYS = {"incremental", "from", "source", "tags"}
LIMIT_BYTES = 1 << 20


def read_models(folder: Path) -> list[Model]:
    """The models of a folder (not of its `tests`), sorted by name."""
    if not folder.is_dir():
        return []
    return [
        _read(path, folder) for path in sorted(folder.glob("**/*.sql")) if "tests" not in path.relative_to(folder).parts
    ]


def read_tests(folder: Path) -> list[tuple[str, str]]:
    """Tests on models: (name, query that returns the wrong rows)."""
    return [(path.stem, path.read_text("utf-8")) for path in sorted((folder / "tests").glob("*.sql"))]


def _read(path: Path, folder: Path) -> Model:
    shown = str(path.relative_to(folder.parent))
    if not _NAME.fullmatch(path.stem):
        raise ContractSyntaxError("a model's file is named after its table: letters, digits, _", where=shown)
    if path.stat().st_size > LIMIT_BYTES:
        raise ContractSyntaxError("the model is larger than 1 MiB", where=shown)
    text = path.read_text("utf-8")
    description: list[str] = []
    header: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.match(line):
            header = _header(match[1], f"{shown}:{number}:1")
        elif match := _COMMENT.match(line):
            description.append(match[1])
        elif line.strip():
            break
    return Model(
        name=path.stem,
        sql=text,
        file=shown,
        description=" ".join(description).strip(),
        tags=tuple(header.get("tags", ())),
        incremental=header.get("incremental"),
        over=header.get("from"),
        source=_qualified(header.get("source")),
    )


def _qualified(source: str | None) -> str | None:
    return source if source is None or "." in source else f"silver.{source}"


def _header(text: str, where: str) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise ContractSyntaxError("the headgate: line is not YAML", where=where) from cause
    unknown = set(value) - _KEYS if isinstance(value, dict) else {text}
    if unknown:
        raise ContractSyntaxError(
            f"unknown: {', '.join(map(str, unknown))}", where=where, hint=f"known: {', '.join(sorted(_KEYS))}"
        )
    if ("incremental" in value) != ("from" in value):
        raise ContractSyntaxError(
            "incremental and from belong together", where=where, hint="{incremental: day, from: 'at::date'}"
        )
    return dict(value)
