"""What every journal owes its book, whatever it is kept in: the same tests for memory and for SQLite."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.segments import PARTITION_COUNT, body_of, fill, segment

from tallybook_server.journal.attached import Attached, MessageRow, ReadingBlock, SeriesName, block_crc32, series_crc32
from tallybook_server.journal.interface import (
    CatalogVersion,
    DamagedJournal,
    Fenced,
    Journal,
    JournalAtLimit,
    Segment,
    SegmentSummary,
    SequenceConflict,
    SnapshotPart,
    UnknownSequence,
)
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    opened: Journal = (
        MemoryJournal(PARTITION_COUNT)
        if request.param == "memory"
        else SqliteJournal.open(tmp_path / "journal.sqlite", partition_count=PARTITION_COUNT)
    )
    yield opened
    opened.close()


def test_a_new_journal_is_empty_and_has_a_secret(journal: Journal) -> None:
    assert journal.last_sequence == 0
    assert list(journal.read()) == []
    assert journal.headers() == []
    assert journal.partition_count == PARTITION_COUNT
    assert len(journal.hash_key) == 16


def test_two_journals_have_different_secrets(tmp_path: Path) -> None:
    keys = {MemoryJournal().hash_key, MemoryJournal().hash_key}
    keys |= {SqliteJournal.open(tmp_path / name).hash_key for name in ("a", "b")}
    assert len(keys) == 4


def test_what_was_appended_is_read_back_in_order(journal: Journal) -> None:
    appended = fill(journal, 5)
    assert list(journal.read()) == appended
    assert journal.last_sequence == 5
    assert journal.headers() == [SegmentSummary(s.first_sequence, s.last_sequence, s.header, 100) for s in appended]


@pytest.mark.parametrize(
    ("after", "upto", "sequences"),
    [
        (0, None, [(1, 1), (2, 4), (5, 5)]),
        (1, None, [(2, 4), (5, 5)]),
        (2, None, [(2, 4), (5, 5)]),  # a bound inside a merged segment answers the whole of it
        (4, None, [(5, 5)]),
        (5, None, []),
        (0, 1, [(1, 1)]),
        (0, 3, [(1, 1), (2, 4)]),
        (2, 3, [(2, 4)]),
        (0, 0, []),
    ],
)
def test_bounds_of_reading(journal: Journal, after: int, upto: int | None, sequences: list[tuple[int, int]]) -> None:
    fill(journal, 5)
    journal.replace(segment(2, last=4))
    assert [(s.first_sequence, s.last_sequence) for s in journal.read(after, upto)] == sequences


def test_headers_after_a_sequence(journal: Journal) -> None:
    fill(journal, 3)
    assert [summary.first_sequence for summary in journal.headers(1)] == [2, 3]


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_bodies_of_any_size(journal: Journal, size_bytes: int) -> None:
    first, second = fill(journal, 2, size_bytes)
    assert list(journal.read()) == [first, second]
    assert journal.segment_of(2) == second


def test_a_body_that_is_not_what_its_checksum_says_is_not_answered(journal: Journal) -> None:
    journal.claim()
    journal.append(0, segment(1, crc32=0))
    with pytest.raises(DamagedJournal, match=r"sequence.* 1"):
        list(journal.read())
    with pytest.raises(DamagedJournal, match=r"sequence.* 1"):
        journal.segment_of(1)


@pytest.mark.parametrize("sequence", [1, 2, 3, 4, 5])
def test_segment_of_a_sequence(journal: Journal, sequence: int) -> None:
    appended = fill(journal, 5)
    merged = segment(2, last=4)
    journal.replace(merged)
    assert journal.segment_of(sequence) == (merged if 2 <= sequence <= 4 else appended[sequence - 1])


@pytest.mark.parametrize("sequence", [-1, 0, 6])
def test_segment_of_a_sequence_that_is_not_there(journal: Journal, sequence: int) -> None:
    fill(journal, 5)
    with pytest.raises(UnknownSequence, match=str(sequence)):
        journal.segment_of(sequence)


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_append_at_another_sequence_than_the_last_is_a_conflict(journal: Journal, expected: int) -> None:
    appended = fill(journal, 2)
    with pytest.raises(SequenceConflict, match=rf"expected to end at {expected}, ends at 2"):
        journal.append(expected, segment(expected + 1))
    assert list(journal.read()) == appended


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (segment(3), "does not follow sequence 1"),
        (segment(2, partition_record_counts=(1, 3)), "2 partition counts for 4"),
        (segment(2, record_count=5), "do not sum to 5"),
        (segment(2, schema_id=1), "schema 1 is not stored"),
        (segment(2, catalog_version=7), "catalogue version 7 is not stored"),
    ],
)
def test_a_segment_that_does_not_fit_is_refused(journal: Journal, wrong: Segment, message: str) -> None:
    appended = fill(journal, 1)
    with pytest.raises(ValueError, match=message):
        journal.append(1, wrong)
    assert list(journal.read()) == appended


def test_a_segment_names_a_stored_schema_and_catalogue_version(journal: Journal) -> None:
    journal.claim()
    schema_id = journal.put_schema(b"columns")
    journal.put_catalog_version(3, 0, b"everything")
    appended = segment(1, schema_id=schema_id, catalog_version=3)
    journal.append(0, appended)
    assert list(journal.read()) == [appended]


@pytest.mark.parametrize(
    "write",
    [
        lambda journal: journal.append(0, segment(1)),
        lambda journal: journal.replace(segment(1)),
        lambda journal: journal.put_schema(b""),
        lambda journal: journal.put_catalog_version(1, 0, b""),
        lambda journal: journal.put_snapshot_part(1, "a", b""),
        lambda journal: journal.drop_snapshots_before(1, "state"),
    ],
)
def test_nothing_is_written_without_a_claim(journal: Journal, write: Callable[[Journal], None]) -> None:
    with pytest.raises(Fenced, match="claim"):
        write(journal)


def test_epochs_count_up(journal: Journal) -> None:
    assert [journal.claim(), journal.claim(), journal.claim()] == [1, 2, 3]


def test_a_merge_keeps_sequences_and_takes_the_place_of_what_it_covers(journal: Journal) -> None:
    first, _, _, fourth = fill(journal, 4)
    merged = segment(2, b"both", last=3)
    journal.replace(merged)
    assert list(journal.read()) == [first, merged, fourth]
    assert journal.last_sequence == 4


def test_a_merge_of_merges(journal: Journal) -> None:
    fill(journal, 6)
    journal.replace(segment(1, last=3))
    journal.replace(segment(4, last=5))
    everything = segment(1, b"everything", last=6)
    journal.replace(everything)
    assert list(journal.read()) == [everything]


@pytest.mark.parametrize(
    "wrong",
    [
        segment(2, last=5),  # beyond the end
        segment(1, last=2),  # cuts a merged segment
        segment(3, last=4),  # begins inside one
        segment(6, last=7),  # covers nothing
        segment(1, last=2, record_count=4, posting_count=2, partition_record_counts=(1, 1, 1, 1)),  # as much as 1 alone
        segment(2, last=4, record_count=11),
        segment(2, last=4, posting_count=5),
        segment(2, last=4, partition_record_counts=(4, 2, 3, 3)),
    ],
)
def test_a_merge_that_is_not_of_the_same_rows_is_refused(journal: Journal, wrong: Segment) -> None:
    fill(journal, 4)
    journal.replace(segment(2, last=3))
    before = list(journal.read())
    with pytest.raises(ValueError, match="merge"):
        journal.replace(wrong)
    assert list(journal.read()) == before


def test_an_iterator_sees_the_journal_of_its_first_step(journal: Journal) -> None:
    appended = fill(journal, 3)
    reader = journal.read()
    seen = [next(reader)]
    journal.append(3, segment(4))
    journal.replace(segment(1, last=4))
    assert journal.last_sequence == 4
    assert seen + list(reader) == appended


def test_schemas_are_stored_once(journal: Journal) -> None:
    journal.claim()
    assert [journal.put_schema(schema) for schema in (b"one", b"two", b"one")] == [1, 2, 1]
    assert (journal.schema(1), journal.schema(2)) == (b"one", b"two")
    with pytest.raises(UnknownSequence, match="schema 3"):
        journal.schema(3)


def test_catalogue_versions(journal: Journal) -> None:
    journal.claim()
    journal.put_catalog_version(1, 0, b"all")
    journal.put_catalog_version(4, 1, b"difference")
    journal.put_catalog_version(4, 1, b"difference")
    assert journal.catalog_versions() == [CatalogVersion(1, 0, b"all"), CatalogVersion(4, 1, b"difference")]


@pytest.mark.parametrize(
    ("version", "parent", "difference"),
    [(1, 0, b"another"), (2, 3, b""), (2, 2, b""), (0, 0, b""), (5, 4, b"unknown parent")],
)
def test_a_catalogue_version_means_one_thing_and_has_a_parent(
    journal: Journal, version: int, parent: int, difference: bytes
) -> None:
    journal.claim()
    journal.put_catalog_version(1, 0, b"all")
    with pytest.raises(ValueError, match=f"catalogue version {version}"):
        journal.put_catalog_version(version, parent, difference)
    assert journal.catalog_versions() == [CatalogVersion(1, 0, b"all")]


def test_snapshot_parts(journal: Journal) -> None:
    journal.claim()
    large = body_of(1, 3 << 20)
    journal.put_snapshot_part(5, "totals", large)
    journal.put_snapshot_part(5, "keys", b"old")
    journal.put_snapshot_part(5, "keys", b"new")
    journal.put_snapshot_part(9, "totals", b"")
    parts = [SnapshotPart(5, "keys", 3), SnapshotPart(5, "totals", len(large)), SnapshotPart(9, "totals", 0)]
    assert journal.snapshot_parts() == parts
    assert [journal.snapshot_part(p.sequence, p.name) for p in parts] == [b"new", large, b""]
    journal.drop_snapshots_before(9, "totals")
    assert journal.snapshot_parts() == [parts[0], parts[2]]
    with pytest.raises(UnknownSequence, match="'totals' of sequence 5"):
        journal.snapshot_part(5, "totals")


def test_reading_while_another_thread_appends_and_merges(journal: Journal) -> None:
    """Each pass sees a prefix of the log without a gap, whatever is written meanwhile."""
    journal.claim()
    done = threading.Event()
    faults: list[str] = []

    def follow() -> None:
        longest = 0
        while not done.is_set() or longest < journal.last_sequence:
            segments = list(journal.read())
            covered = [n for s in segments for n in range(s.first_sequence, s.last_sequence + 1)]
            if covered != list(range(1, len(covered) + 1)) or len(covered) < longest:
                faults.append(f"saw {covered} after {longest}")
                return
            longest = len(covered)
            if longest and journal.segment_of(longest).last_sequence < longest:
                faults.append(f"no segment of {longest}")

    readers = [threading.Thread(target=follow) for _ in range(3)]
    for reader in readers:
        reader.start()
    for sequence in range(1, 101):
        journal.append(sequence - 1, segment(sequence))
        if sequence % 10 == 0:
            journal.replace(segment(sequence - 9, last=sequence))
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert len(list(journal.read())) == 10


def test_closing_twice_is_fine(journal: Journal) -> None:
    fill(journal, 1)
    journal.close()
    journal.close()


# --- A journal in memory that is filled up ------------------------------------------------------------------------


@pytest.mark.parametrize(("bytes_max", "fits"), [(399, False), (400, True)])
def test_a_limit_of_bytes(bytes_max: int, fits: bool) -> None:
    # Given a journal that holds a segment of 100 bytes and 50 bytes of a catalogue
    full = MemoryJournal(PARTITION_COUNT, bytes_max=bytes_max)
    fill(full, 1)
    full.put_catalog_version(1, 0, bytes(50))
    full.put_catalog_version(1, 0, bytes(50))
    assert full.stored_bytes == 150
    # When 100 bytes come with a block of 100 and a message of 50
    beside = Attached(1, (_block(bytes(100)),), (), (MessageRow("m1", bytes(50)),))
    if fits:
        full.append(1, segment(2), beside)
        assert full.stored_bytes == bytes_max
        with pytest.raises(JournalAtLimit):
            full.put_catalog_version(2, 1, b"1")
    else:
        with pytest.raises(JournalAtLimit):
            full.append(1, segment(2), beside)
        # Then nothing of it is there, and less still fits
        assert full.last_sequence == 1
        assert full.attached_summary(2) is None
        full.append(1, segment(2))
        assert full.stored_bytes == 250


def test_a_merge_gives_room_back() -> None:
    full = MemoryJournal(PARTITION_COUNT, bytes_max=300)
    fill(full, 3)
    full.replace(segment(1, body_of(7, 120), last=3))
    assert full.stored_bytes == 120


def test_versions_follow_on_those_that_are_kept_elsewhere() -> None:
    journal = MemoryJournal(PARTITION_COUNT, base_catalog_version=7)
    journal.claim()
    journal.append(0, segment(1, catalog_version=7))
    journal.put_catalog_version(8, 7, b"eight")
    assert journal.catalog_versions() == [CatalogVersion(8, 7, b"eight")]
    with pytest.raises(ValueError, match="version 9 is not stored"):
        journal.append(1, segment(2, catalog_version=9))


def _block(body: bytes) -> ReadingBlock:
    return ReadingBlock(SeriesName("m1", "load", 0), 0, 1, body, block_crc32(series_crc32("m1", "load"), 0, body))
