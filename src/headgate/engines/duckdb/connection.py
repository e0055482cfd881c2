"""DuckDB connections: bounded memory, no network, no extensions from outside, UTC."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import duckdb

from headgate.errors import FixInputError

Database = Callable[[], duckdb.DuckDBPyConnection]  # a connection, made when it is first asked for
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of the machine the engine may use.

    `memory_limit` bounds DuckDB over all workers (text such as `2GB`; DuckDB spills to `temp_directory` beyond it),
    `threads` is the number of cores to keep busy, 0 means all. `temp_directory` is where held rows and spilled
    data go, by default the system's. `cache_directory` is where indexes of silver's keys are kept between runs; without
    one they live in memory. `registries` are addresses of schema registries by dataset, `schema_directory` is where
    their schemas are kept. `largest` is by dataset how many bytes a message may have that is looked into.
    """

    memory_limit: str = "2GB"
    temp_directory: str = ""
    threads: int = 0
    cache_directory: str = ""
    schema_directory: str = ""
    registries: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False, metadata={"secret": True})
    largest: Mapping[str, int] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """The settings from a project file. FixInputError for an unknown name or a wrong value."""
        known = {one.name for one in fields(cls)}
        for name in given:
            if name not in known:
                raise FixInputError(
                    f"unknown engine setting {name!r}", hint=f"settings: {', '.join(sorted(known))}", stage="validate"
                )
        settings = cls(
            memory_limit=str(given.get("memory_limit") or "2GB"),
            temp_directory=str(given.get("temp_directory") or ""),
            threads=_count(given.get("threads") or 0),
            cache_directory=str(given.get("cache_directory") or ""),
            schema_directory=str(given.get("schema_directory") or ""),
            registries=dict(given.get("registries") or {}),
            largest=dict(given.get("largest") or {}),
        )
        if settings.memory_bytes < 64 * 2**20:
            raise FixInputError("engine setting memory_limit is below 64MiB", stage="validate")
        return settings

    @property
    def memory_bytes(self) -> int:
        """`memory_limit` in bytes."""
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?b)\s*", self.memory_limit, re.IGNORECASE)
        if found is None:
            raise FixInputError(
                f"engine setting memory_limit is {self.memory_limit!r}",
                hint="write it like 2GB or 512MiB",
                stage="validate",
            )
        return int(float(found[1]) * _UNITS[found[2].lower()])

    @property
    def cores(self) -> int:
        """How many cores to keep busy: the setting, else those this process may run on."""
        if self.threads:
            return self.threads
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:  # not on Linux
            return os.cpu_count() or 1

    @property
    def temp(self) -> str:
        """The folder for temporary files, made when it is missing."""
        folder = self.temp_directory or tempfile.gettempdir()
        os.makedirs(folder, exist_ok=True)
        return folder


def _count(value: Any) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = -1
    if not 0 <= count <= 1024:
        raise FixInputError(
            f"engine setting threads is {value!r}", hint="a number from 0 (all cores) to 1024", stage="validate"
        )
    return count


def connect(settings: Settings, *, threads: int, share: int = 1) -> duckdb.DuckDBPyConnection:
    """A fresh in-memory database with `threads` threads and one of `share` equal shares of the memory."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": threads,
            "memory_limit": f"{max(settings.memory_bytes // share, 64 * 2**20)}B",
            "temp_directory": os.path.join(settings.temp, f"headgate-{os.getpid()}.duckdb"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection
