"""Segments as rows: the header with a checksum of its own, the body cut into parts."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from tallybook_server.journal.interface import Segment, SegmentHeader, SegmentSummary

PART_BYTES = 1 << 20
"""Longest part of a body in one row: large enough to cost nothing, small enough that a commit copies no whole body."""
PART_BITS = 16
"""A part's position is its owner's number shifted by this, plus the part's index: 64 Ki parts an owner."""

SEGMENT_COLUMNS = (
    "last_sequence, first_sequence, record_count, posting_count, partition_record_counts, minimum_time_us, "
    "maximum_time_us, receipt_time_us, catalog_version, format_version, rating_version, tzdata_version, crc32, "
    "schema_id, body_bytes, row_crc32"
)
INSERT_SEGMENT = (
    f"INSERT INTO segments ({SEGMENT_COLUMNS}) VALUES ({', '.join('?' for _ in SEGMENT_COLUMNS.split(','))})"
)


class RowDamageError(Exception):
    """A row or a body is not what was written; the message says which and how."""


def segment_row(segment: Segment) -> tuple[Any, ...]:
    """The row of `SEGMENT_COLUMNS`."""
    header = segment.header
    row = (
        segment.last_sequence,
        segment.first_sequence,
        header.record_count,
        header.posting_count,
        struct.pack(f"<{len(header.partition_record_counts)}I", *header.partition_record_counts),
        header.minimum_time_us,
        header.maximum_time_us,
        header.receipt_time_us,
        header.catalog_version,
        header.format_version,
        header.rating_version,
        header.tzdata_version,
        header.crc32,
        header.schema_id,
        len(segment.body),
    )
    return (*row, _row_crc32(row))


def summary_of(row: tuple[Any, ...]) -> SegmentSummary:
    """The segment of a row, whose checksum is verified; raises `RowDamageError`."""
    if _row_crc32(row[:-1]) != row[-1]:
        raise RowDamageError(f"the header of the segment that ends at sequence {row[0]} fails its checksum")
    counts = struct.unpack(f"<{len(row[4]) // 4}I", row[4])
    return SegmentSummary(row[1], row[0], SegmentHeader(row[2], row[3], counts, *row[5:14]), row[14])


def write_body(connection: apsw.Connection, table: str, owner: int, body: bytes) -> None:
    """Insert the parts of `owner`'s body."""
    view = memoryview(body)
    parts = (view[start : start + PART_BYTES] for start in range(0, len(view), PART_BYTES))
    rows = ((owner << PART_BITS | index, part) for index, part in enumerate(parts))
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)


def delete_bodies(connection: apsw.Connection, table: str, first_owner: int, last_owner: int) -> None:
    """Remove the bodies of a run of owners, both inclusive."""
    bounds = (first_owner << PART_BITS, (last_owner + 1) << PART_BITS)
    connection.execute(f"DELETE FROM {table} WHERE position >= ? AND position < ?", bounds)


def parts_from(connection: apsw.Connection, table: str, first_owner: int) -> Iterator[tuple[int, bytes]]:
    """(position, part) of `first_owner` and all after it, in order."""
    query = f"SELECT position, part FROM {table} WHERE position >= ? ORDER BY position"
    return connection.execute(query, (first_owner << PART_BITS,))


def take_body(parts: Iterable[tuple[int, bytes]], owner: int, body_bytes: int, crc32: int) -> bytes:
    """The next body of `parts`, whole and verified; raises `RowDamageError`."""
    taken: list[bytes] = []
    length = 0
    if body_bytes:
        for index, (position, part) in enumerate(parts):
            if position != owner << PART_BITS | index:
                raise RowDamageError("a part of the body is missing")
            taken.append(part)
            length += len(part)
            if length >= body_bytes:
                break
    body = taken[0] if len(taken) == 1 else b"".join(taken)
    if length != body_bytes or zlib.crc32(body) != crc32:
        raise RowDamageError(f"the body fails its checksum ({length} of {body_bytes} bytes read)")
    return body


def _row_crc32(row: tuple[Any, ...]) -> int:
    *numbers, text = (value for value in (*row[:4], *row[5:11], *row[12:], row[11]))
    return zlib.crc32(struct.pack(f"<{len(numbers)}q", *numbers) + text.encode() + b"\0" + row[4])
