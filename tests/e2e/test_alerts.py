"""Limits that a run passes: who is told, what, and when it holds again. A real topic, a real webhook, a real command."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from e2e.command import headgate
from rigs.events import Feed
from rigs.going import Going, until

SECRET = "t0ken-canary"


class Hook:
    """Takes events, but for the first, which it refuses."""

    def __init__(self):
        self.paths, self.events = [], []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.paths.append(self.path)
                if len(hook.paths) > 1:
                    hook.events.append(body)
                self.send_response(204 if len(hook.paths) > 1 else 500)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook():
    one = Hook()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def feed(broker):
    return Feed(broker)


@pytest.fixture
def project(tmp_path, feed):
    return feed.follow(tmp_path)


def configured(project, limits, alerts=""):
    (project / "headgate.yaml").write_text(
        f"continuous: {{batch_ms: 100, batch_rows: 100}}\nalerts: {{every_s: 0.1{alerts}}}\n"
        f"datasets: {{events: {{alerts: {{{limits}}}}}}}\n"
    )


def told(project, name="alerts.ndjson"):
    path = project / ".headgate" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def short(events):
    return [(one["event"], one["alert"]) for one in events]


def test_each_limit_raises_once_clears_once_and_reaches_log_webhook_and_command(project, feed, broker, hook):
    command = project / "tell.py"
    command.write_text("import sys; open('.headgate/command.ndjson', 'a').write(sys.stdin.read() + '\\n')")
    where = f", webhook: '${{HOOK}}', command: ['{sys.executable}', tell.py]"
    configured(project, "no_data_s: 1.5, lag_rows: 1000, quarantine_share: 0.05", where)
    with Going(project, env={"HOOK": f"{hook.url}?{SECRET}"}) as going:
        until(lambda: ("raised", "no_data_s") in short(told(project)), "nothing comes")
        feed.send(5_000)
        until(lambda: ("raised", "lag_rows") in short(told(project)), "much comes at once")
        until(lambda: ("cleared", "lag_rows") in short(told(project)), "it is landed and judged")
        going.until_rows("silver.events", feed.good)
        broker.produce(feed.topic, [b"{oh no"] * 900)  # too few for a lag
        until(lambda: ("raised", "quarantine_share") in short(told(project)), "a seventh of it is bad")
        until(lambda: len(short(told(project))) == len(hook.events) == len(told(project, "command.ndjson")), "all told")
        assert going.stop() == 0, going.said
    events = told(project)
    *lag, last = [one for one in short(events) if one[1] != "no_data_s"]
    assert lag == [("raised", "lag_rows"), ("cleared", "lag_rows")] * (len(lag) // 2)  # partitions may come apart
    assert last == ("raised", "quarantine_share")
    assert short(events)[:3] in (
        [("raised", "no_data_s"), ("cleared", "no_data_s"), ("raised", "lag_rows")],
        [("raised", "no_data_s"), ("raised", "lag_rows"), ("cleared", "no_data_s")],
    )
    bad = events[[one["alert"] for one in events].index("quarantine_share")]
    assert bad["dataset"] == "events"
    assert 0.05 < bad["value"] < 0.5
    assert bad["limit"] == 0.05
    assert bad["text"].startswith("events: quarantine_share is 0.")
    assert hook.events == events == told(project, "command.ndjson")
    assert set(hook.paths) == {f"/hook?{SECRET}"}
    assert "the webhook does not take events" in going.said
    assert SECRET not in going.said + json.dumps(events)


def test_old_events_are_not_fresh_and_the_end_of_a_run_is_an_event(project, feed, broker):
    configured(project, "freshness_s: 600")
    feed.send(10)
    with Going(project) as going:
        going.until_rows("silver.events", 10)
        broker.produce(feed.topic, [b'{"id": 1000}'], timestamp=int((time.time() - 3600) * 1000))
        until(lambda: told(project), "an event of an hour ago")
        broker.recreate(feed.topic, 2)
        broker.produce(feed.topic, [b'{"id": 1}'])
        assert going.end() == 5, going.said
    late, ended = told(project)
    assert (late["event"], late["alert"]) == ("raised", "freshness_s")
    assert 3_500 < late["value"] < 4_100
    assert (ended["alert"], ended["value"], ended["dataset"]) == ("ended", 5, None)


@pytest.mark.parametrize(
    ("alerts", "limits", "said"),
    [
        ("", "lag_row: 5", "did you mean lag_rows?"),
        ("", "lag_rows: 0", "lag_rows is 0"),
        ("", "quarantine_share: 5", "quarantine_share is 5"),
        (", command: rm", "lag_rows: 5", "command must be a list"),
        (", webhook: 'ftp://x'", "lag_rows: 5", "webhook is no address"),
        (", webhook: '${NOWHERE}'", "lag_rows: 5", "${NOWHERE} is not set"),
    ],
)
def test_what_cannot_be_is_exit_2(project, alerts, limits, said):
    configured(project, limits, alerts)
    answer = headgate("run", "--continuous", project=project)
    assert (answer.code, said in answer.err) == (2, True), answer.err
