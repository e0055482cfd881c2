"""Work that another thread does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Made = TypeVar("_Made")


def begun(make: Callable[[], _Made]) -> Future[_Made]:
    """What is made by a thread of its own from now on."""
    thread = ThreadPoolExecutor(1, "headgate-begun")
    made = thread.submit(make)
    thread.shutdown(wait=False)
    return made
