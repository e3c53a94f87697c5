"""The journal's file: its tables, how it is made, and what is checked before it is trusted.

One row a segment with its header; bodies lie in rows of their own, cut into parts, so that headers are scanned without
them and no buffer of a body's size is needed to write one. Pages are large because most bytes are bodies: against the
usual 4 KiB a large commit takes half the time and half the processor (benchmarks/journal_commit.py), and the commit of
a single event, which writes two or three pages, takes no longer.
"""

from __future__ import annotations

import os
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path

import apsw

from tallybook_server.journal.interface import UnreadableJournal
from tallybook_server.journal.sqlite.faults import damaged, reading

APPLICATION_ID = 0x544C_424B
"""`TLBK` in SQLite's header: what `file` and we recognise a journal by."""
FORMAT_VERSION = 3
"""Of all that a journal holds, in SQLite's `user_version`. Segments and snapshots of formats 1 and 2 have no net lines,
which cannot be told from what they have: they are not read."""
MINIMUM_SQLITE_VERSION = (3, 51, 3)
"""Earlier ones may corrupt a write-ahead log that one connection checkpoints while another resets it
(sqlite.org/wal.html, "The WAL-Reset Bug")."""
PAGE_BYTES = 32_768
HASH_KEY_BYTES = 16
CHECKPOINT_BYTES = 16 << 20
"""The commit that makes the write-ahead log this long also writes it back. A short log is written over and over in
place, which is what keeps large commits quick; one in hundreds of small commits waits some milliseconds more."""
LOCK_WAIT_MS = 10_000
"""How long a write waits for another process to end its own."""

TABLES = """
CREATE TABLE journal (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    hash_key BLOB NOT NULL,
    partition_count INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    settling_count INTEGER NOT NULL
) STRICT;
CREATE TABLE segments (
    last_sequence INTEGER PRIMARY KEY,
    first_sequence INTEGER NOT NULL,
    record_count INTEGER NOT NULL,
    posting_count INTEGER NOT NULL,
    partition_record_counts BLOB NOT NULL,
    minimum_time_us INTEGER NOT NULL,
    maximum_time_us INTEGER NOT NULL,
    receipt_time_us INTEGER NOT NULL,
    catalog_version INTEGER NOT NULL,
    format_version INTEGER NOT NULL,
    rating_version INTEGER NOT NULL,
    tzdata_version TEXT NOT NULL,
    crc32 INTEGER NOT NULL,
    schema_id INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    row_crc32 INTEGER NOT NULL
) STRICT;
CREATE TABLE segment_bodies (position INTEGER PRIMARY KEY, part BLOB NOT NULL) STRICT;
CREATE TABLE schemas (schema_id INTEGER PRIMARY KEY, crc32 INTEGER NOT NULL, schema BLOB NOT NULL) STRICT;
CREATE TABLE catalog_versions (
    version INTEGER PRIMARY KEY,
    parent INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    difference BLOB NOT NULL
) STRICT;
CREATE TABLE snapshot_parts (
    part_id INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    name TEXT NOT NULL,
    crc32 INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    UNIQUE (sequence, name)
) STRICT;
CREATE TABLE snapshot_bodies (position INTEGER PRIMARY KEY, part BLOB NOT NULL) STRICT;
"""
ATTACHED_TABLES = """
CREATE TABLE attached (
    sequence INTEGER PRIMARY KEY,
    receipt_time_us INTEGER NOT NULL,
    block_count INTEGER NOT NULL,
    value_count INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    row_crc32 INTEGER NOT NULL
) STRICT;
CREATE TABLE series (
    series_id INTEGER PRIMARY KEY,
    datasource TEXT NOT NULL,
    channel TEXT NOT NULL,
    partition INTEGER NOT NULL,
    UNIQUE (datasource, channel)
) STRICT;
CREATE TABLE block_directory (
    bucket INTEGER NOT NULL,
    series_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    reading_count INTEGER NOT NULL,
    PRIMARY KEY (bucket, series_id, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE block_bodies (position INTEGER PRIMARY KEY, crc32 INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE billing_values (
    series_id INTEGER NOT NULL,
    end_us INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    position INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (series_id, end_us, start_us, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE billing_messages (
    message_id INTEGER PRIMARY KEY,
    datasource TEXT NOT NULL,
    crc32 INTEGER NOT NULL,
    document BLOB NOT NULL
) STRICT;
CREATE TABLE outbox (message_id INTEGER PRIMARY KEY) STRICT;
"""
"""Blocks of readings lie in the order of their commits, so that a commit writes where the last one ended. The directory
finds those of a channel: by bucket first, because deliveries of one time are of many channels, and so few of its pages
change at a time however many years it has."""


