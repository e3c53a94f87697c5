"""What a commit stores beside its segment: blocks of readings, values of BILLING channels, billing messages.

All of them are opaque bytes to the journal. Each has a **position**, `sequence << 24 | row`, with a row of its own kind
counted from 0; positions never change, and of two things under the same name the later position counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

POSITION_BITS = 24
ROWS_MAX = 1 << POSITION_BITS
"""Things of one kind in one commit."""


DELETIONS_BUCKET = -(1 << 31)
"""Blocks of this bucket, which no timestamp is in, take readings of their channel back: whoever reads a channel reads
these first."""


class SeriesName(NamedTuple):
    """A channel of a datasource."""

    datasource: str
    channel: str
    partition: int
    """The datasource's, by the same hash as customers'."""


class ReadingBlock(NamedTuple):
    """Readings of one channel in one stretch of time."""

    series: SeriesName
    bucket: int
    reading_count: int
    body: bytes
    crc32: int
    """`block_crc32` of all this; made by whoever makes the block, beside the writer."""


class BillingValueRow(NamedTuple):
    """One value of one BILLING channel."""

    series: SeriesName
    end_us: int
    start_us: int
    message_row: int
    """The row of its billing message in the same commit."""
    body: bytes


class MessageRow(NamedTuple):
    """One billing message."""

    datasource: str
    document: bytes


@dataclass(frozen=True, slots=True)
class Attached:
    """What one commit stores beside its segment."""

    receipt_time_us: int
    blocks: Sequence[ReadingBlock] = ()
    values: Sequence[BillingValueRow] = ()
    messages: Sequence[MessageRow] = ()

    def summary(self) -> AttachedSummary:
        """What the journal keeps of it as a whole."""
        crc32 = 0
        for block in self.blocks:
            crc32 = zlib.crc32(block.crc32.to_bytes(4, "little"), crc32)
        for value in self.values:
            crc32 = zlib.crc32(value_crc32(value).to_bytes(4, "little"), crc32)
        for message in self.messages:
            crc32 = zlib.crc32(message.document, crc32)
        return AttachedSummary(self.receipt_time_us, len(self.blocks), len(self.values), len(self.messages), crc32)


@dataclass(frozen=True, slots=True)
class AttachedSummary:
    """What a commit stored beside its segment, counted."""

    receipt_time_us: int
    block_count: int
    value_count: int
    message_count: int
    crc32: int
    """Over all of it."""


class StoredBlock(NamedTuple):
    """A block as the journal answers it."""

    position: int
    body: bytes


class ChannelBlock(NamedTuple):
    """A block of one of many channels."""

    number: int
    """Which of them."""
    bucket: int
    block: StoredBlock


class StoredValue(NamedTuple):
    """A value of a BILLING channel as the journal answers it."""

    end_us: int
    start_us: int
    position: int
    message_id: int
    body: bytes


class FiledBlock(NamedTuple):
    """A block, and what the directory says of it."""

    series: SeriesName
    bucket: int
    reading_count: int
    block: StoredBlock


class FiledValue(NamedTuple):
    """A value of a BILLING channel, and which channel that is."""

    series: SeriesName
    value: StoredValue


class StoredMessage(NamedTuple):
    """A billing message as the journal answers it."""

    message_id: int
    """Its position."""
    datasource: str
    document: bytes


class Acknowledged(NamedTuple):
    """What became of an acknowledgement: the ids of each outcome."""

    now: list[int]
    before: list[int]
    unknown: list[int]


def series_crc32(datasource: str, channel: str) -> int:
    """What the checksums of a channel's blocks begin with."""
    return zlib.crc32(f"{datasource}\0{channel}\0".encode())


def block_crc32(of_series: int, bucket: int, body: bytes) -> int:
    """Over a block and what it is filed under, so that neither can be mistaken for another's; `series_crc32` first."""
    return zlib.crc32(body, zlib.crc32(b"%d" % bucket, of_series))


def value_crc32(row: BillingValueRow) -> int:
    """The same of a BILLING channel's value."""
    name = f"{row.series.datasource}\0{row.series.channel}\0{row.end_us}\0{row.start_us}"
    return zlib.crc32(row.body, zlib.crc32(name.encode()))


def position_of(sequence: int, row: int) -> int:
    """The position of a row of a commit."""
    return sequence << POSITION_BITS | row


def sequence_of(position: int) -> int:
    """The commit that stored what is at a position."""
    return position >> POSITION_BITS
