"""Segments for tests of the journal: four partitions, and a body that tells its sequence."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from typing import Any

from tallybook_server.journal.attached import (
    Attached,
    BillingValueRow,
    MessageRow,
    ReadingBlock,
    SeriesName,
    block_crc32,
    series_crc32,
)
from tallybook_server.journal.interface import Journal, Segment, SegmentHeader

PARTITION_COUNT = 4


def segment(first: int, body: bytes | None = None, *, last: int | None = None, **header: Any) -> Segment:
    """A segment from sequence `first` to `last` with one row a partition and sequence, and two postings a sequence."""
    last = first if last is None else last
    commits = last - first + 1
    body = body_of(first) if body is None else body
    made = SegmentHeader(
        record_count=PARTITION_COUNT * commits,
        posting_count=2 * commits,
        partition_record_counts=(commits,) * PARTITION_COUNT,
        minimum_time_us=-1_000,
        maximum_time_us=2_000 + last,
        receipt_time_us=3_000 + last,
        catalog_version=0,
        format_version=1,
        rating_version=1,
        tzdata_version="2026a",
        crc32=zlib.crc32(body),
        schema_id=0,
    )
    return Segment(first, last, replace(made, **header), body)


def body_of(sequence: int, size_bytes: int = 100) -> bytes:
    """Bytes that no other sequence has."""
    return random.Random(sequence).randbytes(size_bytes)


def fill(journal: Journal, count: int, size_bytes: int = 100) -> list[Segment]:
    """Claim the journal and append `count` segments; answers them."""
    journal.claim()
    start = journal.last_sequence
    segments = [segment(sequence, body_of(sequence, size_bytes)) for sequence in range(start + 1, start + count + 1)]
    for appended in segments:
        journal.append(appended.first_sequence - 1, appended)
    return segments


def attached(sequence: int, size_bytes: int = 100) -> Attached:
    """What a commit stores beside its segment: blocks of two meters and three buckets, two values and a message."""
    series = [SeriesName(f"meter {number}", "load", number % PARTITION_COUNT) for number in (1, sequence)]
    billing = SeriesName("meter 0", "BILLING", 0)
    return Attached(
        5_000 + sequence,
        [
            block(name, bucket, body_of(100 * sequence + 10 * index + bucket, size_bytes))
            for index, name in enumerate(series)
            for bucket in (-1, 0, 2)
        ],
        [
            BillingValueRow(billing, 1_000 + end, 500 * (sequence % 2), 0, body_of(sequence + end, 50))
            for end in (0, sequence)
        ],
        [MessageRow("meter 0", body_of(-sequence, size_bytes))],
    )


def block(series: SeriesName, bucket: int, body: bytes) -> ReadingBlock:
    """A block with its checksum."""
    crc32 = block_crc32(series_crc32(series.datasource, series.channel), bucket, body)
    return ReadingBlock(series, bucket, len(body), body, crc32)
