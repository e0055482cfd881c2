"""Parses the command line, runs one command, turns errors into exit codes.

Nothing heavy is imported here: `headgate --help` must answer at once.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import json
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import headgate
from headgate.allocator import choose
from headgate.cli import topic_parser
from headgate.errors import DefectError, HeadgateError

EXIT_INTERRUPTED = 130
EXAMPLES = ("files", "orders", "retail", "sensors")
EPILOG = """exit codes: 0 done, 1 failed, 2 fix your input, 3 a service did not answer in time, 4 the quality budget
was exceeded, 5 stopped to protect data, 70 a defect of Headgate"""


def _everywhere(to: argparse.ArgumentParser, *, default: str, json: bool | str) -> None:
    """What may stand before the command as well as behind it."""
    to.add_argument("-p", "--project", default=default, metavar="DIR", help="the project's folder (default: here)")
    as_json = "one JSON document on stdout, everything human on stderr"
    to.add_argument("--json", action="store_true", default=json, help=as_json)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    _everywhere(common, default=argparse.SUPPRESS, json=argparse.SUPPRESS)
    top = argparse.ArgumentParser(
        prog="headgate",
        description="One data contract drives the whole pipeline, and every record is accounted for.",
        epilog=EPILOG,
    )
    _everywhere(top, default=".", json=False)
    top.add_argument("--version", action="version", version=f"headgate {headgate.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, target: str, help_: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], help=help_, description=help_[0].upper() + help_[1:] + ".")
        made.set_defaults(target=target)
        return made

    one = command("init", "start:init", "make a project that runs at once")
    one.add_argument("dir", metavar="DIR")
    one.add_argument("--example", default="files", choices=EXAMPLES, help="what it reads (default: files)")
    one = command("discover", "contracts:discover", "write a contract from a live table or a file")
    one.add_argument("url", metavar="URL", help="postgresql://HOST/DB?table=schema.name or a path")
    one.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")
    one = command("validate", "contracts:validate", "check contracts and project, with file:line:column")
    one.add_argument("paths", nargs="*", metavar="PATH")
    one = command("plan", "inspect:plan", "say what would run, and what changed")
    one.add_argument("select", nargs="*", metavar="SELECT")
    one.add_argument("--full-refresh", action="store_true", help="judge bronze as a rebuild would, and publish nothing")
    one = command("run", "run:run", "land, refine, derive and serve what is new")
    one.add_argument("select", nargs="*", metavar="SELECT", help="name, +name, name+, tag:x, bronze.name, a,b")
    one.add_argument("--full-refresh", action="store_true", help="rebuild silver and gold from bronze")
    one.add_argument(
        "--accept-quarantine", action="store_true", help="go on to gold although an error budget was exceeded"
    )
    one.add_argument("--continuous", action="store_true", help="go on until SIGTERM or SIGINT; twice: stop at once")
    for name in ("batch-rows", "batch-bytes", "batch-ms"):
        one.add_argument(f"--{name}", type=int, metavar="N", help="a micro-batch is published after so many")
    one.add_argument("--metrics-port", type=int, metavar="PORT", help="show metrics on this port while it goes on")
    one = command("status", "inspect:status", "show tables, positions, lag, freshness and limitations")
    one.add_argument("--watch", action="store_true", help="what a run that goes on does, live, until interrupted")
    one.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between looks (default: 1)")
    one.add_argument("--times", type=int, default=0, metavar="N", help="end after so many looks")
    one = command("audit", "inspect:audit", "prove that every record is accounted for")
    one.add_argument("select", nargs="*", metavar="DATASET")
    one.add_argument("--deep", action="store_true", help="from the rows of the tables, not from the records")
    one = command("query", "query:query", "answer SQL over all tables")
    one.add_argument("sql", metavar="SQL")
    one.add_argument("--format", choices=["table", "json", "csv", "parquet"], default=None)
    one.add_argument("-o", "--output", metavar="FILE")
    one.add_argument("--limit", type=int, default=50, help="rows shown as a table (default: 50)")
    one.add_argument("--as-of", metavar="RUN|TIME|SNAPSHOT", help="the tables as they were then")
    one = command("history", "maintain:history", "tell why each snapshot of a table exists")
    one.add_argument("table", metavar="LAYER.TABLE")
    one.add_argument("--limit", type=int, default=20)
    one = command("runs", "inspect:runs", "list runs")
    one.add_argument("--limit", type=int, default=20)
    quarantine = commands.add_parser("quarantine", help="list, show and replay rejected rows")
    verbs = quarantine.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, function, help_ in (
        ("list", "reasons", "count reasons"),
        ("show", "show_rows", "show rows"),
        ("replay", "replay", "judge rows again under today's contract"),
    ):
        one = verbs.add_parser(verb, parents=[common], help=help_)
        one.set_defaults(target=f"quarantine:{function}")
        one.add_argument("select", nargs="*", metavar="DATASET")
        if verb == "show":
            one.add_argument("--rule", help="only rows that break this rule")
            one.add_argument("--limit", type=int, default=20)
        if verb == "replay":
            one.add_argument("--dry-run", action="store_true", help="only say what would happen")
    one = command("maintain", "maintain:maintain", "compact files, expire snapshots, clean left-overs")
    one.add_argument(
        "verb", nargs="?", choices=["retire", "compact", "expire", "clean"], help="only this (default: all)"
    )
    one.add_argument("--table", action="append", default=[], metavar="LAYER.TABLE", help="only this table")
    one.add_argument("--dry-run", action="store_true", help="only say what would be done")
    one.add_argument("--older-than", metavar="AGE", help="of expire: snapshots of that age, such as 90m, 12h or 7d")
    topic_parser.add(commands, common)
    serve = commands.add_parser("serve", help="show the project to other systems")
    faces = serve.add_subparsers(dest="verb", metavar="WHAT", required=True)
    one = faces.add_parser("metrics", parents=[common], help="tables and the newest run, for Prometheus")
    one.set_defaults(target="serve:metrics")
    one.add_argument("--port", type=int, metavar="PORT", help="default: the setting metrics.port, else any free one")
    one.add_argument("--once", action="store_true", help="print them and end")
    one = command("export", "contracts:export", "write files for others")
    one.add_argument("what", choices=["ddl", "json-schema", "parquet", "run-schema"])
    one.add_argument("select", nargs="*", metavar="DATASET")
    one.add_argument("--dialect", default="spark", help="of ddl: spark, trino, athena or snowflake (default: spark)")
    one.add_argument("--location", default="s3://BUCKET/PREFIX", help="of ddl for athena: where the tables are")
    one.add_argument("--from", dest="source", metavar="DIR", help="of parquet: folder or s3:// prefix of NDJSON by day")
    one.add_argument("--to", metavar="DIR", help="of parquet: folder to write")
    one.add_argument("--date", action="append", default=[], metavar="DAY", help="of parquet: only this day")
    one.add_argument("--rows", type=int, default=250_000, help="of parquet: most rows of a file (default: 250000)")
    command("doctor", "inspect:doctor", "check this machine, the lake and every source")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = parser().parse_args(argv)
    choose(continuous=getattr(arguments, "continuous", False))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nobody here multiplies matrices, and its threads wait busily
    gc.disable()  # imports make many objects that stay; one collection afterwards costs less than dozens meanwhile
    module, _, function = arguments.target.partition(":")
    try:
        code: int = getattr(importlib.import_module(f"headgate.cli.{module}"), function)(arguments)
        sys.stdout.flush()
    except HeadgateError as error:
        return _complain(error, as_json=arguments.json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was published stays, nothing is half done\n")
        return EXIT_INTERRUPTED
    except Exception as cause:
        if os.environ.get("HEADGATE_DEBUG"):
            raise
        return _complain(
            DefectError(
                f"{type(cause).__name__}: {cause}", hint="set HEADGATE_DEBUG=1 to see where, and please report it"
            ),
            as_json=arguments.json,
        )
    return code


def process() -> NoReturn:
    """`main` as all that a process does. It ends as Python would end it, but takes nothing apart: hundreds of thousands
    of objects would be looked through, a tenth of a second and more, whose memory the system takes back at once."""
    code = main()
    for one in threading.enumerate():
        if one is not threading.current_thread() and not one.daemon:
            one.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _complain(error: HeadgateError, *, as_json: bool) -> int:
    if os.environ.get("HEADGATE_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if as_json:
        sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
    stage = f" [{error.stage}]" if error.stage else ""
    sys.stderr.write(f"headgate: {error.code}{stage}: {error}\n")
    if error.hint:
        sys.stderr.write(f"  what to do: {error.hint}\n")
    return error.exit_code
