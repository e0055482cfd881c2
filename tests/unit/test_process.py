"""A command's process ends at once, and yet loses nothing that Python would have waited for."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDS = """
import atexit, sys, threading
import headgate.cli.main as cli
over = threading.Event()
atexit.register(lambda: print("hook"))
def work():
    over.wait()
    print("thread")
threading.Thread(target=work).start()
threading.Thread(target=threading.Event().wait, daemon=True).start()
class Circle:
    def __del__(self):
        print("taken apart")
circle = Circle()
circle.itself = circle
del circle
def main(argv=None):
    print("x" * 100_000)
    sys.stderr.write("told")
    over.set()
    return 3
cli.main = main
cli.process()
"""


def process(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_threads_and_hooks_are_waited_for_and_nothing_is_taken_apart():
    ended = process("import gc; gc.disable()" + ENDS)
    assert ended.returncode == 3
    assert ended.stdout.split() == ["x" * 100_000, "thread", "hook"]
    assert ended.stderr == "told"


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["no-such-command"], 2), (["runs", "-p", "/nowhere"], 2)]
)
def test_exit_codes_are_told(arguments, code):
    ended = process("import headgate.cli.main as cli; cli.process()", *arguments)
    assert ended.returncode == code
    assert ended.stdout or ended.stderr
