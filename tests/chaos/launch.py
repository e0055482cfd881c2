"""`headgate` with a planted fault (HEADGATE_FAULT=name), or telling its crash points (HEADGATE_TRACE=file).

For tests only: the product knows nothing of either. Called as `python tests/chaos/launch.py run -p DIR`.
"""

from __future__ import annotations

import os

import planted

from headgate import crash


def trace(path: str) -> None:
    """Append the name of each crash point that is passed to a file."""
    real = crash.point

    def told(name: str) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(name + "\n")
        real(name)

    crash.point = told


if __name__ == "__main__":
    if os.environ.get("HEADGATE_TRACE"):
        trace(os.environ["HEADGATE_TRACE"])
    planted.apply()
    from headgate.cli.main import main

    raise SystemExit(main())
