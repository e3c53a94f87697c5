"""A full replay: every event was stored before, and is answered with the amounts that it first posted.

Timed: from the first message given to one StreamingIngestEvents call until the answer to the last, costs read into
arrays. All events were stored by the same server just before, in the same messages: their records are read from the
journal. Otherwise everything is as in benchmarks/streaming.py, also what the figures mean.

    python -m benchmarks.duplicates
    python -m benchmarks.duplicates --smoke --json

The hash covers each event's amount and tax, in order, and is that of the events when they were stored.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import workload
from benchmarks.measuring import Figures, Size, median, run_command
from benchmarks.processes import server_process
from benchmarks.streaming import Case, sender, timed_stream

from tallybook_client import Client

EVENT_COUNTS = {Size.SMOKE: 2_000, Size.FULL: 1_000_000}
RUNS = {Size.SMOKE: 1, Size.FULL: 3}
CASES = [Case(arrow, charges, encoded=True) for arrow in (False, True) for charges in (1, 4)]


def measure(size: Size) -> list[Figures]:
    """Every case."""
    return [median(_run(case, EVENT_COUNTS[size]) for _ in range(RUNS[size])) for case in CASES]


def _run(case: Case, count: int) -> Figures:
    """One case against a fresh server."""
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder)) as server:
        with Client(server.address) as client:
            client.apply_catalog(workload.catalog(case.charge_count))
        stored, _ = timed_stream("", count, server, sender(server.address, case.arrow, count))
        figures, answers = timed_stream(str(case), count, server, sender(server.address, case.arrow, count))
    if sum(answer.duplicate_count for answer in answers) != count or figures["hash"] != stored["hash"]:
        raise AssertionError("events that are no duplicates, or cost something else")
    return figures


def main(arguments: list[str] | None = None) -> list[Figures]:
    """The command line."""
    return run_command("duplicates", __doc__, measure, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
