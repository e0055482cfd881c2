"""Another implementation that reads what the lake wrote: DuckDB with its Iceberg extension, in an environment of its own.

Headgate's DuckDB is another version, so this one is installed under `build/` from a hashed lock, once. Nothing of
Headgate or PyIceberg is in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "iceberg-reader.txt"
HOME = ROOT / "build" / "iceberg-reader"
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
    """The reader's Python, its environment made when absent or when the lock has changed."""
    interpreter, stamp = HOME / "bin" / "python", HOME / "lock.txt"
    if interpreter.exists() and stamp.exists() and stamp.read_text() == LOCK.read_text():
        return interpreter
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is needed to make the reader's environment")
    fresh = HOME.with_name(f"iceberg-reader.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(fresh)], check=True)
    install = [
        uv,
        "pip",
        "install",
        "-q",
        "--require-hashes",
        "--python",
        str(fresh / "bin" / "python"),
        "-r",
        str(LOCK),
    ]
    subprocess.run(install, check=True)
    (fresh / "lock.txt").write_text(LOCK.read_text())
    shutil.rmtree(HOME, ignore_errors=True)
    fresh.rename(HOME)
    return interpreter


def ask(tables: dict[str, str], *queries: str) -> list[list[list[str | None]]]:
    """The rows, as text, of each query over `view name -> metadata file location`."""
    task = json.dumps({"tables": {k: v.removeprefix("file://") for k, v in tables.items()}, "queries": queries})
    done = subprocess.run([str(python()), "-c", _SCRIPT], input=task, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"the other reader failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)
