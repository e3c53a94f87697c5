"""A disk that is full or fails: what is raised is true, acknowledged segments stay, and the service resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.support.segments import PARTITION_COUNT, body_of, fill, segment
from tests.support.watched_files import Kind, Operation, watched_files

from tallybook_server.journal.interface import CommitFailed, JournalFull, OutcomeUnknown
from tallybook_server.journal.sqlite import SqliteJournal

Refusal = Callable[[Operation], apsw.Error | None]


class Disk:
    """Does what it is told until `refuse` answers an error for an operation."""

    def __init__(self) -> None:
        self.refuse: Refusal = lambda _: None

    def __call__(self, operation: Operation) -> None:
        error = self.refuse(operation)
        if error is not None:
            raise error

    def mend(self) -> None:
        self.refuse = lambda _: None


def write_at_commit(error: type[apsw.Error]) -> Refusal:
    return lambda operation: error() if operation.kind is Kind.WRITE else None


def sync_at_commit(error: type[apsw.Error]) -> Refusal:
    return lambda operation: error() if operation.kind is Kind.SYNC else None


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def journal(tmp_path: Path, disk: Disk) -> Iterator[SqliteJournal]:
    with watched_files(disk) as layer:
        opened = SqliteJournal.open(tmp_path / "journal.sqlite", partition_count=PARTITION_COUNT, vfs=layer)
        with closing(opened):
            yield opened


LARGE = 8 << 20
"""Larger than SQLite's cache, so that a transaction writes to the log before its commit."""


@pytest.mark.parametrize("size_bytes", [100, LARGE])
def test_a_full_disk_is_said_and_passes(journal: SqliteJournal, disk: Disk, size_bytes: int) -> None:
    appended = fill(journal, 3)
    more = segment(4, body_of(4, size_bytes))

    disk.refuse = write_at_commit(apsw.FullError)
    for _ in range(3):
        with pytest.raises(JournalFull, match=r"no room on the disk; nothing was written"):
            journal.append(3, more)
        assert journal.last_sequence == 3
        assert list(journal.read()) == appended

    disk.mend()
    journal.append(3, more)
    assert list(journal.read()) == [*appended, more]


@pytest.mark.parametrize(
    "write",
    [
        lambda journal: journal.replace(segment(1, last=3)),
        lambda journal: journal.put_schema(b"schema"),
        lambda journal: journal.put_catalog_version(1, 0, b"all"),
        lambda journal: journal.put_snapshot_part(3, "totals", b"part"),
        lambda journal: journal.claim(),
    ],
)
def test_every_write_says_that_the_disk_is_full(
    journal: SqliteJournal, disk: Disk, write: Callable[[SqliteJournal], object]
) -> None:
    appended = fill(journal, 3)
    disk.refuse = write_at_commit(apsw.FullError)
    with pytest.raises(JournalFull):
        write(journal)
    assert list(journal.read()) == appended
    disk.mend()
    write(journal)


def test_room_that_ends_at_the_files_largest_size(tmp_path: Path) -> None:
    """Given a file that may not grow, when it is full, then the journal keeps what it has and takes what fits."""
    with closing(SqliteJournal.open(tmp_path / "journal.sqlite", partition_count=PARTITION_COUNT)) as journal:
        appended = fill(journal, 3)
        assert journal._writer is not None
        pages = journal._writer.pragma("page_count")
        journal._writer.pragma("max_page_count", pages + 3)
        with pytest.raises(JournalFull):
            journal.append(3, segment(4, body_of(4, LARGE)))
        assert list(journal.read()) == appended
        journal.append(3, segment(4))
        journal._writer.pragma("max_page_count", pages + 1_000)
        journal.append(4, segment(5, body_of(5, LARGE)))
        assert journal.last_sequence == 5


def test_an_error_before_the_commit_is_a_certain_failure(journal: SqliteJournal, disk: Disk) -> None:
    appended = fill(journal, 3)
    large = segment(4, body_of(4, LARGE))
    disk.refuse = write_at_commit(apsw.IOError)
    with pytest.raises(CommitFailed, match="nothing was written"):
        journal.append(3, large)
    disk.mend()
    assert list(journal.read()) == appended
    journal.append(3, large)


