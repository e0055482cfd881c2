"""A `headgate run --continuous` as a process of its own: start it, wait for what it does, stop or kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.command import good

LIMIT_S = 60


def until(happened: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Ask again and again until the answer is true; AssertionError with `what` when it takes too long."""
    deadline = time.monotonic() + limit_s
    while not (answer := happened()):
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
    return answer


class Going:
    """One running process. Leaving the context kills it when it still runs."""

    def __init__(
        self, project: Path, *arguments: str, env: dict[str, str] | None = None, said: str = "going.err"
    ) -> None:
        self.project = project
        self._said = project / said
        self._err = self._said.open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headgate", "run", "--continuous", *arguments, "-p", str(project)],
            env={**os.environ, **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=self._err,
            start_new_session=True,
        )

    def __enter__(self) -> Going:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._err.close()

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until_said(self, words: str) -> Going:
        until(lambda: words in self.said or self.process.poll() is not None, words)
        assert words in self.said, f"ended with {self.process.returncode}: {self.said[-3000:]}"
        return self

    def until_rows(self, table: str, rows: int) -> None:
        """Until the table shows so many rows to another process."""
        until(lambda: rows_of(self.project, table) >= rows or self.process.poll() is not None, f"{rows} in {table}")
        assert rows_of(self.project, table) >= rows, f"ended with {self.process.returncode}: {self.said[-3000:]}"

    def until_rows_or_end(self, table: str, rows: int) -> None:
        """Until the table shows so many rows, or the process has ended."""
        until(lambda: self.process.poll() is not None or rows_of(self.project, table) >= rows, f"{rows} in {table}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end; the exit code (negative: killed by that signal)."""
        return self.process.wait(limit_s)

    def stop(self) -> int:
        """Ask it to stop, and wait."""
        self.send(signal.SIGTERM)
        return self.end()


def rows_of(project: Path, table: str) -> int:
    """Rows of a table as another process sees it now; 0 when there is none yet."""
    for one in good("status", project=project)["tables"]:
        if one["table"] == table:
            return int(one["rows"])
    return 0


def account(project: Path) -> dict[str, Any]:
    """The only dataset's account, proven from the rows."""
    (found,) = good("audit", "--deep", project=project)
    assert found["findings"] == [], json.dumps(found, indent=1)
    return found


def last_record(project: Path) -> dict[str, Any]:
    """The newest run record."""
    return json.loads(max((project / ".headgate" / "runs").glob("*.json")).read_text())
