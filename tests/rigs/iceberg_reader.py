"""Another implementation that reads what the lake wrote: DuckDB with its Iceberg extension, in an environment of its own.

Headgate's DuckDB is another version, so this one is installed under `build/` from a hashed lock, once. Nothing of
Headgate or PyIceberg is in it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from rigs.own_environment import environment

_SCRIPT = """
import duckdb, duckdb_extensions, json, sys
task = json.load(sys.stdin)
con = duckdb.connect(config={"autoinstall_known_extensions": "false"})
for name in ("avro", "iceberg"):
    duckdb_extensions.import_extension(name, con=con)
for view, metadata in task["tables"].items():
    con.execute(f"create view {view} as select * from iceberg_scan('{metadata}')")
out = [con.execute(f"select columns(*)::varchar from ({sql})").fetchall() for sql in task["queries"]]
json.dump(out, sys.stdout)
"""


def python() -> Path:
    """The reader's Python."""
    return environment("iceberg-reader") / "bin" / "python"


def ask(tables: dict[str, str], *queries: str) -> list[list[list[str | None]]]:
    """The rows, as text, of each query over `view name -> metadata file location`."""
    task = json.dumps({"tables": {k: v.removeprefix("file://") for k, v in tables.items()}, "queries": queries})
    done = subprocess.run([str(python()), "-c", _SCRIPT], input=task, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"the other reader failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)
