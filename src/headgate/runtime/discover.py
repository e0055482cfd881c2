"""`headgate discover`: a contract from a live PostgreSQL table or from a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from headgate.errors import FixInputError


def contract_from(url: str) -> str:
    """ODCS 3.2 YAML for what stands at `url`: `postgresql://HOST/DB?table=schema.name`, or a path or glob.

    A password in the URL is refused: it would stay in the shell's history and in the process list.
    """
    if re.match(r"postgres(ql)?://", url):
        return _from_postgres(url)
    if "://" in url:
        raise FixInputError(f"cannot discover {url.partition('://')[0]}", hint="postgresql://…?table=… or a path")
    return _from_files(url)


def _from_postgres(url: str) -> str:
    from headgate.contract.write import contract_yaml
    from headgate.sources import postgres

    parts = urlsplit(url)
    if parts.password:
        raise FixInputError("a password in the URL can be seen by others", hint="use PGPASSWORD or ~/.pgpass")
    asked = parse_qs(parts.query)
    options: dict[str, Any] = {k: v[-1] for k, v in asked.items() if k != "table"}
    user = unquote(parts.username) if parts.username else None
    named = {"host": parts.hostname, "port": parts.port, "user": user, "database": parts.path.lstrip("/")}
    options |= {key: value for key, value in named.items() if value}
    table = (asked.get("table") or [""])[-1]
    if not table:
        names = postgres.tables(options)
        raise FixInputError("which table?", where=url, hint="add ?table=NAME; there are: " + ", ".join(names[:30]))
    found = postgres.discover(options, table)
    return contract_yaml(**found)


def _from_files(path: str) -> str:
    from headgate.contract.write import contract_yaml
    from headgate.sources import files

    found = files.discover(path)
    name = (
        re.sub(r"[^A-Za-z0-9_]+", "_", Path(path.replace("*", "")).name.partition(".")[0]).strip("_").lower()
        or "dataset"
    )
    if name[0].isdigit():
        name = f"d_{name}"
    return contract_yaml(**{"name": name, **found})
