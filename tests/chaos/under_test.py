"""A real project that is run by the real command line, killed, and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RUN_LIMIT_S = 120
RECOVERY_LIMIT_S = 30

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: chaos.orders
name: orders
version: 1.{version}.0
status: active
servers:
{server}
schema:
  - name: orders
    physicalName: orders
    physicalType: table
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
      - {{name: quantity, logicalType: {quantity}, required: true{limits}}}
      - {{name: note, logicalType: string}}
      - {{name: updated_at, logicalType: timestamp, physicalType: timestamptz, required: true}}
    customProperties:
      - {{property: headgate.order, value: [updated_at]}}
"""
MODEL = """\
SELECT count(*) AS orders, sum(quantity) AS quantity FROM silver.orders
"""
COLUMNS = ("id", "quantity", "note", "updated_at")


@dataclass
class Finished:
    """How one process of the product ended."""

    code: int
    seconds: float
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass
class UnderTest:
    """The project's folder and what its processes need to know."""

    folder: Path
    server: str
    read: str = "{}"
    env: dict[str, str] = field(default_factory=dict)
    version: int = -1

    def write(self) -> UnderTest:
        """Make the project."""
        (self.folder / "contracts").mkdir(parents=True)
        (self.folder / "models").mkdir()
        self.write_contract(minimum=0)
        (self.folder / "models" / "totals.sql").write_text(MODEL)
        (self.folder / "headgate.yaml").write_text(f"datasets:\n  orders:\n    read: {self.read}\n")
        return self

    def write_contract(self, minimum: int, quantity: str = "integer") -> None:
        """A new version of the contract with another least quantity, or another type of it."""
        self.version += 1
        limits = f", logicalTypeOptions: {{minimum: {minimum}}}"
        text = CONTRACT.format(server=self.server, version=self.version, quantity=quantity, limits=limits)
        (self.folder / "contracts" / "orders.odcs.yaml").write_text(text)

    def strict_upkeep(self, more: str = "") -> None:
        """Upkeep that leaves one snapshot and nothing without a name."""
        upkeep = f"{{snapshots: 1, keep_hours: 0{more}}}"
        text = f"datasets:\n  orders:\n    read: {self.read}\nupkeep: {upkeep}\n"
        (self.folder / "headgate.yaml").write_text(text)

    def busy_upkeep(self) -> None:
        """The same, and each run does some."""
        self.strict_upkeep(", fan: 2, share: 1")

    def begin(
        self, *command: str, env: dict[str, str] | None = None, limits=None, stderr=subprocess.PIPE
    ) -> subprocess.Popen:
        """Start a command in a process group of its own."""
        more = {**self.env, **(env or {})}
        through_launcher = (
            more.keys() & {"HEADGATE_TRACE", "HEADGATE_STOP", "HEADGATE_CLOCK"} or "HEADGATE_FAULT" in os.environ
        )
        program = [str(HERE / "launch.py")] if through_launcher else ["-m", "headgate"]
        return subprocess.Popen(
            [sys.executable, *program, *command, "-p", str(self.folder)],
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=limits,
        )

    def run(
        self, *command: str, crash: str = "", kill_after_s: float | None = None, env: dict[str, str] | None = None
    ) -> Finished:
        """Run a command (default `run`) to its end, to a crash point, or until it is killed at that time."""
        more = {**(env or {}), **({"HEADGATE_CRASH": crash} if crash else {})}
        started = time.monotonic()
        process = self.begin(*(command or ("run",)), env=more)
        return finish(process, started, kill_after_s)

    def recover(self) -> Finished:
        """The same command again must end well, in time and without a hand."""
        done = self.run()
        assert done.code == 0, f"recovery ended with {done.code}:\n{done.err[-3000:]}"
        assert done.seconds < RECOVERY_LIMIT_S, f"recovery took {done.seconds:.1f} s"
        return done

    def trace(self, *command: str) -> list[str]:
        """Crash points that a command passes, in order."""
        path = self.folder / "trace.txt"
        path.unlink(missing_ok=True)
        done = self.run(*command, env={"HEADGATE_TRACE": str(path)})
        assert done.code == 0, done.err[-3000:]
        return path.read_text().splitlines() if path.exists() else []

    def leftovers(self) -> int:
        """Files in the lake's folder that no table names."""
        done = self.run("status", "--json")
        assert done.code == 0, done.err[-3000:]
        return sum(one["unnamed_files"] for one in json.loads(done.out)["tables"])

    def audit(self) -> list[dict]:
        """What the product itself says about its account."""
        done = self.run("audit", "--deep", "--json")
        assert done.code == 0, done.out + done.err[-3000:]
        told = json.loads(done.out)
        return told if isinstance(told, list) else told.get("datasets") or told.get("accounts") or [told]


def finish(process: subprocess.Popen, started: float, kill_after_s: float | None = None) -> Finished:
    """Wait for the end, or kill the whole group at a time."""
    try:
        out, err = process.communicate(timeout=RUN_LIMIT_S if kill_after_s is None else kill_after_s)
    except subprocess.TimeoutExpired:
        kill(process)
        out, err = process.communicate()
        assert kill_after_s is not None, f"still running after {RUN_LIMIT_S} s:\n{err[-3000:]}"
    kill(process)  # workers that outlived a killed parent
    return Finished(process.returncode, time.monotonic() - started, out, err)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
