"""`python -m bench [HOP …] [--rounds N] [--keep] [--prepare]`: run hops in turn with their limits and peers."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys

import bench.hops
from bench.measure import ROOT
from bench.report import as_table, machine, write


def main() -> int:
    """Run the hops that are asked for; exit 1 when a bar is not met."""
    hops = [m.name for m in pkgutil.iter_modules(bench.hops.__path__)]
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("hop", nargs="*", help=f"all, or some of: {', '.join(hops)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--prepare", action="store_true", help="only make what the hops keep in BENCH_FOLDER")
    arguments = parser.parse_args()
    chosen = hops if not arguments.hop or arguments.hop == ["all"] else arguments.hop
    if unknown := set(chosen) - set(hops):
        parser.error(f"no hop called {', '.join(sorted(unknown))}; there are: {', '.join(hops)}")
    if arguments.prepare:
        if not os.environ.get("BENCH_FOLDER"):
            parser.error("BENCH_FOLDER names the folder in which hops keep what they make")
        for name in chosen:
            prepare = getattr(importlib.import_module(f"bench.hops.{name}"), "prepare", None)
            if prepare is not None:
                print(f"preparing {name}", file=sys.stderr)
                prepare()
        return 0
    state = machine()
    print("machine: " + ", ".join(f"{k} {v}" for k, v in state.items()), file=sys.stderr)
    figures = []
    for name in chosen:
        print(f"{name}", file=sys.stderr)
        figures += importlib.import_module(f"bench.hops.{name}").measure(arguments.rounds)
    print(as_table(figures, state))
    everything = write(figures)
    if arguments.keep:
        with open(os.path.join(ROOT, "bench", "RESULTS.md"), "w") as out:
            out.write("# Results\n\nThe last run of `make bench`, as it was.\n\n" + as_table(everything, state))
    return 0 if all(f.met for f in figures) else 1


raise SystemExit(main())
