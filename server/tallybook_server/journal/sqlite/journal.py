"""The journal of one book in one SQLite file (see `interface.Journal` for what its methods owe)."""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from tallybook_server.journal.attached import (
    Acknowledged,
    Attached,
    AttachedSummary,
    ChannelBlock,
    FiledBlock,
    FiledValue,
    StoredBlock,
    StoredMessage,
    StoredValue,
)
from tallybook_server.journal.checks import check_append, check_attached, check_catalog_version, check_replacement
from tallybook_server.journal.interface import (
    CatalogVersion,
    CommitFailed,
    Fenced,
    OutcomeUnknown,
    Segment,
    SegmentSummary,
    SequenceConflict,
    SnapshotPart,
    UnknownSequence,
    UnreadableJournal,
)
from tallybook_server.journal.sqlite import file as journal_file
from tallybook_server.journal.sqlite.attached import AttachedReader, SeriesIds, acknowledge, insert_attached
from tallybook_server.journal.sqlite.connections import ReadConnections
from tallybook_server.journal.sqlite.faults import damaged, not_written, reading
from tallybook_server.journal.sqlite.rows import (
    INSERT_SEGMENT,
    SEGMENT_COLUMNS,
    RowDamageError,
    delete_bodies,
    parts_from,
    segment_row,
    summary_of,
    take_body,
    write_body,
)

logger = logging.getLogger(__name__)

DEFAULT_PARTITION_COUNT = 16
LAST_SEQUENCE = "SELECT ifnull(max(last_sequence), 0) FROM segments"


