"""Random contracts and broken lines against the compiled decoder, each line in memory of its own.

    python tests/unit/engines/fuzz_json_rows.py SECONDS [FIRST_SEED]

Meant for a build with sanitizers, which find what reads or writes where it may not:

    CFLAGS="-g -O1 -fsanitize=address,undefined -fno-sanitize-recover" LDFLAGS="-fsanitize=address,undefined" \
        python hatch_build.py
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc python tests/unit/engines/fuzz_json_rows.py 120

(delete the compiled modules before and after: they are made anew only when their sources change).
"""

from __future__ import annotations

import importlib
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

json_maker = importlib.import_module("json_maker")
json_layout = importlib.import_module("headgate.engines.duckdb.json_layout")
json_rows = importlib.import_module("headgate.native.json_rows")


def main(seconds: float, seed: int) -> Counter[str]:
    """Until the time is over; says how many contracts and lines there were, and how many lines were taken."""
    counts, end = Counter(), time.monotonic() + seconds
    while time.monotonic() < end:
        random = Random(seed)
        of = json_maker.make_dataset(random)
        layout = json_layout.layout_of(json_rows, of, unknown=str(of.properties.get("unknown_fields") or "refuse"))
        lines = [json_maker.make_line(random, of) for _ in range(20)]
        lines += [json_maker.mixed_up(random, line) for line in lines for _ in range(4)]
        lines += [line[: random.randrange(len(line) + 1)] for line in lines]
        # NumPy's memory is as large as it was asked for, so that nothing behind it may be read.
        chunks = [(np.array(list(line), np.uint8), np.array([0, len(line)], np.int32), 0, 1) for line in lines]
        marks, columns = layout.compiled.read(chunks)
        taken = bytes(marks)
        assert set(taken) <= {0, 1}
        assert columns[0][0] == sum(taken)
        again, _ = layout.compiled.read([chunk for chunk, one in zip(chunks, taken, strict=True) if one])
        assert bytes(again) == b"\1" * sum(taken), seed  # a line is taken for itself
        counts.update(contracts=1, lines=len(lines), taken=sum(taken))
        seed += 1
    return counts


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
