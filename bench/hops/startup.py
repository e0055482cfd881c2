"""`headgate --help`, and a run that finds nothing new."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from bench.measure import headgate, in_turn, median, run
from bench.report import Figure, figure


def measure(rounds: int) -> list[Figure]:
    """Milliseconds of the help text; seconds of a run with nothing to do, against bare Python."""
    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        project = os.path.join(folder, "project")
        run([sys.executable, "-m", "headgate", "init", project])
        headgate("run", project=project)
        costs = in_turn(
            max(rounds, 5),
            {
                "python -c pass": lambda: run([sys.executable, "-c", "pass"]),
                "headgate --help": lambda: run([sys.executable, "-m", "headgate", "--help"]),
                "headgate run, nothing new": lambda: headgate("run", project=project),
            },
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    help_, idle, bare = (
        median(costs["headgate --help"]),
        median(costs["headgate run, nothing new"]),
        median(costs["python -c pass"]),
    )
    against = f"bare Python {bare.wall_s * 1e3:.0f} ms"
    return [
        figure("help", help_.wall_s * 1e3, "ms", 150, 80, against, help_),
        figure("no-op run", idle.wall_s, "s", 1.2, 0.7, against, idle),
    ]
