"""`headgate init`: a project that runs at once, with no server and no network."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import headgate
from headgate.cli import show
from headgate.errors import FixInputError

_RENAMED = {"gitignore": ".gitignore"}  # a dot file would be left out of some packages
_SKIPPED = {"__pycache__", "README.md", ".headgate"}
_LOOKS = {
    "files": "from daily_revenue",
    "retail": "from daily_revenue",
    "orders": "from daily_orders",
    "sensors": "from sensor_health",
}
_SIMULATOR = "simulate.py"  # of an example's Python, the only one that its project needs


def init(arguments: argparse.Namespace) -> int:
    """Write the template's files into DIR, which must be new or empty."""
    target = Path(arguments.dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FixInputError(f"{arguments.dir} is not empty", hint="choose a new folder")
    source = _template(arguments.example)
    written = []
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_dir() or _SKIPPED & set(relative.parts) or (path.suffix == ".py" and path.name != _SIMULATOR):
            continue
        into = target / relative.with_name(_RENAMED.get(relative.name, relative.name))
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into)
        written.append(str(into.relative_to(target)))
    if (target / _SIMULATOR).is_file():
        into = target / "inbox" / "first.ndjson"
        subprocess.run(
            [sys.executable, str(target / _SIMULATOR), "--to", str(into)], check=True, stderr=subprocess.DEVNULL
        )
        written.append(str(into.relative_to(target)))
    if arguments.json:
        show.document({"dir": str(target), "files": written})
    else:
        look = _LOOKS[arguments.example]
        show.line(
            f"{len(written)} files in {target}. Now: cd {target} && headgate run && headgate audit --deep "
            f"&& headgate query '{look}'"
        )
    return 0


def _template(name: str) -> Path:
    package = Path(headgate.__file__).parent
    for folder in (package / "cli" / "templates" / name, package.parents[1] / "examples" / name):
        if folder.is_dir():
            return folder
    raise FixInputError(f"the example {name} is not part of this installation", hint="use --example files")