@pytest.mark.parametrize("refusal", [write_at_commit(apsw.IOError), sync_at_commit(apsw.IOError)])
def test_an_unconfirmed_commit_has_an_unknown_outcome(journal: SqliteJournal, disk: Disk, refusal: Refusal) -> None:
    """Given a commit that the disk did not confirm, then its outcome is unknown until the disk answers again."""
    appended = fill(journal, 3)
    disk.refuse = refusal
    with pytest.raises(OutcomeUnknown, match="not confirmed"):
        journal.append(3, segment(4))
    with pytest.raises(OutcomeUnknown):
        assert journal.last_sequence

    disk.mend()
    assert journal.last_sequence == 3
    assert list(journal.read()) == appended
    more = segment(4, b"sent again")
    journal.append(3, more)
    assert list(journal.read()) == [*appended, more]


def test_a_full_disk_keeps_an_unknown_outcome_unknown(journal: SqliteJournal, disk: Disk) -> None:
    fill(journal, 3)
    disk.refuse = sync_at_commit(apsw.IOError)
    with pytest.raises(OutcomeUnknown):
        journal.append(3, segment(4))
    disk.refuse = write_at_commit(apsw.FullError)
    with pytest.raises(OutcomeUnknown, match="still unknown"):
        assert journal.last_sequence
    disk.mend()
    assert journal.last_sequence == 3


def test_an_outcome_once_known_stays(tmp_path: Path, disk: Disk) -> None:
    """Given a commit whose bytes reached the disk though its sync failed, when the journal has said that it is not
    there, then no crash brings it back; before that, one may."""
    path = tmp_path / "journal.sqlite"
    with watched_files(disk) as layer, closing(SqliteJournal.open(path, partition_count=4, vfs=layer)) as journal:
        fill(journal, 3)
        disk.refuse = sync_at_commit(apsw.IOError)
        with pytest.raises(OutcomeUnknown):
            journal.append(3, segment(4))
        assert last_sequence_after_crash(path) == 4
        disk.mend()
        assert journal.last_sequence == 3
        assert last_sequence_after_crash(path) == 3


def test_an_unknown_outcome_is_settled_by_the_writer_that_took_over(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "journal.sqlite"
    with watched_files(disk) as layer, closing(SqliteJournal.open(path, partition_count=4, vfs=layer)) as journal:
        fill(journal, 3)
        disk.refuse = sync_at_commit(apsw.IOError)
        with pytest.raises(OutcomeUnknown):
            journal.append(3, segment(4))
        disk.mend()
        with closing(SqliteJournal.open(path)) as other:
            fill(other, 1)
        assert journal.last_sequence == 4
        assert journal.segment_of(4).body == body_of(4)


def test_a_log_that_cannot_be_written_back_costs_nothing(
    journal: SqliteJournal, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a disk that refuses the file but takes the log, then commits go on."""
    monkeypatch.setattr("tallybook_server.journal.sqlite.file.CHECKPOINT_BYTES", 1 << 17)
    disk.refuse = lambda operation: apsw.FullError() if operation.path.name == "journal.sqlite" else None
    appended = fill(journal, 20)
    assert list(journal.read()) == appended
    disk.mend()
    more = fill(journal, 1)
    assert list(journal.read()) == appended + more


def last_sequence_after_crash(path: Path) -> int:
    """What a machine that stops now would find: the files as they are, without the memory that is shared."""
    folder = path.with_name("after-crash")
    folder.mkdir(exist_ok=True)
    for name in (path.name, path.name + "-wal"):
        (folder / name).write_bytes(path.with_name(name).read_bytes())
    (folder / (path.name + "-shm")).unlink(missing_ok=True)
    with closing(SqliteJournal.open(folder / path.name, read_only=True)) as journal:
        return journal.last_sequence
