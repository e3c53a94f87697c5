"""Readings that are taken back: a block that says which, stored as a delivery is."""

from __future__ import annotations

from typing import NamedTuple

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.determinants.deletions import Deletion, encode_deletion
from tallybook_engine.determinants.readings import FIRST_LABEL_US, LAST_LABEL_US
from tallybook_server.errors import field_invalid
from tallybook_server.journal.attached import DELETIONS_BUCKET, ReadingBlock, SeriesName, block_crc32, series_crc32
from tallybook_server.services.stored_lists import ListedBook, require, require_known, stretch_of
from tallybook_server.stored_readings import count_left
from tallybook_server.writer import Parcel


class Found(NamedTuple):
    """What a request takes back."""

    deleted_count: int
    parcel: Parcel
    """Empty where there is nothing to take back."""


def found_deletion(book: ListedBook, request: wire.DeleteReadingsRequest) -> Found:
    """What a request takes back of the readings that are stored now. Raises Fault."""
    require(request, "datasource", "channel")
    if request.sequence < 0:
        raise field_invalid("sequence", "is below 0")
    start_us, end_us = stretch_of(request)
    last = book.committed_sequence()
    deletion = Deletion(
        FIRST_LABEL_US if start_us is None else start_us,
        LAST_LABEL_US if end_us is None else end_us - 1,
        request.sequence or 1,
        book.committed_sequence(request.sequence) if request.sequence else last,
        # The next commit at the earliest.
        last + 1,
    )
    count = 0
    if deletion.first_us <= deletion.last_us:
        count = count_left(book.readings, request.datasource, request.channel, deletion, last)
    if not count:
        require_known(book, request.datasource, request.channel)
        return Found(0, Parcel())
    (partition,) = book.partitions([request.datasource])
    series = SeriesName(request.datasource, request.channel, partition)
    body = encode_deletion(deletion)
    crc32 = block_crc32(series_crc32(series.datasource, series.channel), DELETIONS_BUCKET, body)
    return Found(count, Parcel([ReadingBlock(series, DELETIONS_BUCKET, count, body, crc32)]))
