"""NDJSON file -> bronze, silver, quarantine, ledger in the lake; every line accounted for."""

from __future__ import annotations

import json
import os
import shutil
import sys

from bench.events import CONTRACT, write_events
from bench.measure import ROOT, headgate, in_turn, median, ratio, run
from bench.report import Figure, figure

EVENTS = int(os.environ.get("BENCH_EVENTS", "2000000"))
_TUTORIAL = """
import json, sys
from datetime import datetime
import pyarrow as pa, pyarrow.parquet as pq
source, folder = sys.argv[1:3]
types = {"order_created", "payment_authorized", "order_shipped", "order_delivered", "order_cancelled"}
texts = ("event_id event_type event_time ingest_time tenant_id user_id session_id source_system environment record_source checksum").split()
text, instant = pa.string(), pa.timestamp("us", tz="UTC")
item = pa.struct([("sku", text), ("qty", pa.int32()), ("price", pa.float64())])
address = pa.struct([(name, text) for name in ("street", "city", "zip", "country")])
payload = pa.struct([("order_id", text), ("amount", pa.float64()), ("currency", text), ("items", pa.list_(item)), ("address", address)])
schema = pa.schema([(n, instant if n.endswith("_time") else text) for n in texts] + [("schema_version", pa.int32()), ("payload", payload)])

def moment(value):
    return datetime.fromisoformat(value.replace("Z", "+00:00"))

def fine(event):
    body = event["payload"]
    return (all(type(event[name]) is str for name in texts) and event["event_type"] in types and type(event["schema_version"]) is int
            and type(body["amount"]) in (int, float) and body["amount"] >= 0 and all(type(i["qty"]) is int for i in body["items"]))

seen, rows = set(), []
with open(source, "rb") as lines, open(folder + "/bad.ndjson", "wb") as bad, pq.ParquetWriter(folder + "/good.parquet", schema, compression="zstd") as good:
    for line in lines:
        try:
            event = json.loads(line)
            ok = fine(event)
            event["event_time"], event["ingest_time"] = moment(event["event_time"]), moment(event["ingest_time"])
        except (ValueError, KeyError, TypeError):
            ok = False
        if not ok:
            bad.write(line)
        elif event["event_id"] not in seen:
            seen.add(event["event_id"])
            rows.append(event)
            if len(rows) == 50_000:
                good.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
    if rows:
        good.write_table(pa.Table.from_pylist(rows, schema))
"""


def measure(rounds: int) -> list[Figure]:
    """CPU microseconds per event, wall over CPU, and CPU over the tutorial loop's on the same file."""
    folder = os.path.join(ROOT, "build", "bench-events")
    data = os.path.join(folder, "data")
    os.makedirs(data, exist_ok=True)
    file, facts = os.path.join(data, "events.ndjson"), os.path.join(folder, f"facts-{EVENTS}.json")
    if not os.path.exists(facts):
        made = write_events(file, EVENTS)
        with open(facts, "w") as out:
            json.dump(made, out)
    expected = json.load(open(facts))
    os.makedirs(os.path.join(folder, "contracts"), exist_ok=True)
    with open(os.path.join(folder, "contracts", "events.odcs.yaml"), "w") as out:
        out.write(CONTRACT)

    def loop():
        _warm(file)
        return run([sys.executable, "-c", _TUTORIAL, file, folder])

    def ours():
        _warm(file)
        shutil.rmtree(os.path.join(folder, ".headgate"), ignore_errors=True)
        return headgate("run", project=folder)

    costs = in_turn(
        rounds,
        {
            "headgate run": ours,
            "tutorial loop, json per line": loop,
        },
        warm=0,
    )
    _check(folder, expected)
    mine, theirs = costs["headgate run"], costs["tutorial loop, json per line"]
    cost = median(mine)
    against = f"tutorial loop {median(theirs).cpu_s / EVENTS * 1e6:.1f} us CPU per event"
    return [
        figure("events: CPU per event", cost.cpu_s / EVENTS * 1e6, "us", 7.5, 6, against, cost),
        figure("events: wall / CPU", cost.wall_s / cost.cpu_s, "ratio", 0.6, 0.53, "2 cores", cost),
        figure("events: CPU / tutorial loop", ratio(mine, theirs, "cpu_s"), "ratio", 0.3, 0.2, against, cost),
    ]


def _warm(path: str) -> None:
    """Both contenders find the file in memory: on a virtual machine reading it anew would cost whoever comes first."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def _check(folder: str, expected: dict[str, int]) -> None:
    """The figures count only when every line is accounted for, and rightly."""
    account = json.loads(run([sys.executable, "-m", "headgate", "audit", "--deep", "--json", "-p", folder]).output)[0]
    good = expected["lines"] - expected["copies"] - expected["broken"]
    found = (account["state"], account["bronze"], account["silver"], account["quarantine"], account["ledger"])
    wanted = ("balanced", expected["lines"], good, expected["broken"], expected["copies"])
    if found != wanted:
        raise RuntimeError(f"the account is {found}, not {wanted}")
