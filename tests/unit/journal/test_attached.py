"""What commits store beside their segments: the same tests for both journals, and what damage to a file is called."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.segments import PARTITION_COUNT, attached, segment

from tallybook_server.journal.attached import Attached, BillingValueRow, SeriesName, StoredBlock, position_of
from tallybook_server.journal.interface import DamagedJournal, Fenced, Journal, SequenceConflict
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.journal.sqlite import attached as attached_rows


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    opened: Journal = (
        MemoryJournal(PARTITION_COUNT)
        if request.param == "memory"
        else SqliteJournal.open(tmp_path / "journal.sqlite", partition_count=PARTITION_COUNT)
    )
    yield opened
    opened.close()


def append(journal: Journal, sequence: int, beside: Attached | None) -> None:
    journal.append(sequence - 1, segment(sequence), beside)


@pytest.mark.parametrize(("bounds", "few_buckets"), [((-1, 1), 128), ((-1_000, 1), 128), ((-1_000, 1), 1)])
def test_blocks_are_found_by_channel_and_bucket_up_to_a_sequence(
    journal: Journal, bounds: tuple[int, int], few_buckets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether few buckets are looked into or many are looked for, with one query or several."""
    monkeypatch.setattr(attached_rows, "FEW_BUCKETS", few_buckets)
    journal.claim()
    stored = {sequence: attached(sequence) for sequence in (1, 2, 4)}
    for sequence in range(1, 5):
        append(journal, sequence, stored.get(sequence))

    for upto in range(5):
        expected = sorted(
            (block.bucket, StoredBlock(position_of(sequence, row), block.body))
            for sequence, each in stored.items()
            for row, block in enumerate(each.blocks)
            if sequence <= upto and block.series[:2] == ("meter 1", "load") and bounds[0] <= block.bucket <= bounds[1]
        )
        found = journal.blocks("meter 1", "load", *bounds, upto)
        assert [(bucket, each) for bucket, blocks in found for each in blocks] == expected
    assert list(journal.blocks("meter 9", "load", -999, 999, 4)) == []
    assert list(journal.blocks("meter 1", "other", -999, 999, 4)) == []


@pytest.mark.parametrize(("rows_at_once", "few_buckets"), [(100, 128), (2, 128), (2, 1)])
def test_blocks_of_many_channels_are_those_of_each(
    journal: Journal, rows_at_once: int, few_buckets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached_rows, "FEW_BUCKETS", few_buckets)
    journal.claim()
    for sequence in (1, 2, 3):
        append(journal, sequence, attached(sequence))
    monkeypatch.setattr(attached_rows, "ROWS_AT_ONCE", rows_at_once)
    channels = [
        ("meter 2", "load"),
        ("meter 9", "load"),
        ("meter 1", "other"),
        ("meter 1", "load"),
        ("meter 0", "load"),
    ]
    for bounds, upto in (((-1, 1), 3), ((0, 0), 3), ((-1, 1), 2), ((-1_000, 1), 3), ((-1, 1), 0)):
        expected = sorted(
            (number, bucket, block)
            for number, channel in enumerate(channels)
            for bucket, blocks in journal.blocks(*channel, *bounds, upto)
            for block in blocks
        )
        assert sorted(journal.blocks_of_channels(channels, *bounds, upto)) == expected
    assert list(journal.blocks_of_channels([], -1, 1, 3)) == []


