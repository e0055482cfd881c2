"""Another tool that reads contracts: `datacontract lint`, in an environment of its own.

It is installed under `build/` from a hashed lock, once. Nothing of Headgate is in it. The JSON Schema it checks against
is the one in the `open-data-contract-standard` package, so linting needs no network.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rigs.own_environment import environment


@dataclass(frozen=True)
class Verdict:
    """What the other tool said of one contract."""

    passed: bool
    said: str


def tool() -> Path:
    """The tool's program."""
    return environment("contract-lint") / "bin" / "datacontract"


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
