"""How long a thread keeps Python's lock while others wait for it.

Threads that write files, sync them and stage a commit leave the lock for Arrow, NumPy and the disk all the time, and
want it back for a moment: by Python's default each may wait five milliseconds for that, which is longer than most of
what they do in between.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TURN_S = 0.0002
_LOCK = threading.Lock()
_inside: list[float] = []  # what was set before each of those that are inside


@contextmanager
def short_turns() -> Iterator[None]:
    """Short turns until the last of those that are inside at the same time has left."""
    with _LOCK:
        _inside.append(sys.getswitchinterval())
        sys.setswitchinterval(TURN_S)
    try:
        yield
    finally:
        with _LOCK:
            before = _inside.pop()
            if not _inside:
                sys.setswitchinterval(before)
