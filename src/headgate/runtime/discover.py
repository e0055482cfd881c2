"""`headgate discover`: a contract from a live PostgreSQL table, a Kafka topic or a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from headgate.contract.model import Server
from headgate.errors import FixInputError

_FORM = "postgresql://HOST:PORT/DATABASE?table=NAME; special characters percent-encoded"


def contract_from(url: str) -> str:
    """ODCS 3.2 YAML for what stands at `url`: `postgresql://HOST/DB?table=schema.name`, `kafka://HOST:PORT/TOPIC`, or a
    path or glob.

    A password in the URL is refused: it would stay in the shell's history and in the process list.
    """
    if re.match(r"postgres(ql)?://", url):
        return _from_postgres(url)
    if url.startswith("kafka://"):
        return _from_kafka(url)
    if "://" in url:
        hint = "postgresql://…?table=…, kafka://HOST:PORT/TOPIC or a path"
        raise FixInputError(f"cannot discover {url.partition('://')[0]}", hint=hint)
    return _from_files(url)


def _from_postgres(url: str) -> str:
    from headgate.contract.write import contract_yaml
    from headgate.sources import postgres_discover

    options, asked = _options(url)
    table = asked.get("table", "")
    if not table:
        known = ", ".join(f"{t.schema}.{t.name}" for t in postgres_discover.tables(options)[:30])
        raise FixInputError("which table?", where=url, hint=f"add ?table=NAME; there are: {known}")
    found = postgres_discover.discover(options, table)
    host, port = options.get("host", "localhost"), options.get("port", 5432)
    server = Server(
        "source", "postgres", {"host": host, "port": port, "database": options["database"], "schema": found.schema}
    )
    return contract_yaml(
        found.name,
        found.fields,
        server,
        physical_name=found.name,
        physical_type="table",
        physical_types=found.physical_types,
        description=found.description,
        order=[found.watermark] if found.watermark else [],
    )


def _from_kafka(url: str) -> str:
    from headgate.contract.write import contract_yaml
    from headgate.sources import kafka_discover

    place, _, asked = url.removeprefix("kafka://").partition("?")
    host, _, topic = place.partition("/")
    if "@" in unquote(place) or "password" in asked or "@" in unquote(asked):
        raise FixInputError(
            "a password in the URL can be seen by others", hint="registry=${VARIABLE}, or write the contract by hand"
        )
    if not host or not topic:
        raise FixInputError("which topic?", where=url, hint="kafka://HOST:PORT/TOPIC; headgate topic list")
    topic = unquote(topic)
    options = {"host": host, **{k: v[-1] for k, v in parse_qs(asked).items()}}
    found = kafka_discover.discover(options, topic)
    return contract_yaml(_name(topic), found.fields, found.server, physical_name=topic, physical_type="topic")


def _name(text: str) -> str:
    """A dataset's name from another name."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower() or "dataset"


def _options(url: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The server's options in a URL, percent-encoding undone, and all that follows the question mark."""
    parts = urlsplit(url)
    if parts.password:
        raise FixInputError("a password in the URL can be seen by others", hint="use PGPASSWORD or ~/.pgpass")
    try:
        port = parts.port
    except ValueError as cause:
        raise FixInputError("the port is not a number up to 65535", where=url, hint=_FORM) from cause
    asked = {k: v[-1] for k, v in parse_qs(parts.query).items()}
    named = {
        "host": parts.hostname,
        "port": port,
        "user": unquote(parts.username) if parts.username else None,
        "database": unquote(parts.path.removeprefix("/")) or os.environ.get("PGDATABASE"),
    }
    options: dict[str, Any] = {k: v for k, v in asked.items() if k != "table"}
    options |= {key: value for key, value in named.items() if value}
    if "database" not in options:
        raise FixInputError("which database?", where=url, hint=_FORM)
    return options, asked


def _from_files(path: str) -> str:
    from headgate.contract.write import contract_yaml
    from headgate.sources import files_discover

    found = files_discover.discover(path)
    name = _name(Path(path.replace("*", "")).name.partition(".")[0])
    return contract_yaml(name, found.fields, found.server, physical_type="file")
