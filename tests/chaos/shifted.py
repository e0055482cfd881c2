"""Another clock for a process of the product: HEADGATE_CLOCK is a list of seconds that are added to the true time, each
for some readings, again and again; so the clock jumps within a run."""

from __future__ import annotations

import datetime as dt
import importlib.machinery
import itertools
import os
import sys
import time

READINGS = 9  # of the clock, then it jumps
_true_time, _true_ns = time.time, time.time_ns


def shift(text: str) -> None:
    """From now on `time.time`, `time.time_ns`, and `datetime.now` in the product's modules, are off."""
    offsets, read = [float(one) for one in text.split(",")], itertools.count()

    def off() -> float:
        return offsets[next(read) // READINGS % len(offsets)]

    time.time = lambda: _true_time() + off()
    time.time_ns = lambda: _true_ns() + int(off() * 1e9)
    sys.meta_path.insert(0, _Finder())


class _Like(type):
    """Any datetime is an instance."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, dt.datetime)


class _Shifted(dt.datetime, metaclass=_Like):
    @classmethod
    def now(cls, tz=None):
        return dt.datetime.fromtimestamp(time.time(), tz)


class _Finder:
    """Imports the product's modules as always, then gives them the other clock."""

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("headgate."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                if vars(module).get("datetime") is dt.datetime:
                    module.datetime = _Shifted

            spec.loader.exec_module = exec_module
        return spec


def plant() -> None:
    """Shift the clock if the environment says so."""
    if text := os.environ.get("HEADGATE_CLOCK"):
        shift(text)
