"""What is free goes back to the system."""

import subprocess
import sys

import pytest

from headgate.runtime.memory import peak_rss_mib, rss_bytes

BURST = """
import ctypes
from headgate.runtime.memory import give_back, peak_rss_mib, rss_bytes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = rss_bytes()
blocks = [libc.malloc(60_000) for _ in range(2_000)]
for block in blocks:
    ctypes.memset(block, 1, 60_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(ctypes.c_void_p(block))
held = rss_bytes()
give_back()
print(held - before, rss_bytes() - before, peak_rss_mib() * 2**20 - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries give back by themselves")
def test_after_a_burst_free_memory_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    held, kept, most = map(float, done.stdout.split())
    assert min(held, most) > 100e6
    assert kept < 20e6


def test_what_is_held_is_at_most_the_peak():
    assert 0 < rss_bytes() / 2**20 <= peak_rss_mib() + 1
