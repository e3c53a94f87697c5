"""Opening a book again: how long until it takes events, from its snapshot, from its segments alone, and merged.

A book of `events` events of 1,000 customers, one charge each, is written through the book itself, in batches of 32,768
rows or of one event. Then, each in a fresh process: the time to open it (restore, fold; kernels are loaded beforehand),
and how much more memory the process has with it. Single-event commits are written with SQLite's `synchronous` off,
which changes no byte of them, in as many as is feasible; they are merged by the book's maintenance while they come, and
once more when they are all there.

    python -m benchmarks.restart
    python -m benchmarks.restart --smoke --json

The hash covers every line's amount and tax, and is the same however the book was opened.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.measuring import Figures, Size, hash_of, run_command, timed
from benchmarks.processes import resident_bytes
from benchmarks.workload import Events

from tallybook_client.frames import ipc_stream
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.ledger.columns import EventColumns
from tallybook_server.book import Book
from tallybook_server.codec.arrow import decode_events
from tallybook_server.codec.catalog import read_objects
from tallybook_server.folding import open_book
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.warm_up import warm_up

BATCH_ROWS = 32_768
EVENT_COUNTS = {Size.SMOKE: 3_000, Size.FULL: 10_000_000}
SINGLE_COUNTS = {Size.SMOKE: 200, Size.FULL: 100_000}
SYNTHETIC_ROWS = 1_000_000
"""Tables are made of this many events at a time."""


def measure(size: Size) -> list[Figures]:
    """Every way of opening, over both journals."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.sqlite"
        seconds = timed(lambda: asyncio.run(_write(large, EVENT_COUNTS[size], BATCH_ROWS, "FULL")))
        for from_snapshot in (True, False):
            figures.append(_opened("batches", large, EVENT_COUNTS[size], from_snapshot, seconds))
        small = Path(folder) / "small.sqlite"
        seconds = timed(lambda: asyncio.run(_write(small, SINGLE_COUNTS[size], 1, "OFF")))
        figures.append(_opened("single events, merged", small, SINGLE_COUNTS[size], False, seconds))
    return figures


def _opened(written: str, path: Path, count: int, from_snapshot: bool, write_seconds: float) -> Figures:
    command = [sys.executable, "-m", "benchmarks.restart", "--open", str(path), str(int(from_snapshot))]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {
        "case": f"{written}, {'from the snapshot' if from_snapshot else 'folded whole'}",
        "events": count,
        "written_seconds": write_seconds,
        "segments": found["segments"],
        "open_seconds": found["seconds"],
        "memory_bytes_per_event": found["memory_bytes"] / count,
        "hash": found["hash"],
    }


# --- Writing ----------------------------------------------------------------------------------------------------------


async def _write(path: Path, count: int, batch_rows: int, synchronous: str) -> None:
    """A book of so many events, in commits of so many rows, with a last merge and snapshot."""
    with ThreadPoolExecutor(2) as executor:
        book = Book("benchmark", SqliteJournal.open(path, synchronous=synchronous), executor)
        catalog = read_objects(workload.catalog(1), Faults())
        await book.apply_catalog(CatalogChange(catalog), None, False)
        for columns in _columns(count, batch_rows):
            await book.ingest(columns, duplicates_costed=False)
        book.tidy()
        await book.close()


def _columns(count: int, batch_rows: int) -> Iterator[EventColumns]:
    for first in range(0, count, SYNTHETIC_ROWS):
        events = Events(min(SYNTHETIC_ROWS, count - first), first)
        table = events.table()
        for rows in events.batches(batch_rows):
            (batch,) = table.slice(rows.start, len(rows)).combine_chunks().to_batches()
            yield decode_events(ipc_stream(batch))


# --- Opening, in a process of its own ---------------------------------------------------------------------------------


def _open(path: Path, from_snapshot: bool) -> None:
    """Prints how a journal opens, as JSON."""
    warm_up()
    memory_before = resident_bytes(os.getpid())
    journal = SqliteJournal.open(path, read_only=True)
    begun = time.perf_counter()
    folded = open_book(journal, from_snapshot=from_snapshot)
    seconds = time.perf_counter() - begun
    folded.runs.clear()
    lines = folded.state.lines.rows()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "segments": len(journal.headers()),
                "memory_bytes": resident_bytes(os.getpid()) - memory_before,
                "hash": hash_of(lines.amount.tobytes(), lines.tax.tobytes()),
            }
        )
    )


def main(arguments: list[str]) -> list[Figures]:
    """The command line; `--open` is what it starts itself for."""
    if arguments[:1] == ["--open"]:
        _open(Path(arguments[1]), arguments[2] == "1")
        return []
    return run_command("restart", __doc__, measure, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
