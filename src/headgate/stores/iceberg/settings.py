"""Where the lake is and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from headgate.errors import FixInputError

CATALOG_NAME = "headgate"


@dataclass(frozen=True, slots=True)
class Settings:
    """`warehouse` is the folder of all tables. `catalog` holds the pointers to them: `sqlite` (the file
    `catalog.db` in the warehouse), `sqlite:///FILE`, or `postgresql://…` (any libpq URL).

    Every process must use the same `name`: it is part of each pointer's key. `snapshots` is how many snapshots a
    table keeps; `busy_timeout_s` how long to wait for another writer.
    """

    warehouse: Path
    catalog: str
    name: str = CATALOG_NAME
    snapshots: int = 60
    busy_timeout_s: float = 30.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Settings:
        """The settings from the project file's `lake:`; FixInputError for an unknown or impossible one."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise FixInputError(f"lake: unknown setting {unknown[0]!r}", hint="known: " + ", ".join(sorted(known)))
        if not settings.get("warehouse"):
            raise FixInputError("lake: no warehouse", hint="name a folder, for example warehouse: .headgate/lake")
        warehouse = Path(str(settings["warehouse"]).removeprefix("file://")).expanduser().resolve()
        if any(mark in str(warehouse) for mark in "#?%") or not str(warehouse).isprintable():
            raise FixInputError(
                f"lake: a warehouse path may not hold '#', '?' or '%': {warehouse}",
                hint="table metadata names files by URL; choose another folder",
            )
        catalog = str(settings.get("catalog") or "sqlite")
        if catalog == "sqlite":
            catalog = f"sqlite:///{warehouse / 'catalog.db'}"
        elif catalog.startswith("sqlite:///"):
            catalog = f"sqlite:///{Path(catalog.removeprefix('sqlite:///')).expanduser().resolve()}"
        elif not catalog.startswith(("postgresql://", "postgres://")):
            raise FixInputError(
                f"lake: unknown catalog {catalog.partition(':')[0]!r}",
                hint="use sqlite, sqlite:///FILE or postgresql://…",
            )
        return cls(
            warehouse=warehouse,
            catalog=catalog,
            name=str(settings.get("name") or CATALOG_NAME),
            snapshots=int(settings.get("snapshots") or 60),
            busy_timeout_s=float(settings.get("busy_timeout_s") or 30.0),
        )
