"""Runs `headgate` as a user does."""

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from unittest import mock

from headgate.cli.main import main


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


def headgate(*arguments, project=None, env=None, cwd=None, timeout=120, process=False):
    """Run one command to its end: in this process (quick), or as a process of its own."""
    argv = [str(a) for a in arguments] + (["-p", str(project)] if project else [])
    if process:
        done = subprocess.run(
            [sys.executable, "-m", "headgate", *argv],
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, env or {}), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    gc.enable()
    return Answer(code, out.getvalue(), err.getvalue())


def good(*arguments, **options):
    """Run one command that must succeed, as JSON."""
    answer = headgate(*arguments, "--json", **options)
    assert answer.code == 0, f"{arguments}: exit {answer.code}\n{answer.err}\n{answer.out[-2000:]}"
    return answer.json()


def started(folder):
    """The project that `init` makes, after its first run."""
    assert headgate("init", folder).code == 0
    good("run", project=folder)
    return folder
