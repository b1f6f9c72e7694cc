"""Memory that is freed stays with the process: what comes and goes costs no page faults."""

import ctypes
import subprocess
import sys

import pytest

ROUNDS = """
import ctypes, resource, sys, threading
import numpy as np
from esp.runtime.allocator import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a page is a page, whatever the host makes of large blocks
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for round in range(24):
        if round == 4:
            begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(2 << 20, np.uint8) for _ in range(8)]
        del arrays
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", ROUNDS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_blocks_of_megabytes_that_come_and_go_cost_no_faults() -> None:
    pages = 20 * 8 * (2 << 20) // 4096
    assert faults("as it is") > pages / 2
    assert faults("kept") < pages / 20
