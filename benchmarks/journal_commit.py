"""Durable commits of the SQLite journal, against the same bytes written to a plain file and flushed.

Timed: `append` of one segment after the other, each on the disk before the next begins, and then reading all of them
back with their checksums; beside it, `write` and `fdatasync` of the same bodies to a file that grows. Not timed:
making the bodies. `written` is what the process handed to the disk for each byte of a body: about two, once for the
log and once when the log is written back. Where freshly used memory is slow (virtual machines) both columns vary by
a factor of two from run to run.

    python benchmarks/journal_commit.py                       # single events, 1 MiB and 40 MiB bodies
    python benchmarks/journal_commit.py --page-bytes 4096     # on pages of another size
    python benchmarks/journal_commit.py --smoke               # a size for the tests

The hash covers every body that was read back, so that the work cannot silently change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tallybook_server.journal.interface import Segment, SegmentHeader
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.journal.sqlite import file as journal_file

SEED = 20130101
SIZES = ((2_500, 4_000), (1 << 20, 200), (40 << 20, 12))
"""(bytes of a body, commits): one event, some ten thousand, about a million."""
SMOKE_SIZES = ((2_500, 20), (1 << 20, 3))
PARTITION_COUNT = 16


@dataclass(frozen=True)
class Result:
    """One size of body; MB are 10^6 bytes."""

    body_bytes: int
    commits: int
    commits_per_second: float
    megabytes_per_second: float
    raw_megabytes_per_second: float
    p50_ms: float
    p99_ms: float
    raw_p50_ms: float
    cpu_ms_per_commit: float
    written_per_byte: float
    read_megabytes_per_second: float
    sha256: str


def measure(folder: Path, body_bytes: int, commits: int) -> Result:
    """Commit, read back and compare with a plain file, in `folder`."""
    body = random.Random(SEED).randbytes(body_bytes)
    raw_seconds = timed_writes(folder / "raw", body, commits)
    journal = SqliteJournal.open(folder / "journal.sqlite", partition_count=PARTITION_COUNT)
    journal.claim()
    segments = [segment(sequence, body) for sequence in range(1, commits + 1)]
    written, cpu = bytes_written(), time.process_time()
    seconds = [timed(lambda s=s: journal.append(s.first_sequence - 1, s)) for s in segments]  # type: ignore[misc]
    cpu = time.process_time() - cpu
    read_seconds, sha256 = timed_read(journal)
    journal.close()
    written = bytes_written() - written
    megabytes = body_bytes * commits / 1e6
    return Result(
        body_bytes=body_bytes,
        commits=commits,
        commits_per_second=round(commits / sum(seconds), 1),
        megabytes_per_second=round(megabytes / sum(seconds), 1),
        raw_megabytes_per_second=round(megabytes / sum(raw_seconds), 1),
        p50_ms=milliseconds(seconds, 0.5),
        p99_ms=milliseconds(seconds, 0.99),
        raw_p50_ms=milliseconds(raw_seconds, 0.5),
        cpu_ms_per_commit=round(cpu / commits * 1e3, 3),
        written_per_byte=round(written / (body_bytes * commits), 2),
        read_megabytes_per_second=round(megabytes / read_seconds, 1),
        sha256=sha256,
    )


def segment(sequence: int, body: bytes) -> Segment:
    """A segment of one record a partition."""
    header = SegmentHeader(
        record_count=PARTITION_COUNT,
        posting_count=PARTITION_COUNT,
        partition_record_counts=(1,) * PARTITION_COUNT,
        minimum_time_us=sequence,
        maximum_time_us=sequence,
        receipt_time_us=sequence,
        catalog_version=0,
        format_version=1,
        rating_version=1,
        tzdata_version="2026a",
        crc32=zlib.crc32(body),
        schema_id=0,
    )
    return Segment(sequence, sequence, header, body)


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def timed_writes(path: Path, body: bytes, count: int) -> list[float]:
    """Seconds of each of `count` flushed writes to a file that grows."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)

    def write() -> None:
        view = memoryview(body)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fdatasync(descriptor)

    try:
        return [timed(write) for _ in range(count)]
    finally:
        os.close(descriptor)
        path.unlink()


def timed_read(journal: SqliteJournal) -> tuple[float, str]:
    """(seconds to read all segments, SHA-256 of their bodies)."""
    start = time.perf_counter()
    for _ in journal.read():
        pass
    seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for read in journal.read():
        digest.update(read.body)
    return seconds, digest.hexdigest()


def bytes_written() -> int:
    """What this process has handed to the disk so far; 0 where the system does not tell."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        return 0
    fields = dict(line.split(": ") for line in counters.read_text().splitlines())
    return int(fields["write_bytes"])


def milliseconds(seconds: list[float], quantile: float) -> float:
    """The quantile of `seconds` by nearest rank, in milliseconds."""
    return round(sorted(seconds)[int(quantile * (len(seconds) - 1))] * 1e3, 3)


def main(arguments: list[str] | None = None) -> list[Result]:
    """Measure every size and print one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a size for the tests")
    parser.add_argument("--page-bytes", type=int, default=journal_file.PAGE_BYTES, help="SQLite's page size")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's temporary folder)")
    options = parser.parse_args(arguments)
    journal_file.PAGE_BYTES = options.page_bytes
    results = []
    for body_bytes, commits in SMOKE_SIZES if options.smoke else SIZES:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            results.append(measure(Path(folder), body_bytes, commits))
        print(json.dumps({"benchmark": "journal_commit", "page_bytes": options.page_bytes, **asdict(results[-1])}))
    return results


if __name__ == "__main__":
    main()