def test_damage_among_many_channels_names_the_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJournal.open(path, partition_count=PARTITION_COUNT)) as journal:
        journal.claim()
        append(journal, 1, attached(1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE block_bodies SET body = x'00' WHERE position = (SELECT max(position) FROM block_bodies)"
        )
        connection.commit()
    with closing(SqliteJournal.open(path)) as journal:
        name = attached(1).blocks[-1].series[:2]
        with pytest.raises(DamagedJournal, match=f"{name[0]}.*{name[1]}.*sequence 1 stored fails its checksum"):
            list(journal.blocks_of_channels([("meter 99", "load"), name], -999, 999, 9))


def test_what_is_read_of_a_meter_is_searched_for_and_sorted_by_nothing(tmp_path: Path) -> None:
    """A month of one meter among many is found in milliseconds, and rows are answered as they are read."""
    path = tmp_path / "journal.sqlite"
    SqliteJournal.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        query = f"EXPLAIN QUERY PLAN {attached_rows.blocks_of_buckets(3)}"
        plan = [row[3] for row in connection.execute(query, ("meter 1", "load", 1, 2, 3, 9))]
        query = f"EXPLAIN QUERY PLAN {attached_rows.blocks_of_channels(2, 3)}"
        names = (0, "meter 1", "load", 1, "meter 2", "load")
        of_many = [row[3] for row in connection.execute(query, (*names, 1, 2, 3, 9))]
        query = f"EXPLAIN QUERY PLAN {attached_rows.DATASOURCE_VALUES}"
        bindings = {"datasource": "meter 1", "start": 1, "end": 2, "first": 0}
        of_values = [row[3] for row in connection.execute(query, bindings)]
    assert len(plan) == 3
    assert all(step.startswith("SEARCH") for step in plan), plan
    assert of_many[-3:] == plan
    assert len(of_values) == 2
    assert all(step.startswith("SEARCH") for step in of_values), of_values
    assert not any("TEMP B-TREE" in step for step in of_many)


Listed = Callable[[SqliteJournal], Iterator[Any]]
LISTS: tuple[tuple[str, Listed], ...] = (
    ("DELETE FROM block_bodies", lambda journal: journal.blocks("meter 1", "load", -1, 1, 9)),
    (
        "UPDATE billing_values SET body = x'00'",
        lambda journal: journal.billing_values("meter 0", "BILLING", 0, 10_000, 9),
    ),
    ("UPDATE billing_messages SET document = x'00'", lambda journal: journal.billing_messages(0)),
)


@pytest.mark.parametrize(("damage", "listed"), LISTS)
def test_who_reads_no_further_holds_nothing_back(tmp_path: Path, damage: str, listed: Listed) -> None:
    """A list that is left, or that fails, holds its snapshot for nobody who reads after it."""
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJournal.open(path, partition_count=PARTITION_COUNT)) as journal:
        journal.claim()
        for sequence in (1, 2):
            append(journal, sequence, attached(1))
        left: Any = listed(journal)
        next(left)
        left.close()
        append(journal, 3, attached(1))
        assert journal.last_sequence == 3
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    with closing(SqliteJournal.open(path)) as journal:
        journal.claim()
        # Whoever keeps the error keeps all that was being read when it was raised.
        with pytest.raises(DamagedJournal) as kept:
            list(listed(journal))
        append(journal, 4, attached(1))
        assert journal.last_sequence == 4, kept


def test_a_commit_is_counted_and_its_receipt_is_known(journal: Journal) -> None:
    journal.claim()
    append(journal, 1, attached(1))
    append(journal, 2, None)
    assert journal.attached_summary(1) == attached(1).summary()
    assert journal.attached_summary(2) is None
    assert journal.receipt_times([1]) == {1: attached(1).receipt_time_us}


def test_values_come_by_end_start_and_position(journal: Journal) -> None:
    journal.claim()
    for sequence in (1, 2):
        append(journal, sequence, attached(sequence))
    found = list(journal.billing_values("meter 0", "BILLING", 0, 10_000, 2))
    assert found == sorted(found)
    assert {each.position >> 24 for each in found} == {1, 2}
    assert list(journal.billing_values("meter 0", "BILLING", 0, 10_000, 1)) == [
        each for each in found if each.position >> 24 == 1
    ]
    assert list(journal.billing_values("meter 0", "BILLING", 10_000, 20_000, 2)) == []


@pytest.mark.parametrize(
    ("datasource", "after", "start", "end", "expected"),
    [
        ("meter 0", 0, 0, 10_000, True),
        ("meter 0", 1, 0, 10_000, True),
        ("meter 0", 2, 0, 10_000, False),
        ("meter 9", 0, 0, 10_000, False),
        # A neighbour's end is no part of the period, and a period without length is met by itself alone.
        ("month", 0, 200, 300, False),
        ("month", 0, 0, 100, False),
        ("month", 0, 199, 300, True),
        ("month", 0, 0, 101, True),
        ("month", 0, 150, 160, True),
        ("month", 0, 0, 300, True),
        ("month", 0, 100, 100, False),
        ("moment", 0, 100, 100, True),
        ("moment", 0, 99, 99, False),
        ("moment", 0, 99, 100, False),
    ],
)
def test_values_that_were_stored_behind_a_sequence_are_found_by_datasource_and_period(
    journal: Journal, datasource: str, after: int, start: int, end: int, expected: bool
) -> None:
    journal.claim()
    for sequence in (1, 2):
        append(journal, sequence, attached(sequence))
    rows = [BillingValueRow(SeriesName("month", "BILLING", 0), 200, 100, 0, b"{}")]
    rows += [BillingValueRow(SeriesName("moment", "BILLING", 0), 100, 100, 0, b"{}")]
    append(journal, 3, replace(attached(3), values=rows))
    found = list(journal.datasource_values(datasource, start, end, after))
    assert bool(found) is expected
    assert all(value in journal.billing_values(datasource, channel, -1, 10_000, 9) for channel, value in found)