@dataclass(frozen=True, slots=True)
class JournalFile:
    """How to reach one journal's file."""

    path: Path
    vfs: str | None
    """Name of the SQLite file layer to use; None is the system's. Tests put their recording and failing ones here."""
    synchronous: str
    """SQLite's `synchronous`. Only FULL keeps what was acknowledged through a power cut, as a test shows."""

    def connect(self, *, read_only: bool) -> apsw.Connection:
        """A connection set up for this file; the file must exist."""
        with reading(self.path):
            flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
            connection = apsw.Connection(str(self.path), flags=flags, vfs=self.vfs)
            connection.set_busy_timeout(LOCK_WAIT_MS)
            connection.pragma("synchronous", self.synchronous)
            # Where fsync does not reach the platter (macOS) these do; elsewhere they change nothing.
            connection.pragma("fullfsync", True)
            connection.pragma("checkpoint_fullfsync", True)
            connection.pragma("wal_autocheckpoint", 0)
            return connection


def require_sqlite() -> None:
    """Raises `UnreadableJournal` under a SQLite that may corrupt the file."""
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < MINIMUM_SQLITE_VERSION:
        needed = ".".join(map(str, MINIMUM_SQLITE_VERSION))
        raise UnreadableJournal(f"SQLite {version} can corrupt a journal: {needed} or later is needed (update apsw)")


def create(file: JournalFile, partition_count: int) -> None:
    """Make an empty journal, whole or not at all: it gets its name once it is on the disk.

    Raises `UnreadableJournal` beside the log of a journal that is gone, which SQLite would take for the new one's.
    """
    log = file.path.with_name(file.path.name + "-wal")
    if log.exists():
        raise UnreadableJournal(
            f"{file.path}: there is no such file, but its log {log.name} is there. Put both back as they were, or a "
            "backup without the log, or remove the log to begin anew"
        )
    unnamed = file.path.with_name(file.path.name + ".new")
    for suffix in ("", "-wal", "-shm"):
        unnamed.with_name(unnamed.name + suffix).unlink(missing_ok=True)
    # The hash key is a secret: only the owner may read the file (SQLite gives the log beside it the same rights).
    os.close(os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    hash_key = secrets.token_bytes(HASH_KEY_BYTES)
    with reading(unnamed):
        connection = apsw.Connection(str(unnamed))
        try:
            connection.pragma("page_size", PAGE_BYTES)
            connection.pragma("journal_mode", "wal")
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", FORMAT_VERSION)
            connection.execute(TABLES)
            connection.execute(ATTACHED_TABLES)
            row = (hash_key, partition_count, _identity_crc32(hash_key, partition_count))
            connection.execute("INSERT INTO journal VALUES (1, ?, ?, ?, 0, 0)", row)
        finally:
            connection.close()
    with unnamed.open("rb") as written:
        os.fsync(written.fileno())
    unnamed.rename(file.path)
    folder = os.open(file.path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check(file: JournalFile, connection: apsw.Connection) -> tuple[bytes, int]:
    """The (hash key, partition count) of a file that is a whole journal of a version read here.

    Raises `UnreadableJournal` or `DamagedJournal`; SQLite notices a file that is too short, and segments are checked as
    they are read.
    """
    path = file.path
    with reading(path):
        application_id = connection.pragma("application_id")
        if application_id != APPLICATION_ID:
            raise UnreadableJournal(f"{path}: a SQLite file, but not a journal (application id {application_id:#x})")
        version = connection.pragma("user_version")
        if version != FORMAT_VERSION:
            raise UnreadableJournal(
                f"{path}: a journal of format {version}, and this program reads {FORMAT_VERSION}: {_mended(version)}"
            )
        row = connection.execute("SELECT hash_key, partition_count, crc32 FROM journal").fetchone()
    if row is None or _identity_crc32(row[0], row[1]) != row[2]:
        raise damaged(path, "the row that holds the hash key fails its checksum")
    return row[0], row[1]


def _mended(version: int) -> str:
    """What helps against another format."""
    if version > FORMAT_VERSION:
        return "open it with the release that wrote it, or a later one"
    return (
        "open it with the release that wrote it, list its catalogue, events and readings there, and store them in a "
        "new data directory with this one"
    )


def _identity_crc32(hash_key: bytes, partition_count: int) -> int:
    return zlib.crc32(b"%s %d" % (hash_key, partition_count))
