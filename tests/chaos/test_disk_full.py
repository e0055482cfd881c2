"""No space: a clean end with a clear word, nothing half done, and all is well when there is space again."""

from __future__ import annotations

import resource
import time

import pytest
from under_test import finish


def limited(size_bytes: int):
    """A limit on the size of any file that the process writes; a write beyond it fails with EFBIG."""

    def apply() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))

    return apply


def said_so(done) -> None:
    """Exit 2 and the word "space"; where SQLite meets the limit it only knows of a failed write, which is exit 3."""
    assert "Traceback" not in done.err
    if "disk I/O error" in done.err:
        assert done.code == 3, done.err[-2000:]
    else:
        assert done.code == 2, f"ended with {done.code}: {done.err[-2000:]}"
        assert "space" in done.err, done.err


@pytest.mark.parametrize("size_bytes", [0, 3000, 16000])
def test_a_full_disk_leaves_nothing_half_done(files, size_bytes):
    files.change()
    files.project.recover()
    files.change()
    said_so(finish(files.project.begin("run", limits=limited(size_bytes)), time.monotonic()))
    files.finish()


def test_a_full_disk_in_the_first_run_leaves_nothing_half_done(files):
    files.change()
    said_so(finish(files.project.begin("run", limits=limited(4096)), time.monotonic()))
    files.finish()
