"""A small server in front of a schema registry: counts what is asked, and may let its answers drip."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Front:
    """Listens while the context is open; `asked` counts paths, below the registry's own."""

    def __init__(self, registry: str, *, drip_s: float = 0.0) -> None:
        self.asked: Counter[str] = Counter()
        self._registry, self._drip_s, self._quit = registry, drip_s, threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                front.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked[handler.path] += 1
        try:
            with urllib.request.urlopen(self._registry + handler.path, timeout=30) as found:
                status, body = found.status, found.read()
        except urllib.error.HTTPError as problem:
            status, body = problem.code, problem.read()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if not self._drip_s:
            handler.wfile.write(body)
            return
        for one in body:
            try:
                handler.wfile.write(bytes([one]))
            except OSError:
                return
            self._quit.wait(self._drip_s)

    def __enter__(self) -> Front:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._quit.set()
        self._server.shutdown()
        self._server.server_close()
