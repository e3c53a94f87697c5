"""Blocks of readings, values of BILLING channels and billing messages as rows (see `file` for their tables)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import chain, count, groupby
from operator import itemgetter
from typing import Any

import apsw

from tallybook_server.journal.attached import (
    DELETIONS_BUCKET,
    Acknowledged,
    Attached,
    AttachedSummary,
    BillingValueRow,
    ChannelBlock,
    FiledBlock,
    FiledValue,
    SeriesName,
    StoredBlock,
    StoredMessage,
    StoredValue,
    block_crc32,
    position_of,
    sequence_of,
    series_crc32,
    value_crc32,
)
from tallybook_server.journal.sqlite.rows import RowDamageError

SERIES_ID = "SELECT series_id FROM series WHERE datasource = ? AND channel = ?"
HAS_SERIES = "SELECT 1 FROM series WHERE datasource = ?"
SERIES_IDS = "SELECT datasource, channel, series_id FROM series WHERE (datasource, channel) IN"
LAST_SERIES_ID = "SELECT ifnull(max(series_id), 0) FROM series"
BUCKETS_THERE_ARE = """
WITH RECURSIVE buckets (bucket) AS (
    SELECT min(bucket) FROM block_directory WHERE bucket BETWEEN :first AND :last
    UNION ALL
    SELECT (SELECT min(d.bucket) FROM block_directory d WHERE d.bucket > buckets.bucket AND d.bucket <= :last)
    FROM buckets WHERE buckets.bucket IS NOT NULL
)
SELECT bucket FROM buckets WHERE bucket IS NOT NULL
"""
"""Those of many that any channel has blocks in: they are found one by one in the directory."""
DATASOURCE_VALUES = """
SELECT channel, end_us, start_us, position, message_id, body, crc32
FROM series CROSS JOIN billing_values USING (series_id)
WHERE datasource = :datasource AND end_us >= :start AND position >= :first
AND (start_us < :end AND end_us > :start OR (start_us, end_us) = (:start, :end))
"""
FEW_BUCKETS = 128
"""Eleven years: buckets that are looked for with one query, whether a channel has blocks in them or not."""
EVERY_BLOCK = """
SELECT datasource, channel, partition, bucket, reading_count, directory.position, crc32, body
FROM block_directory directory LEFT JOIN series USING (series_id) LEFT JOIN block_bodies USING (position)
"""
EVERY_VALUE = """
SELECT datasource, channel, partition, end_us, start_us, position, message_id, body, crc32
FROM billing_values LEFT JOIN series USING (series_id)
"""
STORED_COUNTS = """
SELECT sequence, sum(blocks), sum(entries), sum(billed), sum(messages) FROM (
    SELECT position >> 24 AS sequence, 1 AS blocks, 0 AS entries, 0 AS billed, 0 AS messages FROM block_bodies
    UNION ALL SELECT position >> 24, 0, 1, 0, 0 FROM block_directory
    UNION ALL SELECT position >> 24, 0, 0, 1, 0 FROM billing_values
    UNION ALL SELECT message_id >> 24, 0, 0, 0, 1 FROM billing_messages
    UNION ALL SELECT sequence, 0, 0, 0, 0 FROM attached
) GROUP BY sequence
"""
"""How much there is of each commit."""
ROWS_AT_ONCE = 100
"""Rows that are written, and names that are looked up, with one statement."""


@cache
def blocks_of_buckets(bucket_count: int) -> str:
    """The query of a channel's blocks in so many buckets, in order of bucket and position as the directory has them."""
    return f"""
SELECT directory.bucket, directory.position, bodies.crc32, bodies.body
FROM series CROSS JOIN block_directory directory LEFT JOIN block_bodies bodies USING (position)
WHERE series.datasource = ? AND series.channel = ? AND directory.series_id = series.series_id
AND directory.bucket IN ({", ".join("?" * bucket_count)}) AND directory.position < ?
ORDER BY directory.bucket, directory.position
"""


