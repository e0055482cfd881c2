"""An S3 server on loopback, in an environment of its own: moto's, which refuses to make an object twice when asked to."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from rigs.own_environment import environment

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
_numbers = itertools.count()


@dataclass(frozen=True)
class S3:
    """A running server."""

    endpoint: str
    port: int

    def make_bucket(self) -> str:
        """A new bucket's name."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("PUT", f"/{name}")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200, answer.status
        return name


@contextmanager
def running() -> Iterator[S3]:
    """Start a server; it ends with the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = environment("s3-server") / "bin" / "moto_server"
    server = subprocess.Popen(
        [str(program), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **KEYS},
    )
    try:
        _wait(server, port)
        yield S3(f"http://127.0.0.1:{port}", port)
    finally:
        server.terminate()
        server.wait()


def _wait(server: subprocess.Popen, port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, "the S3 server died"
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the S3 server does not answer")


def bucket(request: pytest.FixtureRequest) -> tuple[str, dict]:
    """A new bucket of the session's server: its address, and the options that a sink needs."""
    server: S3 = request.getfixturevalue("s3_server")
    return f"s3://{server.make_bucket()}/landing", {"endpoint": server.endpoint}
