"""Compiled parts: there wherever a compiler is, and left alone when they are not wanted."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from headgate import native

PARTS = sorted(source.stem for source in Path(native.__file__).parent.glob("*.c"))
COMPILER = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_every_part_is_compiled():
    assert {name: native.load(name) is not None for name in PARTS} == dict.fromkeys(PARTS, True)


def test_none_is_taken_when_python_is_asked_for(monkeypatch):
    monkeypatch.setenv("HEADGATE_PURE", "1")
    assert [native.load(name) for name in PARTS] == [None] * len(PARTS)


def test_a_part_that_was_not_built_is_none():
    assert native.load("no_such_part") is None