class SqliteJournal:
    """One writing connection, guarded by a lock and by the epoch; a reading connection for every concurrent reader."""

    def __init__(self, file: journal_file.JournalFile, *, read_only: bool) -> None:
        """Use `open`."""
        self._file = file
        self._path = file.path
        self._read_only = read_only
        self._readers = ReadConnections(file)
        self._write_lock = threading.Lock()
        self._writer: apsw.Connection | None = None
        self._epoch = 0
        self._log_bytes = 0
        self._outcome_is_unknown = False
        self._schema_ids: dict[bytes, int] = {}
        self._series_ids = SeriesIds()
        with self._readers.snapshot() as connection:
            self.hash_key, self.partition_count = journal_file.check(file, connection)
        self._check_last_segment()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        read_only: bool = False,
        partition_count: int = DEFAULT_PARTITION_COUNT,
        vfs: str | None = None,
        synchronous: str = "FULL",
    ) -> SqliteJournal:
        """Open the journal at `path`, or make an empty one of `partition_count` partitions where there is no file.

        `read_only` is for a second process, such as a verification beside a running server: it makes no file, takes
        no lock that a writer waits for, and refuses to write. `vfs` and `synchronous` are for tests.

        Raises `UnreadableJournal` for a file that is no journal, is of another format, or under a SQLite that could
        corrupt it; `DamagedJournal` for one that is cut short or whose last segment is not what was written.
        """
        journal_file.require_sqlite()
        file = journal_file.JournalFile(path, vfs, synchronous)
        if not path.exists():
            if read_only:
                raise UnreadableJournal(f"{path}: there is no such file")
            journal_file.create(file, partition_count)
        elif path.stat().st_size == 0:
            raise UnreadableJournal(f"{path}: the file is empty. Put a backup in its place, or remove it to begin anew")
        return cls(file, read_only=read_only)

    @property
    def last_sequence(self) -> int:
        if self._outcome_is_unknown:
            self._settle()
        with self._reading() as connection:
            return _single(connection.execute(LAST_SEQUENCE))

    def claim(self) -> int:
        with self._write_lock:
            if self._writer is None:
                self._writer = self._open_writer()
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                query = "UPDATE journal SET epoch = epoch + 1 RETURNING epoch"
                epoch = _single(self._writer.execute(query))
                self._writer.execute("COMMIT")
                self._epoch = epoch
            except apsw.Error as error:
                _roll_back(self._writer)
                raise not_written(self._path, error) from error
            # Another writer may have named others meanwhile.
            self._series_ids.forget()
            return self._epoch

    def append(self, expected_sequence: int, segment: Segment, attached: Attached | None = None) -> None:
        named = self._series_ids.begin()
        with self._commit() as connection:
            last_sequence = _single(connection.execute(LAST_SEQUENCE))
            if last_sequence != expected_sequence:
                raise SequenceConflict(f"{self._path}: expected to end at {expected_sequence}, ends at {last_sequence}")
            header = segment.header
            check_append(
                segment,
                expected_sequence,
                self.partition_count,
                has_schema=_exists(connection, "schemas", "schema_id", header.schema_id),
                has_catalog_version=_exists(connection, "catalog_versions", "version", header.catalog_version),
            )
            _insert_segment(connection, segment)
            if attached is not None:
                check_attached(attached)
                insert_attached(connection, segment.last_sequence, attached, named)
        self._series_ids.keep(named)

    def read(self, after_sequence: int = 0, upto: int | None = None) -> Iterator[Segment]:
        with self._reading(f"a segment after sequence {after_sequence}") as connection:
            summaries = self._summaries(connection, after_sequence)
            parts: Iterator[tuple[int, bytes]] | None = None
            for summary in summaries:
                if upto is not None and summary.first_sequence > upto:
                    return
                if parts is None:
                    parts = parts_from(connection, "segment_bodies", summary.last_sequence)
                yield self._segment(summary, parts)

    def segment_of(self, sequence: int) -> Segment:
        with self._reading(f"the segment of sequence {sequence}") as connection:
            query = f"SELECT {SEGMENT_COLUMNS} FROM segments WHERE last_sequence >= ? ORDER BY last_sequence LIMIT 1"
            row = connection.execute(query, (sequence,)).fetchone()
            if row is None or sequence < 1:
                raise UnknownSequence(f"{self._path}: sequence {sequence} is not in the journal")
            summary = self._summary(row)
            return self._segment(summary, parts_from(connection, "segment_bodies", summary.last_sequence))

    def headers(self, after_sequence: int = 0) -> list[SegmentSummary]:
        with self._reading(f"a header after sequence {after_sequence}") as connection:
            return list(self._summaries(connection, after_sequence))

    def replace(self, merged: Segment) -> None:
        bounds = (merged.first_sequence, merged.last_sequence)
        with self._commit() as connection:
            query = f"SELECT {SEGMENT_COLUMNS} FROM segments WHERE last_sequence BETWEEN ? AND ? ORDER BY last_sequence"
            check_replacement(merged, [self._summary(row) for row in connection.execute(query, bounds)])
            connection.execute("DELETE FROM segments WHERE last_sequence BETWEEN ? AND ?", bounds)
            delete_bodies(connection, "segment_bodies", *bounds)
            _insert_segment(connection, merged)

    def put_schema(self, schema: bytes) -> int:
        known = self._schema_ids.get(schema)
        if known is not None:
            return known
        with self._commit() as connection:
            found: Any = connection.execute("SELECT schema_id FROM schemas WHERE schema = ?", (schema,)).fetchone()
            if found is None:
                query = "INSERT INTO schemas VALUES (NULL, ?, ?) RETURNING schema_id"
                found = connection.execute(query, (zlib.crc32(schema), schema)).fetchall()[0]
        self._schema_ids[schema] = int(found[0])
        return self._schema_ids[schema]

    def schema(self, schema_id: int) -> bytes:
        with self._reading(f"schema {schema_id}") as connection:
            row = connection.execute("SELECT schema, crc32 FROM schemas WHERE schema_id = ?", (schema_id,)).fetchone()
            if row is None:
                raise UnknownSequence(f"{self._path}: schema {schema_id} is not in the journal")
            return self._verified(f"schema {schema_id}", *row)

    def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
        put = CatalogVersion(version, parent, difference)
        with self._commit() as connection:
            query = "SELECT version, parent, difference FROM catalog_versions WHERE version = ?"
            row = connection.execute(query, (version,)).fetchone()
            stored = None if row is None else CatalogVersion(*row)
            check_catalog_version(put, stored, _exists(connection, "catalog_versions", "version", parent))
            if stored is None:
                values = (version, parent, zlib.crc32(difference), difference)
                connection.execute("INSERT INTO catalog_versions VALUES (?, ?, ?, ?)", values)

    def catalog_versions(self) -> list[CatalogVersion]:
        with self._reading("a catalogue version") as connection:
            query = "SELECT version, parent, difference, crc32 FROM catalog_versions ORDER BY version"
            return [
                CatalogVersion(version, parent, self._verified(f"catalogue version {version}", difference, crc32))
                for version, parent, difference, crc32 in connection.execute(query)
            ]

    def put_snapshot_part(self, sequence: int, name: str, body: bytes) -> None:
        with self._commit() as connection:
            _delete_snapshot_parts(connection, "sequence = ? AND name = ?", (sequence, name))
            row = (sequence, name, zlib.crc32(body), len(body))
            query = "INSERT INTO snapshot_parts VALUES (NULL, ?, ?, ?, ?) RETURNING part_id"
            write_body(connection, "snapshot_bodies", _single(connection.execute(query, row)), body)

    def snapshot_parts(self) -> list[SnapshotPart]:
        with self._reading("the list of snapshot parts") as connection:
            query = "SELECT sequence, name, body_bytes FROM snapshot_parts ORDER BY sequence, name"
            return [SnapshotPart(*row) for row in connection.execute(query)]

    def snapshot_part(self, sequence: int, name: str) -> bytes:
        what = f"snapshot part {name!r} of sequence {sequence}"
        with self._reading(what) as connection:
            query = "SELECT part_id, body_bytes, crc32 FROM snapshot_parts WHERE sequence = ? AND name = ?"
            row = connection.execute(query, (sequence, name)).fetchone()
            if row is None:
                raise UnknownSequence(f"{self._path}: no {what}")
            with self._naming(what):
                return take_body(parts_from(connection, "snapshot_bodies", row[0]), *row)

    def drop_snapshots_before(self, sequence: int, name: str) -> None:
        with self._commit() as connection:
            _delete_snapshot_parts(connection, "sequence < ? AND name = ?", (sequence, name))

    def attached_summary(self, sequence: int) -> AttachedSummary | None:
        what = f"what sequence {sequence} stored beside its segment"
        with self._attached_reader(what) as reader:
            return reader.summary(sequence)

    def receipt_times(self, sequences: Iterable[int]) -> dict[int, int]:
        with self._attached_reader("when readings were received") as reader:
            return {sequence: reader.receipt_time_us(sequence) for sequence in sequences}

    def has_series(self, datasource: str, channel: str | None = None) -> bool:
        with self._attached_reader(f"channels of {datasource!r}") as reader:
            return reader.has_series(datasource, channel)

    def blocks(
        self, datasource: str, channel: str, first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[tuple[int, list[StoredBlock]]]:
        with self._attached_reader(f"readings of {datasource!r}, channel {channel!r}") as reader:
            yield from reader.blocks(datasource, channel, first_bucket, last_bucket, upto_sequence)

    def blocks_of_channels(
        self, channels: Sequence[tuple[str, str]], first_bucket: int, last_bucket: int, upto_sequence: int
    ) -> Iterator[ChannelBlock]:
        with self._attached_reader(f"readings of {len(channels)} channels") as reader:
            yield from reader.blocks_of_channels(channels, first_bucket, last_bucket, upto_sequence)

    def billing_values(
        self, datasource: str, channel: str, start_us: int, end_us: int, upto_sequence: int
    ) -> Iterator[StoredValue]:
        with self._attached_reader(f"values of {datasource!r}, channel {channel!r}") as reader:
            yield from reader.values(datasource, channel, start_us, end_us, upto_sequence)

    def datasource_values(
        self, datasource: str, start_us: int, end_us: int, after_sequence: int = 0
    ) -> Iterator[tuple[str, StoredValue]]:
        with self._attached_reader(f"values of {datasource!r}") as reader:
            yield from reader.datasource_values(datasource, start_us, end_us, after_sequence)

    def billing_messages(self, after_id: int) -> Iterator[StoredMessage]:
        with self._attached_reader("a billing message") as reader:
            yield from reader.messages(after_id)

    def acknowledge(self, message_ids: Sequence[int]) -> Acknowledged:
        with self._commit() as connection:
            return acknowledge(connection, message_ids)

    def everything(self) -> Iterator[FiledBlock | FiledValue]:
        """Every block and every value of a BILLING channel, as of one moment, and then that no commit lacks any.

        DamagedJournal for the first that is missing, or not as it was written, or has no entry in the directory.
        """
        with self._attached_reader("readings and billing values") as reader:
            yield from reader.everything()

    @contextmanager
    def _attached_reader(self, what: str) -> Iterator[AttachedReader]:
        with self._reading(what) as connection, self._naming(what):
            yield AttachedReader(connection)

    def close(self) -> None:
        # The writer last: whoever leaves last writes the log back, and a reader may not.
        self._readers.close()
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _open_writer(self) -> apsw.Connection:
        if self._read_only:
            raise Fenced(f"{self._path}: opened for reading only")
        connection = self._file.connect(read_only=False)
        connection.set_wal_hook(self._note_log)
        return connection

    def _note_log(self, _connection: apsw.Connection, _database: str, frames: int) -> int:
        self._log_bytes = frames * journal_file.PAGE_BYTES
        return apsw.SQLITE_OK

    def _write_log_back(self, connection: apsw.Connection) -> None:
        """After the commit, whose outcome stands: if this fails the log keeps what the file lacks, and grows."""
        if self._log_bytes < journal_file.CHECKPOINT_BYTES:
            return
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            logger.warning("%s: the log could not be written back, the next commit tries again: %s", self._path, error)

    @contextmanager
    def _commit(self) -> Iterator[apsw.Connection]:
        """One transaction of the claimant: committed and on the disk when the block is left, else not begun.

        Until COMMIT is asked for, a failure leaves nothing behind. A COMMIT that fails for lack of room has not written
        its mark at the end of the log: the system says so when it writes, never when it syncs. One that fails otherwise
        may have put the whole transaction into the log, where SQLite does not see it but the recovery after a crash
        would: its outcome is unknown until something is committed over it.
        """
        with self._write_lock:
            connection = self._writer
            if connection is None:
                raise Fenced(f"{self._path}: claim the journal before writing to it")
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._require_epoch(connection)
                yield connection
            except BaseException as error:
                _roll_back(connection)
                if isinstance(error, apsw.Error):
                    raise not_written(self._path, error) from error
                raise
            try:
                connection.execute("COMMIT")
            except apsw.Error as error:
                _roll_back(connection)
                if isinstance(error, apsw.FullError):
                    raise not_written(self._path, error) from error
                self._outcome_is_unknown = True
                raise OutcomeUnknown(f"{self._path}: the commit was not confirmed by the disk: {error}") from error
            self._outcome_is_unknown = False
            self._write_log_back(connection)

    def _require_epoch(self, connection: apsw.Connection) -> None:
        epoch = _single(connection.execute("SELECT epoch FROM journal"))
        if epoch != self._epoch:
            raise Fenced(f"{self._path}: claimed by another writer (epoch {epoch}, this one is {self._epoch})")

    def _settle(self) -> None:
        """Commit over what an unconfirmed commit may have left in the log, so that it cannot come back."""
        try:
            with self._commit() as connection:
                connection.execute("UPDATE journal SET settling_count = settling_count + 1")
        except Fenced:
            # The other writer's claim was itself a commit over it.
            self._outcome_is_unknown = False
        except CommitFailed as error:
            raise OutcomeUnknown(f"{self._path}: still unknown what the last commit left: {error}") from error

    @contextmanager
    def _reading(self, what: str = "the journal") -> Iterator[apsw.Connection]:
        with reading(self._path, what), self._readers.snapshot() as connection:
            yield connection

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except RowDamageError as damage:
            raise damaged(self._path, f"{what}: {damage}") from damage

    def _summary(self, row: tuple[Any, ...]) -> SegmentSummary:
        with self._naming(f"sequence {row[0]}"):
            return summary_of(row)

    def _summaries(self, connection: apsw.Connection, after_sequence: int) -> Iterator[SegmentSummary]:
        """Headers of the segments that end after `after_sequence`, none missing between them."""
        query = f"SELECT {SEGMENT_COLUMNS} FROM segments WHERE last_sequence > ? ORDER BY last_sequence"
        previous: SegmentSummary | None = None
        for row in connection.execute(query, (after_sequence,)):
            summary = self._summary(row)
            follows = after_sequence if previous is None else previous.last_sequence
            if summary.first_sequence > follows + 1:
                raise damaged(self._path, f"sequences {follows + 1} to {summary.first_sequence - 1} are missing")
            yield summary
            previous = summary

    def _segment(self, summary: SegmentSummary, parts: Iterator[tuple[int, bytes]]) -> Segment:
        with self._naming(f"the segment of sequences {summary.first_sequence} to {summary.last_sequence}"):
            body = take_body(parts, summary.last_sequence, summary.body_bytes, summary.header.crc32)
        return Segment(summary.first_sequence, summary.last_sequence, summary.header, body)

    def _verified(self, what: str, body: bytes, crc32: int) -> bytes:
        if zlib.crc32(body) != crc32:
            raise damaged(self._path, f"{what} fails its checksum")
        return body

    def _check_last_segment(self) -> None:
        last_sequence = self.last_sequence
        if last_sequence:
            self.segment_of(last_sequence)


def _single(cursor: apsw.Cursor) -> int:
    """The one value of a query that answers one row."""
    value: Any = cursor.fetchall()[0][0]
    return int(value)


def _exists(connection: apsw.Connection, table: str, key: str, value: int) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} WHERE {key} = ?", (value,)).fetchone() is not None


def _insert_segment(connection: apsw.Connection, segment: Segment) -> None:
    connection.execute(INSERT_SEGMENT, segment_row(segment))
    write_body(connection, "segment_bodies", segment.last_sequence, segment.body)


def _delete_snapshot_parts(connection: apsw.Connection, condition: str, values: tuple[Any, ...]) -> None:
    rows: list[Any] = connection.execute(f"SELECT part_id FROM snapshot_parts WHERE {condition}", values).fetchall()
    for (part_id,) in rows:
        delete_bodies(connection, "snapshot_bodies", part_id, part_id)
        connection.execute("DELETE FROM snapshot_parts WHERE part_id = ?", (part_id,))


def _roll_back(connection: apsw.Connection) -> None:
    """After some failures SQLite has rolled back already; a rollback itself cannot fail for want of space."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
