"""The journal's file: what is refused when it is opened, and what is said of one that is damaged."""

from __future__ import annotations

import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.support.segments import PARTITION_COUNT, body_of, fill, segment

from tallybook_server.journal.interface import DamagedJournal, Fenced, JournalError, UnreadableJournal
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.journal.sqlite.file import PAGE_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def open_journal(path: Path, *, read_only: bool = False) -> SqliteJournal:
    return SqliteJournal.open(path, partition_count=PARTITION_COUNT, read_only=read_only)


def make(path: Path, segment_count: int = 3, size_bytes: int = 3 * PAGE_BYTES) -> None:
    """A journal at rest: closed, its log written back."""
    with closing(open_journal(path)) as journal:
        fill(journal, segment_count, size_bytes)


def made(path: Path) -> bytes:
    make(path)
    return path.read_bytes()


def make_then(path: Path, statement: str) -> None:
    make(path)
    execute(path, statement)


def execute(path: Path, statement: str) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(statement)


def test_everything_is_there_when_it_is_opened_again(path: Path) -> None:
    with closing(open_journal(path)) as journal:
        appended = fill(journal, 3)
        journal.put_catalog_version(1, 0, b"catalogue")
        journal.put_snapshot_part(2, "part", b"snapshot")
        journal.put_schema(b"schema")
        hash_key = journal.hash_key
    with closing(SqliteJournal.open(path)) as journal:
        assert list(journal.read()) == appended
        assert (journal.hash_key, journal.partition_count) == (hash_key, PARTITION_COUNT)
        assert journal.catalog_versions()[0].difference == b"catalogue"
        assert journal.snapshot_part(2, "part") == b"snapshot"
        assert journal.schema(1) == b"schema"
        assert journal.claim() == 2


