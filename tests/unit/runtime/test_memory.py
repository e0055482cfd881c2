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


THREADS = """
import ctypes, sys, threading
from headgate.runtime.memory import share_heap
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "shared":
    share_heap()
heaps = []
def take():
    heaps.append(libc.malloc(50_000) >> 26)  # a heap of a thread begins at a multiple of 64 MiB
    together.wait()
together = threading.Barrier(4)
threads = [threading.Thread(target=take) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
print(len(set(heaps)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no heaps of threads")
@pytest.mark.parametrize(("how", "most"), [("shared", {1, 2}), ("apart", {4})])
def test_threads_share_a_heap_where_that_is_asked_for(how, most):
    done = subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True)
    assert int(done.stdout) in most


def test_what_is_held_is_at_most_the_peak():
    assert 0 < rss_bytes() / 2**20 <= peak_rss_mib() + 1
