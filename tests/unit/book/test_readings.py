"""Readings in a book: refused deliveries, commits that fail, restarts, calculations that are stored or are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pytest
from tests.support.faulty_journal import FaultyJournal, Outcome
from tests.support.held_journal import HeldJournal
from tests.support.metered_book import (
    NOW_US,
    QUARTER_US,
    MeteredBook,
    Row,
    configuration,
    delivery,
    message,
    reason_of,
    wire,
)
from tests.support.segments import block
from tests.support.watched_files import Disk, watched_files

from tallybook_client import readings_stream
from tallybook_server import limits, writer
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.attached import DELETIONS_BUCKET, MessageRow, SeriesName
from tallybook_server.journal.interface import Journal, UnreadableJournal
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.writer import ROW_BYTES, Parcel, Stored

START_US = 1_735_689_600_000_000
"""2025-01-01."""
DAY = [Row(START_US + QUARTER_US * (place + 1), 100 + place) for place in range(96)]
Open = Callable[[Journal], MeteredBook]


@pytest.fixture
def open_on() -> Iterator[Open]:
    opened: list[MeteredBook] = []

    def on(journal: Journal) -> MeteredBook:
        opened.append(MeteredBook(journal))
        return opened[-1]

    yield on
    for book in opened:
        book.close()


@pytest.fixture
def book(open_on: Open) -> MeteredBook:
    return open_on(MemoryJournal())


def listed(book: MeteredBook, datasource: str = "m1", **fields: Any) -> list[Any]:
    return book.all_of("readings", "readings", datasource=datasource, channel="load", **fields)


def nothing_is_stored(book: MeteredBook, datasource: str = "m1") -> bool:
    """Whether the book, whose catalogue is empty, does not know a datasource."""
    with pytest.raises(Fault) as fault:
        listed(book, datasource)
    return fault.value.code is ErrorCode.DATASOURCE_NOT_FOUND


def billing(datasource: str = "m1", **fields: Any) -> Any:
    request = wire.BillingRequest(
        datasource=datasource,
        start_time={"seconds": START_US // 10**6},
        end_time={"seconds": START_US // 10**6 + 86_400},
        time_zone="UTC",
        channels=[{"channel": "load", "kind": "INTERVAL"}, {"channel": "load", "kind": "PMAX"}],
    )
    configured = fields.pop("configuration", configuration(datasource))
    return wire.CalculateDeterminantsRequest(billing_request=request, configuration=configured, **fields)


class Encoded(NamedTuple):
    """A message as its bytes."""

    content: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802 - as a message's
        return self.content


# What is refused


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (delivery("m9", DAY), "datasource", 'no datasource "m9"'),
        (delivery("", DAY), "datasource", "1 to 255 bytes"),
        (delivery("m1", DAY, channel="gas"), "deliveries.deliveries[1].readings.channel", 'no channel "gas"'),
        (delivery("m1", DAY, unit="MWh"), "deliveries.deliveries[1].readings.unit", '"kWh"'),
        (
            delivery("m1", DAY, decimal_places=4),
            "deliveries.deliveries[1].readings.decimal_places",
            "kept with 3, and row 1, of 2025-01-01T00:30:00Z, is 0.0101: round it",
        ),
        (
            delivery("m1", [row._replace(value=10) for row in DAY], decimal_places=4),
            "deliveries.deliveries[1].readings.decimal_places",
            "no value needs more",
        ),
        (delivery("m1", DAY, decimal_places=99), "deliveries.deliveries[1].readings.decimal_places", "is 99"),
        (delivery("m1", [*DAY[:2], DAY[1]]), "deliveries.deliveries[1].readings.listed_times", "stands twice"),
        (delivery("m1", DAY[:2][::-1]), "deliveries.deliveries[1].readings.listed_times", "not sorted"),
        (delivery("m1", [Row(START_US, 1, "guessed")]), "deliveries.deliveries[1].readings.statuses[0]", '"guessed"'),
        (delivery("m1", [Row(-(2**55), 1)]), "deliveries.deliveries[1].readings", "1900-01-01"),
    ],
)
def test_a_wrong_delivery_is_named_and_the_others_are_stored(
    book: MeteredBook, wrong: Any, field: str, words: str
) -> None:
    (answer,) = book.ingest(message([delivery("m1", DAY[:5]), wrong, delivery("m2", DAY)], configuration("m1", "m2")))

    result = answer.result
    assert (result.stored_count, result.refused_delivery_count) == (5 + 96, 1)
    (refused,) = result.refused_deliveries
    assert (refused.index, refused.datasource, refused.channel) == (1, wrong.datasource, wrong.readings.channel)
    assert (refused.fault.reason, refused.fault.field) == ("FIELD_INVALID", field)
    assert words in refused.fault.message
    assert len(listed(book)) == 5
    assert len(listed(book, "m2")) == 96


def test_deliveries_that_are_nearly_alike_are_each_read_as_sent(book: MeteredBook) -> None:
    """Where deliveries of a message say the same beside their values, it is read once: here each says something else.

    So does the classifier of the second channel's, whose statuses and times are those of the first.
    """
    later = [row._replace(time_us=row.time_us + 86_400 * 10**6) for row in DAY]
    doubtful = [row._replace(status="questionable") for row in DAY]
    sent = {
        "same": delivery("same", [row._replace(value=row.value + 1) for row in DAY]),
        "again": delivery("again", DAY),
        "later": delivery("later", later),
        "doubtful": delivery("doubtful", doubtful),
        "unit": delivery("unit", DAY, unit="kWh"),
        "tenths": delivery("tenths", DAY, decimal_places=1),
        "mega": delivery("mega", DAY),
        "wrong": delivery("wrong", DAY, unit="MWh"),
        "wrong too": delivery("wrong too", DAY, unit="MWh"),
    }
    configured = configuration(*sent)
    configured.channel_classifiers.add(id="MEGA", unit="MWh", decimal_places=4)
    configured.datasources[list(sent).index("mega")].channels[0].classifier = "MEGA"

    (answer,) = book.ingest(message(list(sent.values()), configured))

    paths = [each.fault.field for each in answer.result.refused_deliveries]
    assert paths == [f"deliveries.deliveries[{index}].readings.unit" for index in (7, 8)]
    refused = ("wrong", "wrong too")
    assert all(nothing_is_stored(book, name) for name in refused)
    found = {name: listed(book, name) for name in sent if name not in refused}
    values = {name: [Decimal(each.value) for each in rows] for name, rows in found.items()}
    assert values["again"] == [Decimal(row.value).scaleb(-3) for row in DAY]
    assert values["same"] == [value + Decimal("0.001") for value in values["again"]]
    assert values["tenths"] == [value * 100 for value in values["again"]]
    assert values["later"] == values["doubtful"] == values["unit"] == values["mega"] == values["again"]
    assert [each.time.ToMicroseconds() for each in found["later"]] == [row.time_us for row in later]
    assert {name: {each.quality for each in rows} for name, rows in found.items()} == {
        **{name: {"measured"} for name in found},
        "doubtful": {"questionable"},
    }
    assert {each.unit for each in found["mega"]} == {"MWh"}


def test_a_delivery_that_is_not_packed_is_refused_beside_one_like_it_that_is(book: MeteredBook) -> None:
    packed = delivery("m1", DAY[:1])
    bare = wire.ReadingDelivery.FromString(packed.SerializeToString())
    del bare.readings.values[:]
    # Field 6 of wire type 1: one fixed64, as proto2 writes it. A message of the contract would read and mend it.
    loose = bare.readings.SerializeToString() + b"\x31" + bytes(8)
    sent = message([packed], configuration("m1")).SerializeToString()
    name = b"\x0a\x02m1"
    one = name + b"\x12" + bytes([len(loose)]) + loose
    some = b"\x0a" + bytes([len(one)]) + one
    field = wire.IngestReadingsRequest.DESCRIPTOR.fields_by_name["deliveries"].number
    (answer,) = book.ingest(Encoded(sent + bytes([field << 3 | 2, len(some)]) + some))
    assert answer.result.stored_count == 1
    (refused,) = answer.result.refused_deliveries
    assert (refused.index, refused.fault.field) == (1, "deliveries.deliveries[1].readings.values")
    assert "not packed" in refused.fault.message


def test_a_message_is_stored_alike_however_many_deliveries_are_packed_with_one_call(
    open_on: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = []
    for packed_together in (1, 100, 1 << 17):
        monkeypatch.setattr("tallybook_server.codec.deliveries.PACKED_TOGETHER", packed_together)
        book = open_on(MemoryJournal())
        book.deliver(*(delivery(f"m{meter}", DAY[meter:]) for meter in range(5)), delivery("m5", []))
        found = [list(book.journal.blocks(f"m{meter}", "load", 0, 1_000, 1)) for meter in range(6)]
        assert [len(each) for each in found] == [1, 1, 1, 1, 1, 0]
        bodies.append(found)
    assert bodies[0] == bodies[1] == bodies[2]


def test_a_message_of_refused_deliveries_takes_no_sequence(book: MeteredBook) -> None:
    (answer,) = book.ingest(message([delivery("m9", DAY)], configuration("m1")))
    assert (answer.result.sequence, answer.result.refused_delivery_count) == (0, 1)
    assert book.journal.last_sequence == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (wire.IngestReadingsRequest(), "FIELD_INVALID"),
        (wire.IngestReadingsRequest(arrow=b"no stream"), "ARROW_MALFORMED"),
        (message([], wire.DeterminantsConfiguration(channel_classifiers=[{"id": "A"}])), "FIELD_INVALID"),
    ],
)
def test_a_wrong_message_is_answered_with_a_status_and_the_stream_goes_on(
    book: MeteredBook, wrong: Any, reason: str
) -> None:
    first, second, third = book.ingest(message([delivery("m1", DAY)]), wrong, message([delivery("m1", DAY[:1])]))
    assert (first.result.stored_count, third.result.stored_count) == (96, 1)
    assert reason_of(second.status) == reason


def test_what_has_no_quality_is_left_out_and_counted(book: MeteredBook) -> None:
    rows = [DAY[0], DAY[1]._replace(status=""), DAY[2]]
    result = book.deliver(delivery("m1", rows))
    assert (result.stored_count, result.ignored_count) == (2, 1)
    assert [each.time.ToMicroseconds() for each in listed(book)] == [DAY[0].time_us, DAY[2].time_us]


def test_too_many_readings_and_too_many_stretches(book: MeteredBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READINGS_IN_BATCH_MAX", 100)
    monkeypatch.setattr(limits, "BLOCKS_IN_BATCH_MAX", 3)
    months = [Row(START_US + 40 * place * 86_400_000_000, 1) for place in range(4)]
    fits, readings, blocks = book.ingest(
        message([delivery("m1", DAY), delivery("m2", DAY[:4])]),
        message([delivery("m1", DAY), delivery("m2", DAY[:5])]),
        message([delivery("m1", months)]),
    )
    assert fits.result.stored_count == 100
    assert reason_of(readings.status) == reason_of(blocks.status) == "TOO_MANY_READINGS"
    (answer,) = book.ingest(message([delivery("m1", months[:3])]))
    assert answer.result.stored_count == 3


# Arrow


def frame(**columns: Any) -> pl.DataFrame:
    found = {
        "datasource": ["m1", "m2", "m1", "m2"],
        "channel": ["load"] * 4,
        "time": pl.Series([START_US, START_US, START_US + QUARTER_US, START_US + QUARTER_US]).cast(
            pl.Datetime("us", "UTC")
        ),
        "value": pl.Series(["1.5", "2.25", "0.001", "-3"]).cast(pl.Decimal(38, 3)),
        "quality": ["measured", "estimated", "measured", None],
    }
    return pl.DataFrame({**found, **columns})


def arrow(of: pl.DataFrame) -> Any:
    configured = configuration("m1", "m2", interval={"seconds": 900})
    return wire.IngestReadingsRequest(configuration=configured, arrow=readings_stream(of, with_datasource=True))


def test_an_arrow_stream_holds_channels_of_many_datasources(book: MeteredBook) -> None:
    (answer,) = book.ingest(arrow(frame()))
    assert (answer.result.stored_count, answer.result.ignored_count) == (3, 1)
    assert [(each.value, each.quality) for each in listed(book)] == [("1.5", "measured"), ("0.001", "measured")]
    assert [(each.value, each.quality) for each in listed(book, "m2")] == [("2.25", "estimated")]


def test_a_wrong_channel_of_an_arrow_stream_is_refused_alone(book: MeteredBook) -> None:
    fine = pl.Series(["1.5", "2.0001", "0.001", "-3"]).cast(pl.Decimal(38, 4))
    (answer,) = book.ingest(arrow(frame(value=fine)))
    (refused,) = answer.result.refused_deliveries
    assert (refused.index, refused.datasource, refused.channel) == (1, "m2", "load")
    assert "more than the channel's 3 decimals" in refused.fault.message
    assert len(listed(book)) == 2


def test_floats_are_refused_and_so_nan_cannot_be_sent(book: MeteredBook) -> None:
    message = arrow(frame())
    table = pa.ipc.open_stream(message.arrow).read_all()
    column = table.column_names.index("value")
    floats = table.set_column(column, "value", pa.array([1.5, float("nan"), 0.0, 1.0]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, floats.schema) as writer:
        writer.write_table(floats)
    message.arrow = sink.getvalue().to_pybytes()
    (answer,) = book.ingest(message)
    assert reason_of(answer.status) == "ARROW_COLUMN_TYPE"
    assert "not exact" in answer.status.message


# Commits


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Outcome.FAILED, "COMMIT_FAILED"), (Outcome.FULL, "DISK_FULL"), (Outcome.UNKNOWN_LOST, "COMMIT_FAILED")],
)
def test_a_failed_commit_stores_nothing_and_its_callers_send_again(
    open_on: Open, outcome: Outcome, reason: str
) -> None:
    book = open_on(FaultyJournal(MemoryJournal(), [outcome, outcome]))
    (failed,) = book.ingest(message([delivery("m1", DAY)]))
    assert reason_of(failed.status) == reason
    assert nothing_is_stored(book)
    answer = book.calculate(billing(store=True, readings=[delivery("m1", DAY).readings]))
    assert reason_of(answer.status) == reason
    assert book.page("billing_messages").messages == []

    assert book.deliver(delivery("m1", DAY)).sequence == 1
    assert len(listed(book)) == 96


def test_a_full_disk_is_said_and_readings_are_stored_once_there_is_room(tmp_path: Path, open_on: Open) -> None:
    disk = Disk()
    with watched_files(disk) as layer:
        book = open_on(SqliteJournal.open(tmp_path / "journal.sqlite", vfs=layer))
        book.deliver(delivery("m1", DAY[:1]))
        disk.full = True
        full = book.ingest(message([delivery("m1", DAY)]), message([delivery("m2", DAY)]))
        assert [reason_of(each.status) for each in full] == ["DISK_FULL", "DISK_FULL"]
        assert reason_of(book.calculate(billing(store=True)).status) == "DISK_FULL"
        with pytest.raises(Fault) as fault:
            book.delete(datasource="m1", channel="load")
        assert fault.value.code is ErrorCode.DISK_FULL
        assert len(listed(book)) == 1
        assert nothing_is_stored(book, "m2")
        disk.full = False
        assert [each.result.sequence for each in book.ingest(message([delivery("m1", DAY)]))] == [2]
        book.restart(SqliteJournal.open(tmp_path / "journal.sqlite"))
    assert len(listed(book, include_superseded=True)) == 97


def test_parcels_that_are_too_many_are_refused_and_the_others_are_stored(
    open_on: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUED_ROWS_MAX", 1)
    monkeypatch.setattr(writer, "COMMIT_ROWS_MAX", 1)
    journal = HeldJournal(MemoryJournal())
    book = open_on(journal)
    series = SeriesName("m1", "load", book.book.partitions(["m1"])[0])

    async def stored_until_refused() -> list[int]:
        accepted: list[asyncio.Future[Stored]] = []
        with journal.held():
            while True:
                parcel = Parcel([block(series, len(accepted), b"1")])
                sent = asyncio.ensure_future(book.book.store(parcel))
                # One turn of the loop takes it into the queue, or it is refused.
                await asyncio.sleep(0)
                if sent.done():
                    refused = sent.exception()
                    assert isinstance(refused, Fault)
                    assert refused.code is ErrorCode.OVERLOADED
                    break
                accepted.append(sent)
        return [each.sequence for each in await asyncio.gather(*accepted)]

    # Given commits that wait for the disk: some on their way, one open and one in the queue
    sequences = asyncio.run(stored_until_refused())
    # Then what was accepted is stored, and nothing of what was refused
    assert 1 <= len(sequences) <= writer.APPENDING_MAX + 2
    assert sequences == list(range(1, len(sequences) + 1))
    found = [bucket for bucket, _ in journal.blocks("m1", "load", 0, 99, 99)]
    assert found == list(range(len(sequences)))


def test_each_answer_says_how_far_the_stream_is(book: MeteredBook) -> None:
    rows = [DAY[0], DAY[1]._replace(status=""), DAY[2]]
    answers = book.ingest(
        message([delivery("m1", rows), delivery("m9", DAY)], configuration("m1")),
        wire.IngestReadingsRequest(arrow=b"no stream"),
        message([delivery("m1", DAY)]),
    )
    progress = [each.progress for each in answers]
    assert [each.answered_count for each in progress] == [1, 2, 3]
    assert [each.stored_count for each in progress] == [2, 2, 98]
    assert [each.ignored_count for each in progress] == [1, 1, 1]
    assert [each.refused_delivery_count for each in progress] == [1, 1, 1]


def test_a_commit_that_was_written_without_being_confirmed_counts(open_on: Open) -> None:
    book = open_on(FaultyJournal(MemoryJournal(), [Outcome.UNKNOWN_WRITTEN]))
    assert book.deliver(delivery("m1", DAY)).sequence == 1
    assert book.deliver(delivery("m1", DAY[:1])).sequence == 2
    assert len(listed(book, include_superseded=True)) == 97


def test_nothing_is_read_while_the_journals_end_is_not_known(open_on: Open) -> None:
    book = open_on(FaultyJournal(MemoryJournal(), [Outcome.UNKNOWN_WRITTEN], unsettled_answers=2))
    (answer,) = book.ingest(message([delivery("m1", DAY)]))
    assert reason_of(answer.status) == "COMMIT_UNKNOWN"
    with pytest.raises(Fault) as fault:
        listed(book)
    assert fault.value.code is ErrorCode.COMMIT_UNKNOWN
    assert len(listed(book)) == 96


def test_who_was_taken_over_stores_no_more(tmp_path: Path, open_on: Open) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJournal.open(path)) as own:
        first = open_on(own)
        first.deliver(delivery("m1", DAY))
        second = open_on(SqliteJournal.open(path))
        second.deliver(delivery("m1", DAY[:1]))
        (refused,) = first.ingest(message([delivery("m1", DAY[:2])]))
        assert reason_of(refused.status) == "COMMIT_FAILED"
        with pytest.raises(Fault) as fault:
            first.page("acknowledge", message_ids=["msg_0000000001000000"])
        assert fault.value.code is ErrorCode.COMMIT_FAILED
        assert len(listed(second, include_superseded=True)) == 97


def test_a_book_of_readings_opens_again_merged_or_not(tmp_path: Path, open_on: Open) -> None:
    path = tmp_path / "journal.sqlite"
    book = open_on(SqliteJournal.open(path))
    for row in DAY:
        book.now_us += 1_000_000
        book.deliver(delivery("m1", [row]))
    before = listed(book)
    assert [each.receipt_time.ToMicroseconds() for each in before] == [NOW_US + 10**6 * place for place in range(1, 97)]

    book.book.tidy()
    assert len(book.journal.headers()) < len(DAY)
    assert listed(book) == before
    book.now_us = NOW_US
    book.restart(SqliteJournal.open(path))

    assert listed(book) == before
    assert book.deliver(delivery("m1", DAY[:1])).sequence == len(DAY) + 1
    # The clock that went back is not believed.
    assert listed(book)[0].receipt_time == before[-1].receipt_time


def test_nothing_of_another_book_is_seen(open_on: Open) -> None:
    mine, others = open_on(MemoryJournal()), open_on(MemoryJournal())
    mine.deliver(delivery("m1", DAY))
    stored = mine.calculate(billing(store=True)).result
    assert nothing_is_stored(others)
    assert others.page("billing_messages").messages == []
    assert others.page("acknowledge", message_ids=[stored.message_id]).unknown_ids == [stored.message_id]
    assert len(mine.page("billing_messages").messages) == 1


# Calculations


def values(book: MeteredBook, channel: str, **fields: Any) -> list[Any]:
    return book.all_of("billing_readings", "readings", datasource="m1", billing_channel=channel, **fields)


def test_a_stored_calculation_is_a_value_a_channel_and_one_message(book: MeteredBook) -> None:
    book.deliver(delivery("m1", DAY))
    result = book.calculate(billing(store=True)).result

    assert (result.readings_sequence, result.stored_sequence) == (1, 2)
    (value,) = values(book, "BILLING_ACTIVE_INTERVAL")
    assert (
        Decimal(value.value) == Decimal(result.determinants[0].value) == sum(Decimal(row.value) for row in DAY) / 1000
    )
    assert (value.unit, value.quality, value.sequence) == ("kWh", "measured", 2)
    assert value.message_id == result.message_id
    assert value.annotations["period_start"] == "2025-01-01T00:00:00Z"
    (peak,) = values(book, "BILLING_ACTIVE_PMAX")
    assert peak.annotations["pmax_start"] == "2025-01-01T23:45:00Z"
    (sent,) = book.page("billing_messages").messages
    assert (sent.message_id, sent.datasource) == (result.message_id, "m1")
    assert '"BILLING_ACTIVE_PMAX"' in sent.document


def test_the_last_calculation_of_a_period_counts_and_the_first_stays(book: MeteredBook) -> None:
    for number in range(3):
        book.deliver(delivery("m1", [row._replace(value=number) for row in DAY]))
        book.calculate(billing(store=True))
    assert [each.value for each in values(book, "BILLING_ACTIVE_INTERVAL")] == ["0.192"]
    every = values(book, "BILLING_ACTIVE_INTERVAL", include_superseded=True, page_size=1)
    assert [(each.value, each.superseded) for each in every] == [("0", True), ("0.096", True), ("0.192", False)]
    as_of = values(book, "BILLING_ACTIVE_INTERVAL", as_of_sequence=2)
    assert [each.value for each in as_of] == ["0"]
    again = book.calculate(billing(as_of_sequence=3)).result
    assert (again.determinants[0].value, again.readings_sequence, again.stored_sequence) == ("0.096", 3, 0)


@pytest.mark.parametrize("rows", [[], [*DAY[:5], DAY[5]._replace(status="questionable")]])
def test_a_cancelled_calculation_stores_nothing(book: MeteredBook, rows: list[Row]) -> None:
    book.deliver(delivery("m1", rows or [Row(START_US, 1)]))
    answer = book.calculate(billing(store=True))
    (cause, *_) = answer.cancellation.causes
    assert cause.channel == "load"
    assert book.journal.last_sequence == 1
    assert book.page("billing_messages").messages == []
    assert values(book, "BILLING_ACTIVE_INTERVAL") == []


def test_a_channel_that_is_configured_anew_does_not_misread_what_is_stored(book: MeteredBook) -> None:
    book.deliver(delivery("m1", DAY))
    for changed in ({"unit": "MWh"}, {"decimal_places": 2}):
        answer = book.calculate(billing(configuration=configuration("m1", **changed)))
        assert reason_of(answer.status) == "STORED_READINGS_DO_NOT_FIT"
    for changed, words in (
        ({"label": "BEGIN"}, ("interval's END", "'ACTIVE' says BEGIN")),
        ({"kind": "REGISTER"}, ("kind INTERVAL", "'ACTIVE' says REGISTER")),
    ):
        asked = billing(configuration=configuration("m1", **changed))
        if "kind" in changed:
            asked.billing_request.ClearField("channels")
            asked.billing_request.channels.add(channel="load", kind="REGISTER")
        status = book.calculate(asked).status
        assert reason_of(status) == "STORED_READINGS_DO_NOT_FIT"
        for word in ("'m1'", "'load'", *words, "DeleteReadings", "let the classifier be"):
            assert word in status.message
    finer = book.calculate(billing(configuration=configuration("m1", decimal_places=6))).result
    assert finer.determinants[0].value == book.calculate(billing()).result.determinants[0].value


SHIFT_US = 7 * 60_000_000
SHIFTED = [row._replace(time_us=row.time_us + SHIFT_US) for row in DAY[:-1]]


@pytest.mark.parametrize(("lengths_us", "found"), [(None, "900 s"), ([QUARTER_US] * 95 + [QUARTER_US + 1], "900 s")])
def test_a_delivery_whose_intervals_overlap_is_refused(
    book: MeteredBook, lengths_us: list[int] | None, found: str
) -> None:
    rows = sorted([*DAY[:49], *SHIFTED[:47]])
    one = delivery("m1", rows)
    if lengths_us is not None:
        one.readings.listed_times.ClearField("interval")
        one.readings.listed_times.intervals_us.extend(lengths_us)
    result = book.deliver(one, delivery("m2", DAY))
    (refused,) = result.refused_deliveries
    assert (refused.datasource, refused.channel, refused.fault.reason) == ("m1", "load", "FIELD_INVALID")
    assert f"channel 'load': intervals overlap, at row 1: the one at 2025-01-01T00:22:00Z of {found}" in (
        refused.fault.message
    )
    assert nothing_is_stored(book)
    assert len(listed(book, "m2")) == 96


def test_deliveries_whose_intervals_overlap_are_not_added_up(book: MeteredBook) -> None:
    for rows in (DAY, SHIFTED):
        book.deliver(delivery("m1", rows))
    status = book.calculate(billing()).status
    assert reason_of(status) == "STORED_READINGS_DO_NOT_FIT"
    for word in ("'m1'", "'load'", "at row 1: the one at 2025-01-01T00:22:00Z of 900 s", "DeleteReadings"):
        assert word in status.message
    # What the message says mends it: earlier readings
    assert book.calculate(billing(as_of_sequence=1)).result.determinants[0].counts.coverage == "1"
    beside = billing(readings=[delivery("m1", DAY).readings])
    assert book.calculate(beside).result.determinants[0].counts.coverage == "1"
    # Or none of what should not have been delivered
    before = book.calculate(beside).result.determinants
    answer = book.delete(datasource="m1", channel="load", sequence=2)
    assert (answer.deleted_count, answer.sequence) == (95, 3)
    assert list(book.calculate(billing()).result.determinants) == list(before)
    assert reason_of(book.calculate(billing(as_of_sequence=2)).status) == "STORED_READINGS_DO_NOT_FIT"


@pytest.mark.parametrize("changed", [{"unit": "MWh"}, {"label": "BEGIN"}, {"decimal_places": 2}])
def test_what_does_not_fit_is_taken_back_and_delivered_anew(book: MeteredBook, changed: dict[str, Any]) -> None:
    book.deliver(delivery("m1", DAY))
    now = configuration("m1", **changed)
    assert reason_of(book.calculate(billing(configuration=now)).status) == "STORED_READINGS_DO_NOT_FIT"
    book.delete(datasource="m1", channel="load")
    (answer,) = book.ingest(message([delivery("m1", DAY[:-1], decimal_places=2)], now))
    assert answer.result.stored_count == 95
    assert book.calculate(billing(configuration=now)).result.determinants[0].counts.present_count == 95


def test_only_what_would_count_has_to_fit(book: MeteredBook) -> None:
    early, late = DAY[:48], DAY[48:]
    book.deliver(delivery("m1", DAY))
    now = configuration("m1", unit="MWh")
    # What was replaced under the new configuration does not count, whatever it is
    book.ingest(message([delivery("m1", late)], now))
    assert reason_of(book.calculate(billing(configuration=now)).status) == "STORED_READINGS_DO_NOT_FIT"
    later = billing(configuration=now)
    later.billing_request.start_time.FromMicroseconds(late[0].time_us)
    assert book.calculate(later).result.determinants[0].counts.present_count == 47
    book.ingest(message([delivery("m1", early)], now))
    assert book.calculate(billing(configuration=now)).result.determinants[0].counts.present_count == 96


# What is taken back


def test_what_is_taken_back_counts_no_more_and_stays_for_audit(book: MeteredBook) -> None:
    book.deliver(delivery("m1", DAY[:3]))
    book.deliver(delivery("m1", [row._replace(value=9) for row in DAY[1:3]]))
    # When the second delivery is taken back, of one timestamp
    bound = {"seconds": DAY[2].time_us // 10**6}
    answer = book.delete(datasource="m1", channel="load", sequence=2, end_time=bound)
    # Then the first one counts again
    assert (answer.deleted_count, answer.sequence) == (1, 3)
    assert [each.value for each in listed(book)] == ["0.1", "0.101", "0.009"]
    every = [(each.value, each.superseded, each.deleted_sequence) for each in listed(book, include_superseded=True)]
    assert every == [
        ("0.1", False, 0),
        ("0.101", False, 0),
        ("0.009", False, 3),
        ("0.102", True, 0),
        ("0.009", False, 0),
    ]
    assert [each.value for each in listed(book, as_of_sequence=2)] == ["0.1", "0.009", "0.009"]
    # When all is taken back, twice
    assert book.delete(datasource="m1", channel="load").deleted_count == 4
    again = book.delete(datasource="m1", channel="load")
    # Then nothing counts, and the second time nothing happened
    assert (again.deleted_count, again.sequence, listed(book)) == (0, 0, [])
    (cause, *_) = book.calculate(billing()).cancellation.causes
    assert cause.channel == "load"
    assert book.journal.last_sequence == 4
    # And what is delivered then counts
    book.deliver(delivery("m1", DAY[:1]))
    assert [each.value for each in listed(book)] == ["0.1"]


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        ({"datasource": "m1"}, ErrorCode.FIELD_INVALID, "channel: is required"),
        ({"channel": "load"}, ErrorCode.FIELD_INVALID, "datasource: is required"),
        ({"datasource": "m1", "channel": "load", "sequence": -1}, ErrorCode.FIELD_INVALID, "sequence: is below 0"),
        ({"datasource": "m1", "channel": "load", "sequence": 2}, ErrorCode.SEQUENCE_NOT_COMMITTED, "sequence 1"),
        ({"datasource": "m9", "channel": "load"}, ErrorCode.DATASOURCE_NOT_FOUND, "'m9'"),
        ({"datasource": "m1", "channel": "gas"}, ErrorCode.CHANNEL_NOT_FOUND, "'gas'"),
    ],
)
def test_what_cannot_be_taken_back(book: MeteredBook, wanted: dict[str, Any], code: ErrorCode, words: str) -> None:
    book.deliver(delivery("m1", DAY))
    with pytest.raises(Fault, match=words) as fault:
        book.delete(**wanted)
    assert fault.value.code is code
    assert len(listed(book)) == 96


def test_a_failed_commit_takes_nothing_back(open_on: Open) -> None:
    book = open_on(FaultyJournal(MemoryJournal(), [Outcome.COMMITTED, Outcome.FAILED]))
    book.deliver(delivery("m1", DAY))
    with pytest.raises(Fault) as fault:
        book.delete(datasource="m1", channel="load")
    assert fault.value.code is ErrorCode.COMMIT_FAILED
    assert len(listed(book)) == 96
    assert book.delete(datasource="m1", channel="load").deleted_count == 96


@pytest.mark.parametrize("bucket", [DELETIONS_BUCKET, 0])
def test_what_this_program_does_not_read_is_named(book: MeteredBook, bucket: int) -> None:
    series = SeriesName("m1", "load", book.book.partitions(["m1"])[0])
    asyncio.run(book.book.store(Parcel([block(series, bucket, b"")])))
    with pytest.raises(UnreadableJournal, match=r"datasource 'm1', channel 'load', sequence 1: .* of format"):
        listed(book)


def test_a_sequence_that_is_not_there_and_one_beside_readings_are_refused(book: MeteredBook) -> None:
    book.deliver(delivery("m1", DAY))
    assert reason_of(book.calculate(billing(as_of_sequence=2)).status) == "SEQUENCE_NOT_COMMITTED"
    beside = billing(as_of_sequence=1, readings=[delivery("m1", DAY).readings])
    assert reason_of(book.calculate(beside).status) == "FIELD_INVALID"
    with pytest.raises(Fault) as fault:
        listed(book, as_of_sequence=2)
    assert fault.value.code is ErrorCode.SEQUENCE_NOT_COMMITTED


def test_limits_of_what_a_calculation_takes(book: MeteredBook, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        book.deliver(delivery("m1", DAY))
    monkeypatch.setattr(limits, "READINGS_IN_REQUEST_MAX", 96)
    monkeypatch.setattr(limits, "SUPERSEDED_READINGS_MAX", 192)
    assert book.calculate(billing()).result.determinants
    monkeypatch.setattr(limits, "READINGS_IN_REQUEST_MAX", 95)
    assert reason_of(book.calculate(billing()).status) == "TOO_MANY_READINGS"
    monkeypatch.setattr(limits, "READINGS_IN_REQUEST_MAX", 96)
    monkeypatch.setattr(limits, "SUPERSEDED_READINGS_MAX", 191)
    assert reason_of(book.calculate(billing()).status) == "TOO_MANY_READINGS"


# The outbox


def test_the_outbox_is_read_page_by_page_and_survives_a_restart(tmp_path: Path, open_on: Open) -> None:
    path = tmp_path / "journal.sqlite"
    book = open_on(SqliteJournal.open(path))
    readings = [delivery("m1", DAY).readings]
    ids = [book.calculate(billing(store=True, readings=readings)).result.message_id for _ in range(5)]
    assert [each.message_id for each in book.all_of("billing_messages", "messages", page_size=2)] == ids
    assert book.page("acknowledge", message_ids=[ids[0], ids[2], ids[0]]).acknowledged_count == 2
    book.restart(SqliteJournal.open(path))
    answer = book.page("acknowledge", message_ids=[ids[0], "msg_1", "msg_ffffffffffffffff"])
    assert answer.already_acknowledged_count == 1
    assert list(answer.unknown_ids) == ["msg_1", "msg_ffffffffffffffff"]
    left = [ids[1], ids[3], ids[4]]
    assert [each.message_id for each in book.all_of("billing_messages", "messages", page_size=1)] == left


def test_a_page_of_the_outbox_ends_where_its_documents_are_large(
    book: MeteredBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = [delivery("m1", DAY).readings]
    for _ in range(3):
        book.calculate(billing(store=True, readings=readings))
    (first, *_) = book.page("billing_messages").messages
    monkeypatch.setattr(limits, "MESSAGES_BYTES_MAX", 2 * len(first.document))
    assert len(book.page("billing_messages").messages) == 2
    monkeypatch.setattr(limits, "MESSAGES_BYTES_MAX", 1)
    assert len(book.all_of("billing_messages", "messages")) == 3


def test_more_acknowledgements_than_a_call_takes(book: MeteredBook) -> None:
    most = limits.ACKNOWLEDGED_MESSAGES_MAX
    assert len(book.page("acknowledge", message_ids=["msg_1"] * most).unknown_ids) == 1
    with pytest.raises(Fault, match=f"at most {most}"):
        book.page("acknowledge", message_ids=["msg_1"] * (most + 1))


def test_of_very_many_refused_deliveries_the_first_are_shown(
    book: MeteredBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED_DELIVERIES_MAX", 2)
    for count in (2, 3):
        wrong = [delivery(f"x{number}", DAY[:1]) for number in range(count)]
        (answer,) = book.ingest(message([delivery("m1", DAY), *wrong], configuration("m1")))
        assert answer.result.refused_delivery_count == count
        assert [each.index for each in answer.result.refused_deliveries] == [1, 2]


def test_what_waits_is_measured_in_rows_or_in_bytes() -> None:
    """Many small blocks and one large message wait alike."""
    small = Parcel([block(SeriesName("m1", "load", 0), 0, b"1")] * 40)
    large = Parcel(messages=[MessageRow("m1", bytes(40 * ROW_BYTES))])
    assert (small.row_count, large.row_count) == (40, 40)
