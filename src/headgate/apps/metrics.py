"""Metrics over HTTP, in the text format of Prometheus: `/metrics`; `/health` (alive) and `/ready` (nothing is failing).

Closed by default, and open to this machine alone unless the settings name another host: the page has no password.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from headgate.errors import FixInputError
from headgate.runtime.observe import BOUNDS_S, HISTOGRAM, METRICS, Meter

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def as_text(meter: Meter) -> str:
    """Everything the meter holds, one metric after the other."""
    values, distributions = meter.everything()
    lines: list[str] = []
    for name, metric in METRICS.items():
        mine = [(k[1], v) for k, v in values.items() if k[0] == name]
        spread = [(k[1], d) for k, d in distributions.items() if k[0] == name]
        if not mine and not spread:
            continue
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in sorted(mine)]
        for labels, one in sorted(spread, key=lambda pair: pair[0]):
            for bound, below in zip(BOUNDS_S, one.below, strict=True):
                lines.append(f"{name}_bucket{_labels((*labels, ('le', _number(bound))))} {below}")
            lines.append(f"{name}_bucket{_labels((*labels, ('le', '+Inf')))} {one.count}")
            lines.append(f"{name}_sum{_labels(labels)} {_number(one.total_s)}")
            lines.append(f"{name}_count{_labels(labels)} {one.count}")
    return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def families() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, kind, labels and meaning of every metric, for the reference page."""
    for name, metric in METRICS.items():
        yield name, "histogram of seconds" if metric.kind == HISTOGRAM else metric.kind, metric.labels, metric.help


class MetricsServer:
    """The pages, served from a thread while the context is open. `port` is the one that was got."""

    def __init__(
        self, meter: Meter, state: Callable[[], Mapping[str, Any]], host: str, port: int, *, named: bool = False
    ) -> None:
        if not named and not _loopback(host):
            raise FixInputError(
                f"metrics would be open to others at {host}",
                hint="write metrics: {host: …} in headgate.yaml if that is meant",
                where="metrics",
            )
        handler = type("Handler", (_Handler,), {"meter": meter, "state": staticmethod(state)})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as cause:
            raise FixInputError(
                f"cannot listen on {host}:{port}: {cause.strerror}", hint="choose another port; 0 is any free one"
            ) from cause
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    meter: Meter
    state: Callable[[], Mapping[str, Any]]
    timeout = 10  # of a client that says nothing

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(200, TEXT, as_text(self.meter))
            case "/health":
                self._answer(200, "application/json", json.dumps({"alive": True}))
            case "/ready":
                state = dict(self.state())
                self._answer(200 if state.get("ready") else 503, "application/json", json.dumps(state))
            case _:
                self._answer(404, "text/plain; charset=utf-8", "there are /metrics, /health and /ready\n")

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged."""


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
