"""Named points at which a test may kill the process: `crash.point("after rows, before position")`.

Free in production: without HEADGATE_CRASH in the environment a point is one comparison. With
HEADGATE_CRASH="NAME" the process kills itself (SIGKILL, nothing runs after it) the first time it passes NAME;
"NAME@3" the third time. The points are found by reading the source: see tests/chaos.
"""

from __future__ import annotations

import os
import signal

_WANTED, _, _NTH = os.environ.get("HEADGATE_CRASH", "").partition("@")
_left = int(_NTH or 1)


def point(name: str) -> None:
    """Die here if a test asked for it."""
    if not _WANTED or name != _WANTED:
        return
    global _left  # noqa: PLW0603
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
