"""Alerts of a run that goes on: declared limits, looked at every few seconds; an event when one is passed, another when
it holds again, and one when the run ends with an error.

An event is one JSON object. It goes to a file, a webhook and a command, whichever are named; what cannot be sent now
is kept and sent with the next look, the oldest first. Trouble with sending is told and never ends the run.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from headgate.errors import FixInputError, HeadgateError
from headgate.runtime.settings import AlertSettings
from headgate.runtime.variables import resolve

if TYPE_CHECKING:
    from headgate.runtime.continuous import Conductor
    from headgate.runtime.flow import Flow

WINDOW_S = 60.0  # over which shares are counted
LEAST_ROWS = 100  # below which a share says nothing
MOST_KEPT = 1_000  # events that wait to be sent; beyond it the oldest go
SEND_S = 10.0  # how long a webhook or a command may take

_Sender = Callable[[str], None]


class Watchman:
    """Looks at the flows of a run while the context is open. FixInputError for a webhook that is no address."""

    def __init__(self, conductor: Conductor, settings: AlertSettings, senders: Mapping[str, _Sender]) -> None:
        self._conductor, self._settings = conductor, settings
        self._waiting: dict[str, deque[str]] = {name: deque(maxlen=MOST_KEPT) for name in senders}
        self._senders = senders
        self._raised: dict[tuple[str, str], str] = {}  # dataset, limit -> since when
        self._views: dict[str, _View] = {}
        self._told: dict[str, str] = {}
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="alerts", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._stop.set()
        self._thread.join()
        if isinstance(error, HeadgateError):
            self._say("raised", None, "ended", error.exit_code, 0, f"the run ended: {error.code}: {error}")
        self._send()

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.every_s):
            self.look(time.monotonic())
            self._send()

    def look(self, now: float) -> None:
        """Compare every dataset with its limits."""
        for flow in self._conductor.flows:
            name = flow.dataset.name
            view = self._views.setdefault(name, _View(now))
            view.take(flow, now)
            for limit, most in self._settings.of(name).items():
                self._judge(name, limit, view.value(limit, flow, now), most)

    def _judge(self, dataset: str, limit: str, value: float, most: float) -> None:
        passed, before = value > most, (dataset, limit) in self._raised
        self._conductor.meter.set("headgate_alert_raised", float(passed), dataset=dataset, alert=limit)
        if passed and not before:
            self._say("raised", dataset, limit, value, most, f"{dataset}: {limit} is {value:,g}, more than {most:,g}")
        elif before and not passed:
            self._say("cleared", dataset, limit, value, most, f"{dataset}: {limit} is {value:,g} again")

    def _say(self, event: str, dataset: str | None, limit: str, value: float, most: float, text: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        key = (dataset or "", limit)
        since = self._raised.setdefault(key, at)
        if event == "cleared":
            del self._raised[key]
        told = {
            "event": event, "alert": limit, "dataset": dataset, "value": value, "limit": most, "at": at,
            "since": since, "run": self._conductor.run.id, "text": text,
        }  # fmt: skip
        self._conductor.run.tell("alert", text=text)
        for waiting in self._waiting.values():
            waiting.append(json.dumps(told))

    def _send(self) -> None:
        for name, waiting in self._waiting.items():
            try:
                while waiting:
                    self._senders[name](waiting[0])
                    waiting.popleft()
            except (OSError, HTTPException, subprocess.SubprocessError) as problem:
                self._complain(name, type(problem).__name__)
            else:
                self._told.pop(name, None)

    def _complain(self, name: str, why: str) -> None:
        """Once for each kind of trouble; never with an address, which may be a secret."""
        if self._told.get(name) != why:
            self._told[name] = why
            self._conductor.run.tell("alert", text=f"alerts: the {name} does not take events ({why}); trying again")


class _View:
    """What was seen of one dataset."""

    def __init__(self, now: float) -> None:
        self._landed, self._landed_at = 0.0, now
        self._counts: deque[tuple[float, float, float]] = deque([(now, 0.0, 0.0)])  # when, judged, quarantined

    def take(self, flow: Flow, now: float) -> None:
        """Look at the counts."""
        name, meter = flow.dataset.name, flow.meter
        landed = meter.value("headgate_landed_rows_total", dataset=name)
        if landed != self._landed:
            self._landed, self._landed_at = landed, now
        verdicts = meter.by("headgate_verdict_rows_total", "verdict", dataset=name)
        self._counts.append((now, sum(verdicts.values()), verdicts.get("quarantined", 0.0)))
        while len(self._counts) > 1 and self._counts[1][0] <= now - WINDOW_S:
            self._counts.popleft()

    def value(self, limit: str, flow: Flow, now: float) -> float:
        """What a limit is compared with."""
        name, meter = flow.dataset.name, flow.meter
        match limit:
            case "lag_rows":
                lag = meter.by("headgate_source_lag_rows", "partition", dataset=name)
                return sum(lag.values()) + flow.waiting_rows
            case "freshness_s":
                (slowest,) = meter.percentiles("headgate_visible_seconds", (0.99,), dataset=name)
                return round(max(slowest or 0.0, flow.oldest_s(time.time())), 3)
            case "no_data_s":
                return round(now - self._landed_at, 3)
            case _:
                (_, judged, quarantined), (_, judged_now, quarantined_now) = self._counts[0], self._counts[-1]
                rows = judged_now - judged
                return round((quarantined_now - quarantined) / rows, 6) if rows >= LEAST_ROWS else 0.0


def senders(settings: AlertSettings, folder: Path, env: Mapping[str, str]) -> dict[str, _Sender]:
    """Where events go. FixInputError for a webhook that is no address, MissingSecretError for a variable."""
    where = "headgate.yaml: alerts"
    found: dict[str, _Sender] = {}
    if settings.log:
        found["log"] = _log(folder / str(resolve(settings.log, env, where)))
    if settings.webhook:
        url = str(resolve(settings.webhook, env, where))
        if not url.startswith(("http://", "https://")):
            raise FixInputError("webhook is no address", where=where, hint="webhook: ${ALERT_URL}, https://…")
        found["webhook"] = _webhook(url)
    if settings.command:
        found["command"] = _command([str(one) for one in resolve(list(settings.command), env, where)], folder)
    return found


def _log(path: Path) -> _Sender:
    def send(event: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(event + "\n")

    return send


def _webhook(url: str) -> _Sender:
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        """An event that is sent elsewhere arrives as a GET without a body: that is no delivery."""

        def redirect_request(self, *_: object) -> None:
            return None

    opener = build_opener(Stay())

    def send(event: str) -> None:
        asked = Request(url, event.encode(), {"Content-Type": "application/json"})  # noqa: S310 - http or https
        with opener.open(asked, timeout=SEND_S):
            return

    return send


def _command(argv: list[str], folder: Path) -> _Sender:
    """The event goes to its standard input: nothing of it becomes an argument."""

    def send(event: str) -> None:
        subprocess.run(argv, input=event.encode(), cwd=folder, timeout=SEND_S, check=True, capture_output=True)

    return send


def watching(conductor: Conductor) -> Watchman | None:
    """Who watches a run, when the project declares limits; None when it declares none."""
    project = conductor.project
    settings = project.settings.alerts
    if not any(settings.of(dataset.name) for dataset in project.datasets):
        return None
    return Watchman(conductor, settings, senders(settings, project.folder, project.env))
