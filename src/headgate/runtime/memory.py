"""This process' memory: how much it holds, how much it has held, and giving back what is free."""

from __future__ import annotations

import ctypes
import os
import resource

_M_ARENA_MAX = -8  # of mallopt(3)


def rss_bytes() -> int:
    """What this process holds now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_rss_mib() -> float:
    """The most this process has held. Not from getrusage: that also remembers a large parent's."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def share_heap() -> None:
    """Let all threads that begin from now on take memory from one heap of the C library. Else each of the first dozen
    has its own, and keeps what its largest work took: 40 MiB, and more by the hour. CPU time is the same."""
    _c_library("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """Pages that are free go back to the system (some 10 ms). The C library keeps what a burst took for ever: 40 MiB
    after half a minute in which others wanted the cores."""
    _c_library("malloc_trim", 0)


def _c_library(name: str, *numbers: int) -> None:
    """Nothing where it is not glibc."""
    try:
        call = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return
    call(*numbers)
