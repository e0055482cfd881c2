"""`headgate` with a planted fault (HEADGATE_FAULT=name), telling its crash points (HEADGATE_TRACE=file), stopping
itself at one (HEADGATE_STOP=name, after writing the name to HEADGATE_STOP_FIFO) until somebody wakes it up, or with a
clock that jumps (HEADGATE_CLOCK=seconds,…).

For tests only: the product knows nothing of either. Called as `python tests/chaos/launch.py run -p DIR`.
"""

from __future__ import annotations

import os
import signal

import planted
import shifted

from headgate import crash


def trace(path: str) -> None:
    """Append the name of each crash point that is passed to a file."""
    real = crash.point

    def told(name: str) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(name + "\n")
        real(name)

    crash.point = told


def stop(wanted: str, fifo: str) -> None:
    """SIGSTOP to itself when it first passes a crash point."""
    real = crash.point

    def stopping(name: str) -> None:
        nonlocal wanted
        if name == wanted:
            wanted = ""
            with open(fifo, "w", encoding="utf-8") as file:
                file.write(name)
            os.kill(os.getpid(), signal.SIGSTOP)
        real(name)

    crash.point = stopping


if __name__ == "__main__":
    if os.environ.get("HEADGATE_TRACE"):
        trace(os.environ["HEADGATE_TRACE"])
    if os.environ.get("HEADGATE_STOP"):
        stop(os.environ["HEADGATE_STOP"], os.environ["HEADGATE_STOP_FIFO"])
    planted.apply()
    shifted.plant()
    from headgate.cli.main import main

    raise SystemExit(main())
