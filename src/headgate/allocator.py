"""Which allocator Arrow takes its memory from. Arrow asks once, when it is loaded: this must be said before."""

from __future__ import annotations

import os
import sys


def choose(*, continuous: bool = False) -> None:
    """Set what the environment does not say already. Measured on Linux only: Arrow's own default holds a fifth to a
    third more, and clears large pages that a short run hardly touches (a fifth of the CPU time of a small merge).

    Landing takes the same megabytes again and again, on a busy machine more than the usual second apart. What goes on
    for days has threads that come and go: with arenas of their own each would keep some (a fifth more).
    """
    if sys.platform == "linux":
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
        kept = "narenas:1,dirty_decay_ms:2000" if continuous else "dirty_decay_ms:10000"
        os.environ.setdefault("JE_ARROW_MALLOC_CONF", kept)
