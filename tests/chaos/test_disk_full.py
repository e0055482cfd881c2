"""No space: a clean end with a clear word, nothing half done, and all is well when there is space again."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import FilesCase
from under_test import finish

from headgate import Project


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


# --- a file system that is really full


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "headgate-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leave_free(disk, size_bytes: int) -> None:
    """Fill the disk up to that many bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - size_bytes)


def full_until_done(case, command: str, small_disk: Path, step: int) -> Iterator[str]:
    """Run the command with no space at all, then `step` bytes more each time, until it succeeds. After each time that
    the disk was full, with space there again: what was said."""
    said = []
    while True:
        leave_free(small_disk, len(said) * step)
        done = finish(case.project.begin(command), time.monotonic())
        (small_disk / "ballast").unlink()
        if done.code == 0:
            print(f"full at {len(said)} sizes: {sorted(set(said))}")
            return
        assert done.code == 2, f"{len(said) * step} bytes free: ended with {done.code}: {done.err[-2000:]}"
        assert "no space" in done.err.lower(), done.err
        assert "Traceback" not in done.err
        said.append(done.err.partition(":")[2].splitlines()[0])
        yield said[-1]


@pytest.mark.timeout(900)
def test_a_disk_that_is_full_at_any_step_is_told_and_work_goes_on_when_there_is_space(small_disk, rng, kills):
    """From no space at all, a little more each time, until the run succeeds."""
    case = FilesCase(small_disk / "project", rng)
    case.change()
    case.project.recover()
    step = 16384 if kills > 10 else 65536
    stages = 0
    case.change()
    for _ in full_until_done(case, "run", small_disk, step):
        stages += 1
        case.finish()
        case.change()
    case.finish()
    assert stages >= 3


@pytest.mark.timeout(900)
def test_upkeep_on_a_disk_that_is_full_at_any_step_leaves_whole_tables_and_goes_on(small_disk, rng, kills):
    """Compaction, expiry and cleaning, from no space at all to enough: each publication of upkeep is whole or not at
    all, nothing that failed stays behind, and the last one does all that was owed."""
    case = FilesCase(small_disk / "project", rng)
    for _ in range(3):
        case.change()
        case.project.recover()
    case.project.strict_upkeep()
    step = 4096 if kills > 10 else 98304
    for _ in full_until_done(case, "maintain", small_disk, step):
        case.check()
    case.check()
    assert left_over(case) == (0, 4)  # nothing without a name, and each table in one file
    case.change()
    case.finish()


def left_over(case) -> tuple[int, int]:
    """Files that no snapshot names, and files of the four tables."""
    with Project.open(case.project.folder) as project:
        cut = project.lake.cut()
        layers = [cut.table(f"{layer}.orders") for layer in ("bronze", "silver", "quarantine", "ledger")]
        return sum(one.unnamed_files for one in project.lake.debts()), sum(len(view.files()) for view in layers)
