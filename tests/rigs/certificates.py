"""An authority of our own, and a certificate that it gives to a server on loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

_NEW = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def made(folder: Path, name: str = "authority") -> tuple[Path, Path]:
    """The authority's certificate, and the server's key with its certificate, both as PEM."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = folder / f"{name}.pem", folder / f"{name}.key"
    own = ("-x509", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
    _openssl(*_NEW, *own, "-keyout", str(key), "-out", str(authority))
    asked, given, both = folder / f"{name}-server.csr", folder / f"{name}-server.crt", folder / f"{name}-server.pem"
    server_key, extra = folder / f"{name}-server.key", folder / f"{name}.cnf"
    extra.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl(*_NEW[:-2], "-subj", "/CN=localhost", "-keyout", str(server_key), "-out", str(asked))
    signed = ("-CA", str(authority), "-CAkey", str(key), "-CAcreateserial", "-days", "2", "-extfile", str(extra))
    _openssl("x509", "-req", "-in", str(asked), *signed, "-out", str(given))
    both.write_text(server_key.read_text() + given.read_text() + authority.read_text())
    return authority, both


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
