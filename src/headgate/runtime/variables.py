"""`${VAR}` and `${VAR:-default}` in settings: flag > environment > .env > file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.errors import FixInputError, MissingSecretError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def read_env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines of a .env file; `#` begins a comment line; one pair of quotes is taken off."""
    values: dict[str, str] = {}
    if not path.is_file():
        return values
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise FixInputError("not a NAME=value line", where=f"{path.name}:{number}:1", hint="write NAME=value")
        value = match[2]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[match[1]] = value
    return values


def resolve(value: Any, env: Mapping[str, str], where: str) -> Any:
    """The value with every variable replaced, in texts at any depth.

    Raises MissingSecretError naming the variable and the place; never shows a value.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _lookup(match, env, where), value)
    if isinstance(value, Mapping):
        return {k: resolve(v, env, where) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(v, env, where) for v in value]
    return value


def _lookup(match: re.Match[str], env: Mapping[str, str], where: str) -> str:
    name, default = match[1], match[2]
    if env.get(name):
        return env[name]
    if default is not None:
        return default
    raise MissingSecretError(
        f"${{{name}}} is not set",
        where=where,
        hint=f"set {name} in the environment or in .env, or write ${{{name}:-default}}",
    )


def environment(folder: Path) -> dict[str, str]:
    """The process's environment over the project's .env."""
    return {**read_env_file(folder / ".env"), **os.environ}
