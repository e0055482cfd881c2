"""Runs `headgate` as a user does: a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


def headgate(*arguments, project=None, env=None, cwd=None, timeout=120):
    """Run one command to its end."""
    place = ["-p", str(project)] if project else []
    done = subprocess.run(
        [sys.executable, "-m", "headgate", *map(str, arguments), *place],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=timeout,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def good(*arguments, **options):
    """Run one command that must succeed, as JSON."""
    answer = headgate(*arguments, "--json", **options)
    assert answer.code == 0, f"{arguments}: exit {answer.code}\n{answer.err}\n{answer.out[-2000:]}"
    return answer.json()
