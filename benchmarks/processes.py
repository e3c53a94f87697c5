"""A server in a process of its own, and what processes have used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.measuring import timed

STOP_SECONDS = 120
"""How long a server may take to finish what it has begun."""
RAW_BLOCK_BYTES = 4 << 20
"""Of the plain file that is written beside: about the size of a commit."""


@dataclass(frozen=True)
class ServerProcess:
    """A server that answers."""

    pid: int
    address: str
    data_directory: Path

    def journal_bytes(self) -> int:
        """Size of the journal, with the log in front of it."""
        return sum(path.stat().st_size for path in self.data_directory.glob("default.sqlite*"))


@contextmanager
def server_process(data_directory: Path) -> Iterator[ServerProcess]:
    """Starts `tallybook serve` on a free loopback port; yields once it answers, and stops it at the end."""
    command = [sys.executable, "-m", "tallybook_cli", "serve", "--listen", "127.0.0.1:0", "--json"]
    process = subprocess.Popen([*command, "--data", str(data_directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start")
        yield ServerProcess(process.pid, json.loads(line)["address"], data_directory)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        process.stdout.close()


@dataclass(frozen=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    written_bytes: int
    """Handed to the disk."""

    @classmethod
    def of(cls, pid: int) -> Self:
        """Of a process of this machine; Linux tells it in /proc."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        return cls(ticks / os.sysconf("SC_CLK_TCK"), int(counters["write_bytes"]))

    def since(self, earlier: Usage) -> Usage:
        """What was used between two looks."""
        return Usage(self.cpu_seconds - earlier.cpu_seconds, self.written_bytes - earlier.written_bytes)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def disk_bytes_per_second(folder: Path, byte_count: int) -> float:
    """Rate of writing so many bytes to a plain file in blocks, each flushed before the next."""
    path = folder / "raw"
    block = os.urandom(RAW_BLOCK_BYTES)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)

    def write() -> None:
        for _ in range(0, byte_count, RAW_BLOCK_BYTES):
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fdatasync(descriptor)

    try:
        seconds = timed(write)
    finally:
        os.close(descriptor)
        path.unlink()
    return -(-byte_count // RAW_BLOCK_BYTES) * RAW_BLOCK_BYTES / seconds