def test_messages_stay_until_they_are_acknowledged(journal: Journal) -> None:
    journal.claim()
    for sequence in (1, 2):
        append(journal, sequence, attached(sequence))
    every = list(journal.billing_messages(0))
    first, second = (each.message_id for each in every)
    assert [each.document for each in every] == [attached(1).messages[0].document, attached(2).messages[0].document]
    assert list(journal.billing_messages(first)) == every[1:]

    assert journal.acknowledge([second, 77, second]) == ([second], [], [77])
    assert list(journal.billing_messages(0)) == every[:1]
    assert journal.acknowledge([first, second]) == ([first], [second], [])
    assert list(journal.billing_messages(0)) == []


def test_a_refused_append_stores_nothing_beside_it_either(journal: Journal) -> None:
    journal.claim()
    append(journal, 1, attached(1))
    with pytest.raises(SequenceConflict):
        append(journal, 3, attached(3))
    assert journal.attached_summary(3) is None
    assert len(list(journal.billing_messages(0))) == 1
    # What the refused commit named is named anew.
    append(journal, 2, attached(3))
    blocks = [each for _, found in journal.blocks("meter 3", "load", -9, 9, 2) for each in found]
    assert blocks


def test_who_has_no_claim_acknowledges_nothing(journal: Journal) -> None:
    with pytest.raises(Fenced):
        journal.acknowledge([1])


def test_of_two_servers_on_a_file_only_the_later_stores_and_acknowledges(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with (
        closing(SqliteJournal.open(path, partition_count=PARTITION_COUNT)) as first,
        closing(SqliteJournal.open(path, partition_count=PARTITION_COUNT)) as second,
    ):
        first.claim()
        append(first, 1, attached(1))
        second.claim()
        with pytest.raises(Fenced):
            append(first, 2, attached(2))
        with pytest.raises(Fenced):
            first.acknowledge([position_of(1, 0)])
        append(second, 2, attached(2))
        assert second.acknowledge([position_of(1, 0)]).now == [position_of(1, 0)]
        assert len(list(second.billing_messages(0))) == 1


def read_everything(journal: Journal) -> None:
    for number in range(8):
        list(journal.blocks(f"meter {number}", "load", -9, 9, 9))
        list(journal.billing_values(f"meter {number}", "BILLING", 0, 10_000, 9))
    list(journal.billing_messages(0))
    journal.receipt_times([1])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            "UPDATE block_bodies SET body = zeroblob(length(body))",
            "the block that sequence 1 stored fails its checksum",
        ),
        ("DELETE FROM block_bodies", "the block that sequence 1 stored is missing"),
        ("UPDATE block_directory SET bucket = bucket + 1", "fails its checksum"),
        ("UPDATE series SET datasource = 'meter 7' WHERE datasource = 'meter 1'", "fails its checksum"),
        ("UPDATE billing_values SET body = zeroblob(3)", "the value that sequence 1 stored fails its checksum"),
        ("UPDATE billing_messages SET document = zeroblob(3)", "is missing or fails its checksum"),
        ("DELETE FROM billing_messages", "is missing or fails its checksum"),
        ("UPDATE attached SET receipt_time_us = 7", "fails its checksum"),
        ("DELETE FROM attached", "the row of sequence 1 is missing"),
    ],
)
def test_damage_is_named_and_never_answered(tmp_path: Path, damage: str, words: str) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJournal.open(path, partition_count=PARTITION_COUNT)) as journal:
        journal.claim()
        append(journal, 1, attached(1))
        read_everything(journal)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    with closing(SqliteJournal.open(path)) as journal, pytest.raises(DamagedJournal, match=words):
        read_everything(journal)
