"""Peers live in an environment of their own, installed from the locks."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.measure import ROOT

HOME = os.path.join(ROOT, "build", "peers")


def python() -> str:
    """The peers' interpreter; made on first use."""
    interpreter = os.path.join(HOME, "bin", "python")
    if not os.path.exists(interpreter):
        uv = os.path.join(os.path.dirname(sys.executable), "uv")
        subprocess.run([uv, "venv", "--quiet", HOME, "--python", sys.executable], check=True)
        lock = os.path.join(ROOT, "requirements", "bench.txt")
        subprocess.run(
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                interpreter,
                "--require-hashes",
                "-r",
                lock,
            ],
            check=True,
        )
    return interpreter
