"""Compiled parts: there wherever a compiler is, and left alone when they are not wanted."""

import shutil
import sysconfig

import pytest

from headgate import native

COMPILER = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_every_part_is_compiled():
    assert set(native.parts().values()) == {True}


def test_none_is_taken_when_python_is_asked_for(monkeypatch):
    monkeypatch.setenv("HEADGATE_PURE", "1")
    assert set(native.parts().values()) == {False}


def test_a_part_that_was_not_built_is_none():
    assert native.load("no_such_part") is None
