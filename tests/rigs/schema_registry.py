"""A real schema registry for tests: Apicurio, from Maven, on loopback, in memory. It speaks Confluent's API."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rigs.kafka import until

VERSION = "2.6.13.Final"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
START_S = 120.0


class Registry:
    """`start`, `register`, `stop`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hgregistry-"))
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def start(self) -> Registry:
        programs = _programs()
        options = ["-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        address = ["-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}"]
        jar = programs / f"apicurio-registry-app-{VERSION}-runner.jar"
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            ["java", *options, *address, "-jar", str(jar)], cwd=self.folder, stdout=log, stderr=log
        )
        log.close()
        until(self._answers, f"a registry at {self.url}", START_S)
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def register(
        self, subject: str, schema: str, kind: str = "AVRO", references: list[dict[str, Any]] | None = None
    ) -> int:
        """The number of the schema."""
        asked = {"schema": schema, "schemaType": kind, "references": references or []}
        request = urllib.request.Request(
            f"{self.url}/subjects/{quote(subject, safe='')}/versions",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["id"])

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False


def _programs() -> Path:
    """The registry's programs: resolved and unpacked once, then from the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headgate"
    folder = cache / f"apicurio-{VERSION}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            for goal, more in (("get", "-Dtransitive=false"), ("copy", f"-DoutputDirectory={made}")):
                subprocess.run(["mvn", "-q", "-B", f"dependency:{goal}", f"-Dartifact={ARTIFACT}", more], check=True)
            (archive,) = Path(made).glob("*.tar.gz")
            unpacked = Path(made) / "app"
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
            unpacked.rename(folder)
    return folder