def test_only_the_owner_may_read_the_secret(path: Path) -> None:
    with closing(open_journal(path)) as journal:
        fill(journal, 1)
        files = list(path.parent.iterdir())
        assert {file.name for file in files} == {path.name, path.name + "-wal", path.name + "-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_journal_that_was_closed_is_one_file(path: Path) -> None:
    make(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_creation_that_was_cut_short_is_begun_anew(path: Path) -> None:
    path.with_name(path.name + ".new").write_bytes(b"half a file")
    make(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_log_of_a_journal_that_is_gone_is_not_taken_for_a_new_one_s(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    log.write_bytes(b"commits")
    with pytest.raises(UnreadableJournal, match=r"its log journal\.sqlite-wal is there"):
        open_journal(path)
    assert [file.name for file in path.parent.iterdir()] == [log.name]


def test_the_log_is_flushed_at_every_commit(path: Path) -> None:
    with closing(open_journal(path)) as journal:
        connection = journal._file.connect(read_only=False)
        assert connection.pragma("synchronous") == 2
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("page_size") == PAGE_BYTES


def test_an_older_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(UnreadableJournal, match=r"SQLite 3\.51\.2 .* 3\.51\.3 or later"):
        open_journal(path)
    assert not path.exists()


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0.0"])
def test_a_newer_sqlite_is_fine(path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    open_journal(path).close()


@pytest.mark.parametrize(
    ("make_file", "message"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"not a database at all" * 100), "not a journal"),
        (lambda path: execute(path, "CREATE TABLE t (x)"), "not a journal"),
        (lambda path: make_then(path, "PRAGMA application_id = 7"), "not a journal"),
        (
            lambda path: make_then(path, "PRAGMA user_version = 4"),
            "of format 4, and this program reads 3: .* later",
        ),
        (lambda path: make_then(path, "PRAGMA user_version = 2"), "of format 2, and this program reads 3: .* new data"),
        (lambda path: path.write_bytes(bytes(100) + made(path)[100:]), "first bytes are lost"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(
    path: Path, make_file: Callable[[Path], object], message: str
) -> None:
    make_file(path)
    before = path.read_bytes()
    with pytest.raises(UnreadableJournal, match=message) as fault:
        open_journal(path)
    assert str(path) in str(fault.value)
    assert path.read_bytes() == before


def test_a_missing_file_is_not_made_for_reading(path: Path) -> None:
    with pytest.raises(UnreadableJournal, match="no such file"):
        open_journal(path, read_only=True)
    assert not path.exists()


@pytest.mark.parametrize("lost_pages", [1, 3, 7])
def test_a_file_that_is_cut_short_is_named(path: Path, lost_pages: int) -> None:
    make(path)
    path.write_bytes(path.read_bytes()[: -lost_pages * PAGE_BYTES])
    with pytest.raises(DamagedJournal, match="cut short") as fault:
        open_journal(path)
    assert str(path) in str(fault.value)
    assert "backup" in str(fault.value)


def test_a_file_that_lost_what_nothing_reads_yet_is_named(path: Path) -> None:
    """Given segments that are whole and a snapshot behind them that is not, then opening says so."""
    with closing(open_journal(path)) as journal:
        fill(journal, 1)
        journal.put_snapshot_part(1, "state", body_of(1, 10 * PAGE_BYTES))
    path.write_bytes(path.read_bytes()[:-PAGE_BYTES])
    with pytest.raises(DamagedJournal, match="the file is cut short"):
        open_journal(path)


def test_a_torn_last_segment_is_found_when_the_journal_is_opened(path: Path) -> None:
    """Given a disk that lost a page of the last body, when the journal is opened, then its sequence is named."""
    make(path)
    torn = body_of(3, 3 * PAGE_BYTES)[-PAGE_BYTES:-100]
    content = path.read_bytes()
    assert content.count(torn[:500]) == 1
    path.write_bytes(content.replace(torn[:500], bytes(500)))
    with pytest.raises(DamagedJournal, match=r"sequences 3 to 3: the body fails its checksum.*latest backup"):
        open_journal(path)


def test_a_damaged_segment_in_the_middle_is_named_when_it_is_read(path: Path) -> None:
    make(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(body_of(2, 3 * PAGE_BYTES)[1000:1100], bytes(100)))
    with closing(open_journal(path)) as journal:
        reader = journal.read()
        assert next(reader).last_sequence == 1
        with pytest.raises(DamagedJournal, match="sequences 2 to 2"):
            next(reader)
        with pytest.raises(DamagedJournal, match="sequences 2 to 2"):
            journal.segment_of(2)
        assert journal.segment_of(3).body == body_of(3, 3 * PAGE_BYTES)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE segments SET posting_count = 9 WHERE last_sequence = 2", "header .* ends at sequence 2"),
        ("UPDATE segments SET tzdata_version = '2026b' WHERE last_sequence = 2", "header .* ends at sequence 2"),
        ("UPDATE segments SET partition_record_counts = x'00' WHERE last_sequence = 2", "header .* ends at sequence 2"),
        ("UPDATE segments SET row_crc32 = 0 WHERE last_sequence = 2", "header .* ends at sequence 2"),
        ("DELETE FROM segments WHERE last_sequence = 2", "sequences 2 to 2 are missing"),
        ("DELETE FROM segment_bodies WHERE position >> 16 = 2", "sequences 2 to 2: a part of the body is missing"),
        ("DELETE FROM segment_bodies WHERE position = 2 << 16 | 1", "sequences 2 to 2: a part of the body is missing"),
        (
            "UPDATE segment_bodies SET part = zeroblob(length(part)) WHERE position >> 16 = 2",
            "sequences 2 to 2: the body fails",
        ),
    ],
)
def test_every_kind_of_damage_to_a_segment_is_found(path: Path, damage: str, message: str) -> None:
    make(path, size_bytes=(1 << 20) + 10)
    execute(path, damage)
    with closing(open_journal(path)) as journal, pytest.raises(DamagedJournal, match=message):
        list(journal.read())


def test_damage_to_what_is_not_a_segment_is_found(path: Path) -> None:
    with closing(open_journal(path)) as journal:
        journal.claim()
        journal.put_schema(b"schema")
        journal.put_catalog_version(1, 0, b"catalogue")
        journal.put_snapshot_part(7, "totals", b"snapshot")
    execute(path, "UPDATE schemas SET schema = x'00'")
    execute(path, "UPDATE catalog_versions SET difference = x'00'")
    execute(path, "UPDATE snapshot_bodies SET part = x'00'")
    with closing(open_journal(path)) as journal:
        with pytest.raises(DamagedJournal, match="schema 1"):
            journal.schema(1)
        with pytest.raises(DamagedJournal, match="catalogue version 1"):
            journal.catalog_versions()
        with pytest.raises(DamagedJournal, match="'totals' of sequence 7"):
            journal.snapshot_part(7, "totals")


@pytest.mark.parametrize("damage", ["UPDATE journal SET hash_key = x'00'", "DELETE FROM journal"])
def test_a_lost_hash_key_is_found(path: Path, damage: str) -> None:
    make(path)
    execute(path, damage)
    with pytest.raises(DamagedJournal, match="hash key"):
        open_journal(path)


def test_a_torn_log_ends_the_journal_at_the_last_whole_commit(path: Path) -> None:
    """Given a crash within the write of a commit that nobody was told of, then it is as if it had not begun."""
    with closing(open_journal(path)) as journal:
        appended = fill(journal, 3)
        copy, log = path.with_name("copy"), path.with_name("copy-wal")
        copy.write_bytes(path.read_bytes())
        log.write_bytes(path.with_name(path.name + "-wal").read_bytes()[:-1])
    with closing(open_journal(copy)) as journal:
        assert list(journal.read()) == appended[:2]


def test_one_that_reads_beside_the_writer_sees_what_is_committed(path: Path) -> None:
    with closing(open_journal(path)) as journal, closing(open_journal(path, read_only=True)) as beside:
        first = fill(journal, 2)
        assert list(beside.read()) == first
        more = fill(journal, 2)
        assert list(beside.read()) == first + more
        assert beside.last_sequence == 4


def test_one_opened_for_reading_never_writes(path: Path) -> None:
    make(path)
    with closing(open_journal(path, read_only=True)) as journal:
        with pytest.raises(Fenced, match="reading only"):
            journal.claim()
        with pytest.raises(Fenced, match="claim"):
            journal.append(3, segment(4))


def test_a_later_claim_fences_the_earlier_writer(path: Path) -> None:
    with closing(open_journal(path)) as earlier, closing(open_journal(path)) as later:
        fill(earlier, 2)
        fill(later, 1)
        with pytest.raises(Fenced, match="epoch 2, this one is 1"):
            earlier.append(3, segment(4))
        with pytest.raises(Fenced):
            earlier.replace(segment(1, last=2))
        later.append(3, segment(4))
        assert [s.last_sequence for s in earlier.read()] == [1, 2, 3, 4]


def test_a_closed_journal_says_so(path: Path) -> None:
    journal = open_journal(path)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.segment_of(1)


def test_all_queries_of_one_reader_see_the_same_journal(path: Path) -> None:
    with closing(open_journal(path)) as journal:
        fill(journal, 1)
        with journal._readers.snapshot() as connection:
            query = "SELECT max(last_sequence) FROM segments"
            before = connection.execute(query).fetchall()
            fill(journal, 1)
            assert connection.execute(query).fetchall() == before == [(1,)]


def test_the_log_is_written_back_and_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many commits there are, the log stays about as long as the threshold."""
    threshold = 16 * PAGE_BYTES
    monkeypatch.setattr("tallybook_server.journal.sqlite.file.CHECKPOINT_BYTES", threshold)
    with closing(open_journal(path)) as journal:
        fill(journal, 100)
        assert path.with_name(path.name + "-wal").stat().st_size < threshold + 8 * PAGE_BYTES


def test_an_iterator_that_is_let_go_of_gives_its_connection_back(path: Path) -> None:
    """The log can be written back whole once no reader needs it."""
    with closing(open_journal(path)) as journal:
        fill(journal, 3)
        reader = journal.read()
        next(reader)
        journal.append(3, segment(4))
        connection = journal._file.connect(read_only=False)
        connection.pragma("user_version")
        in_log, written_back = connection.wal_checkpoint()
        assert written_back < in_log
        del reader
        in_log, written_back = connection.wal_checkpoint()
        assert written_back == in_log
        connection.close()
