"""Other tools live in environments of their own under `build/`, installed from hashed locks. Nothing of Headgate is in them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(name: str, lock: str | None = None) -> Path:
    """The folder `build/<name>` with what `requirements/<lock or name>.txt` says; made when absent or when the lock has
    changed. It is made in place, since programs name their own folder, and counts only once its stamp is written."""
    home, wanted = ROOT / "build" / name, ROOT / "requirements" / f"{lock or name}.txt"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / f".{name}.lock").open("w") as busy:  # tests run in several processes
        fcntl.flock(busy, fcntl.LOCK_EX)
        _make(home, wanted)
    return home


def _make(home: Path, wanted: Path) -> None:
    stamp = home / "lock.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RuntimeError(f"uv is needed to make the environment {home.name}")
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(home)], check=True)
    interpreter = str(home / "bin" / "python")
    install = [uv, "pip", "install", "-q", "--compile-bytecode", "--require-hashes", "--python", interpreter]
    subprocess.run([*install, "-r", str(wanted)], check=True)
    stamp.write_text(wanted.read_text())
