"""Freed memory stays with the process: seen from outside, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
import pyarrow as pa
from tallybook_server.memory import keep_freed_memory

def faults_of(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        [np.ones(16 << 20, dtype=np.uint8) for _ in range(6)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{keep}
faults_of(3)
print(pa.default_memory_pool().backend_name, faults_of(10))
"""


def run(keep: str) -> tuple[str, int]:
    program = PROGRAM.format(keep=keep)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    pool, faults = done.stdout.split()
    return pool, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told to keep what is freed")
def test_blocks_that_were_freed_are_used_again():
    # Given a process that takes and frees large blocks over and over, when it keeps what it frees,
    # then the system hands it next to no fresh pages.
    pool, faults = run("keep_freed_memory()")
    _, faults_otherwise = run("")
    assert pool == "system"
    assert faults < faults_otherwise / 10
