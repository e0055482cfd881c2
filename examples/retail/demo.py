"""`make demo`: Headgate's main job on this machine, from a PostgreSQL of its own to a report.

    python examples/retail/demo.py [--csv FILE] [--rows N] [--seed N]

Loads a shop's sales lines (made, or a real Online Retail file), then lives through three runs of the pipeline while
the shop goes on working: new lines, changed lines, lines committed late, wrong clocks and plain mistakes. Then it reads
the reasons for quarantine, corrects the contract, replays, proves the account from the rows, and writes
build/report.html and build/demo.json. HEADGATE_PG_DSN names another server to use; everything else lands under build/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import server
import shop
from rich import box
from rich.console import Console
from rich.table import Table

import report

HERE = Path(__file__).resolve().parent
DATASET = "transactions"
VERDICTS = ("accepted", "quarantined", *report.LEDGER)
OLD_PATTERN = "AMAZONFEE|BANK CHARGES)$'"
NEW_PATTERN = r"AMAZONFEE|BANK CHARGES|DCGS[0-9A-Z]+|GIFT_\d{4}_\d{2})$'"
TOLD = "Dotcomgiftshop sells through us: its articles DCGS… and its gift vouchers are real sales."


class DemoError(RuntimeError):
    """A step of the demo failed; the message holds what the command said."""


@dataclass
class Headgate:
    """The command line, as a user would call it, in the project's folder."""

    project: Path
    environment: Mapping[str, str]
    peak_rss_mib: float = 0.0

    def __call__(self, *arguments: str) -> Any:
        """Run one command with --json; its document. DemoError with what it said when it failed."""
        command = [sys.executable, "-m", "headgate", *arguments, "--json", "-p", str(self.project)]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=dict(self.environment))
            # wait4 tells how much memory the command's largest process took, which Popen.wait forgets.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.peak_rss_mib = max(self.peak_rss_mib, used.ru_maxrss / 1024)
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        if process.returncode:
            raise DemoError(f"headgate {' '.join(arguments)}: exit {process.returncode}\n{said[1].strip() or said[0]}")
        return json.loads(said[0])


