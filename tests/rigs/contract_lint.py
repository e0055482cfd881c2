"""Another tool that reads contracts: `datacontract lint`, in an environment of its own.

It is installed under `build/` from a hashed lock, once. Nothing of Headgate is in it. The JSON Schema it checks against
is the one in the `open-data-contract-standard` package, so linting needs no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "contract-lint.txt"
HOME = ROOT / "build" / "contract-lint"


@dataclass(frozen=True)
class Verdict:
    """What the other tool said of one contract."""

    passed: bool
    said: str


def tool() -> Path:
    """The tool's program, its environment made when absent or when the lock has changed."""
    program, stamp = HOME / "bin" / "datacontract", HOME / "lock.txt"
    if program.exists() and stamp.exists() and stamp.read_text() == LOCK.read_text():
        return program
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is needed to make the tool's environment")
    shutil.rmtree(HOME, ignore_errors=True)  # made in place: a program's first line names its own folder
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(HOME)], check=True)
    install = [
        uv,
        "pip",
        "install",
        "-q",
        "--require-hashes",
        "--python",
        str(HOME / "bin" / "python"),
        "-r",
        str(LOCK),
    ]
    subprocess.run(install, check=True)
    stamp.write_text(LOCK.read_text())
    return program


def schema() -> Path:
    """The standard's own JSON Schema, as its package brings it."""
    return Path(str(files("open_data_contract_standard") / "schema.json"))


def lint(contract: Path) -> Verdict:
    """Lint one file; every proxy leads nowhere, so a download would fail."""
    nowhere = dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    )
    done = subprocess.run(
        [str(tool()), "lint", "--json-schema", str(schema()), str(contract)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **nowhere, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    return Verdict(done.returncode == 0, done.stdout + done.stderr)