@cache
def blocks_of_channels(channel_count: int, bucket_count: int) -> str:
    """The query of the blocks of so many channels in so many buckets, channel by channel and in no other order."""
    return f"""
WITH wanted (number, datasource, channel) AS (VALUES {", ".join(["(?, ?, ?)"] * channel_count)})
SELECT wanted.number, directory.bucket, directory.position, bodies.crc32, bodies.body
FROM wanted CROSS JOIN series USING (datasource, channel)
CROSS JOIN block_directory directory LEFT JOIN block_bodies bodies USING (position)
WHERE directory.series_id = series.series_id
AND directory.bucket IN ({", ".join("?" * bucket_count)}) AND directory.position < ?
"""


class SeriesIds:
    """Numbers of the channels that were named before, for the one writer."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}

    def begin(self) -> NewSeries:
        """What one commit names."""
        return NewSeries(self._known, {})

    def keep(self, named: NewSeries) -> None:
        """Once the commit is made; what a failed one named was never stored."""
        self._known.update(named.found)

    def forget(self) -> None:
        """Everything: the file is asked again."""
        self._known = {}


class NewSeries:
    """Numbers of channels within one commit."""

    def __init__(self, known: dict[tuple[str, str], int], found: dict[tuple[str, str], int]) -> None:
        self._known = known
        self.found = found

    def ids_of(self, connection: apsw.Connection, names: Sequence[SeriesName]) -> list[int]:
        """The numbers of channels, which those get here that have none."""
        unknown = {name[:2]: name for name in names if name[:2] not in self._known and name[:2] not in self.found}
        every = list(unknown)
        for start in range(0, len(every), ROWS_AT_ONCE):
            keys = every[start : start + ROWS_AT_ONCE]
            query = f"{SERIES_IDS} (VALUES {', '.join(['(?, ?)'] * len(keys))})"
            rows: Any = connection.execute(query, list(chain(*keys))).fetchall()
            self.found.update({(datasource, channel): series_id for datasource, channel, series_id in rows})
            missing = [key for key in keys if key not in self.found]
            if missing:
                last: Any = connection.execute(LAST_SERIES_ID).fetchall()[0][0]
                self.found.update(zip(missing, count(last + 1), strict=False))
                _insert_rows(connection, "series", [(self.found[key], *unknown[key]) for key in missing])
        return [self._known.get(name[:2]) or self.found[name[:2]] for name in names]


def insert_attached(connection: apsw.Connection, sequence: int, attached: Attached, named: NewSeries) -> None:
    """Everything that a commit stores beside its segment."""
    summary = attached.summary()
    row = (
        sequence,
        summary.receipt_time_us,
        summary.block_count,
        summary.value_count,
        summary.message_count,
        summary.crc32,
    )
    connection.execute("INSERT INTO attached VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, _row_crc32(row)))
    first = position_of(sequence, 0)
    blocks = attached.blocks
    _insert_rows(
        connection,
        "block_bodies",
        [(position, block.crc32, block.body) for position, block in enumerate(blocks, first)],
    )
    # Sorted, neighbours in the directory are written together.
    series_ids = named.ids_of(connection, [block.series for block in blocks])
    entries = sorted(
        (block.bucket, series_id, position, block.reading_count)
        for position, (block, series_id) in enumerate(zip(blocks, series_ids, strict=True), first)
    )
    _insert_rows(connection, "block_directory", entries)
    series_ids = named.ids_of(connection, [row.series for row in attached.values])
    connection.executemany(
        "INSERT INTO billing_values VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (series_id, row.end_us, row.start_us, position, first + row.message_row, value_crc32(row), row.body)
            for position, (row, series_id) in enumerate(zip(attached.values, series_ids, strict=True), first)
        ),
    )
    for message_id, message in enumerate(attached.messages, first):
        values = (message_id, message.datasource, zlib.crc32(message.document), message.document)
        connection.execute("INSERT INTO billing_messages VALUES (?, ?, ?, ?)", values)
        connection.execute("INSERT INTO outbox VALUES (?)", (message_id,))


def _insert_rows(connection: apsw.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Many to a statement: each statement gives the interpreter lock away, and waits for it where others decode."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        row = f"({', '.join('?' * len(some[0]))})"
        connection.execute(f"INSERT INTO {table} VALUES {', '.join([row] * len(some))}", list(chain(*some)))


def acknowledge(connection: apsw.Connection, message_ids: Sequence[int]) -> Acknowledged:
    """Takes messages out of the outbox."""
    answer = Acknowledged([], [], [])
    for message_id in dict.fromkeys(message_ids):
        key = (message_id,)
        if connection.execute("DELETE FROM outbox WHERE message_id = ? RETURNING 1", key).fetchall():
            answer.now.append(message_id)
        elif connection.execute("SELECT 1 FROM billing_messages WHERE message_id = ?", key).fetchone():
            answer.before.append(message_id)
        else:
            answer.unknown.append(message_id)
    return answer


class AttachedReader:
    """Reads within one transaction; raises `RowDamageError`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def summary(self, sequence: int) -> AttachedSummary | None:
        """What a commit stored beside its segment."""
        row: Any = self._connection.execute("SELECT * FROM attached WHERE sequence = ?", (sequence,)).fetchone()
        if row is None:
            return None
        if _row_crc32(row[:-1]) != row[-1]:
            raise RowDamageError("it fails its checksum")
        return AttachedSummary(*row[1:-1])

    def receipt_time_us(self, sequence: int) -> int:
        """When a commit that stored something here was received."""
        found = self.summary(sequence)
        if found is None:
            raise RowDamageError(f"the row of sequence {sequence} is missing")
        return found.receipt_time_us

    def has_series(self, datasource: str, channel: str | None) -> bool:
        """See `interface.Journal.has_series`."""
        if channel is not None:
            return self._series_id(datasource, channel) is not None
        return self._connection.execute(HAS_SERIES, (datasource,)).fetchone() is not None

    def blocks(
        self, datasource: str, channel: str, first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[tuple[int, list[StoredBlock]]]:
        """See `interface.Journal.blocks`."""
        end = position_of(upto_sequence + 1, 0)
        crc32_before = series_crc32(datasource, channel)
        every = DELETIONS_BUCKET, *self._buckets(first_bucket, last_bucket)
        for start in range(0, len(every), FEW_BUCKETS):
            some = every[start : start + FEW_BUCKETS]
            cursor = self._connection.execute(blocks_of_buckets(len(some)), (datasource, channel, *some, end))
            # Whoever reads no further leaves rows behind, and nothing must be open when the transaction ends.
            with closing(cursor):
                rows: Any = cursor
                for bucket, of_bucket in groupby(rows, key=itemgetter(0)):
                    yield bucket, [_block(crc32_before, *row) for row in of_bucket]

    def blocks_of_channels(
        self, channels: Sequence[tuple[str, str]], first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[ChannelBlock]:
        """See `interface.Journal.blocks_of_channels`."""
        end = position_of(upto_sequence + 1, 0)
        every = DELETIONS_BUCKET, *self._buckets(first_bucket, last_bucket)
        crc32_before = [series_crc32(*each) for each in channels]
        for start in range(0, len(channels), ROWS_AT_ONCE):
            names = [(number, *channels[number]) for number in range(start, min(start + ROWS_AT_ONCE, len(channels)))]
            for begin in range(0, len(every), FEW_BUCKETS):
                some = every[begin : begin + FEW_BUCKETS]
                query = blocks_of_channels(len(names), len(some))
                with closing(self._connection.execute(query, (*chain(*names), *some, end))) as cursor:
                    rows: Any = cursor
                    for number, bucket, *row in rows:
                        try:
                            block = _block(crc32_before[number], bucket, *row)
                        except RowDamageError as damage:
                            raise RowDamageError(f"of {channels[number]}, {damage}") from None
                        yield ChannelBlock(number, bucket, block)

    def _buckets(self, first: int, last: int) -> Sequence[int]:
        """Those between two that a channel may have blocks in."""
        if last - first < FEW_BUCKETS:
            return range(first, last + 1)
        found: Any = self._connection.execute(BUCKETS_THERE_ARE, {"first": first, "last": last}).fetchall()
        return [bucket for (bucket,) in found]

    def values(
        self, datasource: str, channel: str, start_us: int, end_us: int, upto_sequence: int
    ) -> Iterator[StoredValue]:
        """See `interface.Journal.billing_values`."""
        series_id = self._series_id(datasource, channel)
        if series_id is None:
            return
        query = (
            "SELECT end_us, start_us, position, message_id, body, crc32 FROM billing_values "
            "WHERE series_id = ? AND end_us >= ? AND end_us < ? AND position < ? ORDER BY end_us, start_us, position"
        )
        bounds = (series_id, start_us, end_us, position_of(upto_sequence + 1, 0))
        name = SeriesName(datasource, channel, 0)
        for row in self._connection.execute(query, bounds):
            yield _checked_value(name, row)

    def datasource_values(
        self, datasource: str, start_us: int, end_us: int, after_sequence: int
    ) -> Iterator[tuple[str, StoredValue]]:
        """See `interface.Journal.datasource_values`."""
        first = position_of(after_sequence + 1, 0)
        bindings = {"datasource": datasource, "start": start_us, "end": end_us, "first": first}
        with closing(self._connection.execute(DATASOURCE_VALUES, bindings)) as cursor:
            rows: Any = cursor
            for channel, *row in rows:
                yield channel, _checked_value(SeriesName(datasource, channel, 0), row)

    def messages(self, after_id: int) -> Iterator[StoredMessage]:
        """See `interface.Journal.billing_messages`."""
        query = (
            "SELECT outbox.message_id, datasource, document, crc32 FROM outbox LEFT JOIN billing_messages "
            "USING (message_id) WHERE outbox.message_id > ? ORDER BY outbox.message_id"
        )
        for message_id, datasource, document, crc32 in self._connection.execute(query, (after_id,)):
            if document is None or zlib.crc32(document) != crc32:
                raise RowDamageError(f"message {message_id:016x} is missing or fails its checksum")
            yield StoredMessage(message_id, datasource, document)

    def everything(self) -> Iterator[FiledBlock | FiledValue]:
        """See `SqliteJournal.everything`."""
        for datasource, channel, partition, bucket, reading_count, position, crc32, body in self._connection.execute(
            EVERY_BLOCK
        ):
            name = self._named(datasource, channel, partition, position)
            block = _block(series_crc32(datasource, channel), bucket, position, crc32, body)
            yield FiledBlock(name, bucket, reading_count, block)
        for datasource, channel, partition, *row in self._connection.execute(EVERY_VALUE):
            name = self._named(datasource, channel, partition, row[2])
            yield FiledValue(name, _checked_value(name, row))
        self._check_messages()
        for sequence, *counts in self._connection.execute(STORED_COUNTS):
            summary = self.summary(sequence)
            if summary is None:
                raise RowDamageError(f"the row of sequence {sequence} is missing")
            told = [summary.block_count, summary.block_count, summary.value_count, summary.message_count]
            if counts != told:
                raise RowDamageError(
                    f"sequence {sequence} stored {told} blocks, entries of the directory, billing values and messages, "
                    f"and {counts} are there"
                )

    def _named(self, datasource: str | None, channel: str, partition: int, position: int) -> SeriesName:
        if datasource is None:
            raise RowDamageError(f"the channel of what sequence {sequence_of(position)} stored is missing")
        return SeriesName(datasource, channel, partition)

    def _check_messages(self) -> None:
        for message_id, document, crc32 in self._connection.execute(
            "SELECT message_id, document, crc32 FROM billing_messages"
        ):
            if zlib.crc32(document) != crc32:
                raise RowDamageError(f"message {message_id:016x} fails its checksum")

    def _series_id(self, datasource: str, channel: str) -> int | None:
        row: Any = self._connection.execute(SERIES_ID, (datasource, channel)).fetchone()
        return None if row is None else int(row[0])


def _block(crc32_before: int, bucket: int, position: int, crc32: int | None, body: bytes) -> StoredBlock:
    """A block as its row has it, with the checksum that those of its channel begin with."""
    if crc32 is None:
        raise RowDamageError(f"the block that sequence {sequence_of(position)} stored is missing")
    if block_crc32(crc32_before, bucket, body) != crc32:
        raise RowDamageError(f"the block that sequence {sequence_of(position)} stored fails its checksum")
    return StoredBlock(position, body)


def _checked_value(name: SeriesName, row: Sequence[Any]) -> StoredValue:
    """A value of a row that ends with its checksum."""
    found = StoredValue(*row[:-1])
    if value_crc32(BillingValueRow(name, found.end_us, found.start_us, 0, found.body)) != row[-1]:
        raise RowDamageError(f"the value that sequence {sequence_of(found.position)} stored fails its checksum")
    return found


def _row_crc32(row: Sequence[int]) -> int:
    return zlib.crc32(struct.pack(f"<{len(row)}q", *row))