@dataclass
class Demo:
    """One demo: where it works and what it has seen."""

    build: Path
    csv: Path | None
    rows: int
    seed: int
    console: Console = field(default_factory=Console)
    began: float = field(default_factory=time.perf_counter)
    runs: list[report.RunLine] = field(default_factory=list)

    def say(self, title: str, text: str = "") -> None:
        """A heading with the seconds since the start, and a sentence."""
        self.console.print(f"\n[bold cyan]{title}[/]  [dim]{time.perf_counter() - self.began:.1f} s[/]")
        if text:
            self.console.print(text, highlight=False)

    def table(self, title: str, rows: list[dict[str, Any]], limit: int = 10) -> None:
        """Rows as a table; numbers on the right."""
        made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in rows[0] if rows else ():
            made.add_column(name, justify="right" if report.is_number(rows[0][name]) else "left")
        for row in rows[:limit]:
            made.add_row(*(report.shown(v) for v in row.values()))
        self.console.print(made)

    def run(self) -> int:
        """Everything; 0 when the account balances."""
        self.build.mkdir(parents=True, exist_ok=True)
        for old in (self.build / "demo.json", self.build / "report.html"):
            old.unlink(missing_ok=True)
        project = self.build / "demo" / "project"
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("*.py", "__pycache__", "README.md", ".headgate"))
        with server.running(self.build / "demo" / "postgres", os.environ.get("HEADGATE_PG_DSN")) as postgres:
            whose = "our own, on a Unix socket" if postgres.own else "the one in HEADGATE_PG_DSN"
            self.say("A real PostgreSQL", f"version {postgres.version}, {whose}")
            environment = {k: v for k, v in os.environ.items() if k != "HEADGATE_PG_DSN"} | dict(postgres.environment)
            self._load(environment)
            headgate = Headgate(project, environment)
            with contextlib.closing(postgres.connect()) as connection:
                return self._pipeline(headgate, postgres, connection)

    def _load(self, environment: Mapping[str, str]) -> None:
        if self.csv:
            arguments = ["load.py", str(self.csv.absolute())]
        else:
            arguments = ["generator.py", "--load", "--rows", str(self.rows), "--seed", str(self.seed)]
        done = subprocess.run(
            [sys.executable, str(HERE / arguments[0]), *arguments[1:]],
            env=dict(environment),
            check=False,
            stderr=subprocess.PIPE,
        )
        if done.returncode:
            raise DemoError(done.stderr.decode(errors="replace").strip())

    def _pipeline(self, headgate: Headgate, postgres: server.Server, connection: Any) -> int:
        store = shop.Shop(connection)
        lines = store.last_line()
        source = self.csv.name if self.csv else f"made with seed {self.seed}"
        self.say("The shop's table", f"sales_db.transactions: {lines:,} lines, {source}")
        headgate("validate")

        self.say("Run 1", "Everything is new.")
        self._record("1", "everything is new", headgate("run"))

        with store.open_transaction(postgres.connect()) as late:
            late_lines = late.insert(250, minutes_ago=20)
            done = store.work()
            self.say(
                "Meanwhile in the shop",
                done.sentence() + f" A till holds {late_lines} more lines in an open transaction.",
            )
            self.say("Run 2", "Reads what is new or changed, and cannot see what is not committed.")
            self._record("2", done.short(), headgate("run"))
            self.say(
                "Meanwhile in the shop",
                f"The till commits its {late_lines} lines. Their time is older than what run 2 has read.",
            )
            late.commit()
        more = store.work_more()
        self.say(
            "Run 3", f"{more.sentence()} The late lines must arrive, although the watermark has passed them. What was"
        )
        self.console.print("written while their transaction was open is read once more, and judged duplicate.")
        self._record("3", f"{late_lines} late lines; {more.short()}", headgate("run"))
        between = f"invoice_no between '{late.first_invoice}' and '{late.last_invoice}'"
        arrived = headgate("query", f"select count(*) as n from silver.{DATASET} where {between}")
        self.console.print(f"late lines in silver: {arrived[0]['n']} of {late_lines}", highlight=False)

        before = headgate("quarantine", "list")
        self.say("Quarantine", "Rejected lines are kept whole, with every reason.")
        self.table("", [{k: v for k, v in r.items() if k != "dataset"} for r in before], limit=14)
        replayed = self._correct(headgate)
        return self._finish(headgate, store, lines, source, before, replayed)

    def _record(self, name: str, what: str, record: Mapping[str, Any]) -> None:
        line = report.RunLine.of(name, what, record, DATASET)
        self.runs.append(line)
        self.table("", [line.as_row()])

    def _correct(self, headgate: Headgate) -> dict[str, Any]:
        """Correct the contract's pattern, look, replay, build gold again."""
        contract = headgate.project / "contracts" / f"{DATASET}.odcs.yaml"
        text = contract.read_text("utf-8")
        if text.count(OLD_PATTERN) != 1 or text.count("\nversion: 1.0.0\n") != 1:
            raise DemoError("the contract is not the one that this demo corrects")
        text = text.replace(OLD_PATTERN, NEW_PATTERN).replace("\nversion: 1.0.0\n", "\nversion: 1.1.0\n")
        contract.write_text(text, "utf-8")
        self.say("A correction of the contract", f"{TOLD} Version 1.1.0 allows their stock codes.")
        dry = headgate("quarantine", "replay", "--dry-run")[DATASET]
        self.console.print(
            f"replay --dry-run: {dry['recovered']:,} of {dry['read']:,} rows would leave quarantine", highlight=False
        )
        done: dict[str, Any] = headgate("quarantine", "replay")[DATASET]
        again = headgate("quarantine", "replay")[DATASET]
        self.console.print(
            f"replay: {done['recovered']:,} rows left quarantine, {done['remaining']:,} stay; "
            f"a second replay moves {again['recovered']:,}",
            highlight=False,
        )
        self._record("4", f"{done['recovered']} rows replayed under contract 1.1.0", headgate("run"))
        return done

    def _finish(
        self,
        headgate: Headgate,
        store: shop.Shop,
        lines: int,
        source: str,
        before: list[dict[str, Any]],
        replayed: Mapping[str, Any],
    ) -> int:
        account = headgate("audit", "--deep")[0]
        self.say("Audit", "From the rows of the tables: every bronze row has exactly one verdict.")
        equation = {k: account[k] for k in ("bronze", "silver", "quarantine", "ledger", "pending")}
        self.table("", [{**equation, "account": account["state"]}])
        answers = self._answers(headgate, lines)
        verdicts = dict.fromkeys(VERDICTS, 0) | {r["verdict"]: int(r["rows"]) for r in answers.pop("verdicts")}
        bronze = answers.pop("bronze")[0]
        value = plain(Decimal(bronze["value"] or 0))
        self.say("Gold", "Tables for people.")
        for name in ("daily", "countries", "products", "segments", "returns"):
            self.table(name, answers[name][-7:] if name == "daily" else answers[name], limit=7)
        after = headgate("quarantine", "list")
        seconds = round(time.perf_counter() - self.began, 2)
        story = report.Story(
            source=source,
            source_rows=store.rows(),
            account=account,
            verdicts=verdicts,
            runs=self.runs,
            reasons_before=before,
            reasons_after=after,
            replayed=dict(replayed),
            file_lines=lines,
            seconds=seconds,
            peak_rss_mib=headgate.peak_rss_mib,
            answers=answers,
        )
        report.write(self.build / "report.html", story)
        result = {
            "bronze_rows": int(bronze["lines"]),
            "verdicts": verdicts,
            "bronze_quantity_sum": int(bronze["quantity"] or 0),
            "bronze_value_sum": value,
            "silver_rows": account["silver"],
            "quarantined_rows": account["quarantine"],
            "audit": account["state"],
            "seconds": round(time.perf_counter() - self.began, 2),
            "peak_rss_mib": round(headgate.peak_rss_mib, 1),
        }
        (self.build / "demo.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        self.say("Done", f"report: {self.build / 'report.html'}   figures: {self.build / 'demo.json'}")
        self.console.print_json(json.dumps(result))
        return 0 if account["state"] == "balanced" else 1

    def _answers(self, headgate: Headgate, lines: int) -> dict[str, list[dict[str, Any]]]:
        """What the report shows, asked through the Python door: one process, many questions."""
        os.environ.update(headgate.environment)
        from headgate import Project

        with Project.open(headgate.project) as project:
            return {name: project.query(sql).to_pylist() for name, sql in questions(lines).items()}


def questions(lines: int) -> dict[str, str]:
    """SQL over the lake. `lines` bounds line_id to the lines that were loaded from the file."""
    price = "coalesce(try_cast(unit_price as decimal(18, 6)), try_cast(_hg_odd['unit_price'] as decimal(18, 6)))"
    return {
        # Each line of the file once: its first version. Prices that are no number add nothing.
        "bronze": f"""
            select count(*) as lines, sum(quantity)::varchar as quantity, sum(quantity * {price})::varchar as value
            from (select * from bronze.{DATASET} where line_id <= {int(lines)}
                  qualify row_number() over (partition by line_id order by _hg_offset) = 1)""",
        "verdicts": f"""
            select 'accepted' as verdict, count(*) as rows from silver.{DATASET}
            union all select 'quarantined', count(*) from quarantine.{DATASET}
            union all select verdict, count(*) from ledger.{DATASET} group by verdict""",
        "daily": "select day, revenue_gbp, returns_gbp, net_gbp, invoices from gold.daily_revenue order by day",
        "countries": """select country, net_gbp, invoices, customers from gold.revenue_by_country
            order by net_gbp desc limit 13""",
        "products": """select stock_code, description, net_gbp, pieces_sold from gold.revenue_by_product
            join gold.dim_product p using (stock_code, description) where p.kind = 'article'
            order by net_gbp desc limit 12""",
        "segments": """select segment, count(*) as customers, sum(monetary_gbp)::decimal(18, 2) as net_gbp,
            round(avg(recency_days))::integer as days_since, round(avg(frequency), 1)::double as invoices
            from gold.customer_rfm group by segment order by net_gbp desc""",
        "cells": "select r, f, count(*) as customers from gold.customer_rfm group by r, f order by r, f",
        "returns": """select r.stock_code, r.description, returns_gbp, pieces_returned, returned_percent
            from gold.returns r join gold.dim_product p using (stock_code)
            where p.kind = 'article' order by returns_gbp desc limit 8""",
        "totals": """select sum(revenue_gbp) as revenue_gbp, sum(returns_gbp) as returns_gbp, sum(net_gbp) as net_gbp,
            count(*) as days from gold.daily_revenue""",
        "customers": "select count(*) as customers from gold.dim_customer",
    }


def plain(value: Decimal) -> str:
    """A decimal as text without exponent and without zeros at the end."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@contextlib.contextmanager
def tidy_errors(console: Console) -> Iterator[None]:
    """Say what failed without a Python traceback."""
    try:
        yield
    except (DemoError, server.ServerError, shop.ShopError) as error:
        console.print(f"\n[bold red]demo failed[/]: {error}", highlight=False, markup=True)
        raise SystemExit(1) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when the account balances."""
    asked = argparse.ArgumentParser(description="Headgate's main job on this machine, end to end.")
    asked.add_argument("--csv", type=Path, help="a real Online Retail CSV, plain or gzip")
    asked.add_argument(
        "--rows", type=int, default=200_000, help="lines to make when there is no file (default: 200000)"
    )
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--build", type=Path, default=Path("build"), help="where to write (default: build)")
    args = asked.parse_args(arguments)
    if args.csv and not args.csv.is_file():
        asked.error(f"no such file: {args.csv}")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    with tidy_errors(console):
        return Demo(args.build.absolute(), args.csv, args.rows, args.seed, console).run()


if __name__ == "__main__":
    raise SystemExit(main())
