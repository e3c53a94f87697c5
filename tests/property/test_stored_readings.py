"""Laws of stored readings: of each timestamp the last delivery that was not taken back counts, every one is kept, and
pages show each once.

The other side is a dict: timestamp -> what was delivered for it, in order.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.metered_book import QUARTER_US, MeteredBook, Row, delivery, message

from tallybook_engine.determinants.blocks import (
    BUCKET_US,
    Delivered,
    bucket_count,
    decode_block,
    encode_blocks,
    open_block,
)
from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind, Label
from tallybook_engine.determinants.deliveries import Fitting, Wanted, overlaid
from tallybook_engine.determinants.quality import QualityStatus, QualityTable
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes, labels_between, no_readings
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.stored_readings import load_channel, load_meters

START_US = 63 * BUCKET_US
"""Timestamps lie around the edges of buckets."""
INT64 = st.integers(-(2**63), 2**63 - 1)
STATUSES = ("measured", "estimated", "questionable")
QUALITY = QualityTable(tuple(QualityStatus(name) for name in STATUSES))
TURNED = QualityTable(QUALITY.statuses[::-1])
"""The same statuses under other codes."""
IN_MESSAGES = QualityTable(tuple(QualityStatus(name) for name in sorted(STATUSES)))
"""As a delivery of all of them has them."""


@st.composite
def deliveries(draw: st.DrawFn) -> list[Row]:
    """Some rows on a grid of quarter hours over three buckets, most of them near one another."""
    # Mostly over one another.
    first = draw(st.sampled_from([0, 5, 3_060]) | st.integers(-100, 6_200))
    places = draw(st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True))
    stride = draw(st.sampled_from([1, 1, 75]))
    return [
        Row(
            START_US + (first + place * stride) * QUARTER_US,
            draw(st.integers(-1_000, 10**12)),
            draw(st.sampled_from(STATUSES)),
        )
        for place in sorted(places)
    ]


Kept = dict[int, list[tuple[int, Row, int]]]
"""Timestamp -> (sequence, row, sequence that took it back or NEVER) of each delivery, in order."""
NEVER = 2**62
CONFIGURATION = BillingConfiguration({"load": ChannelClassifier("ACTIVE", "kWh", 3)})


def shown(page: Any) -> list[tuple[int, str, str, int, bool, int]]:
    return [
        (
            each.time.ToMicroseconds(),
            each.value,
            each.quality,
            each.sequence,
            each.superseded,
            each.deleted_sequence,
        )
        for each in page
    ]


def expected(kept: Kept, start_us: int, end_us: int, sequence: int, *, every: bool) -> list[Any]:
    found = []
    for time_us in sorted(kept):
        there = [each for each in kept[time_us] if each[0] <= sequence]
        for place, (at, row, deleted) in enumerate(there):
            is_deleted = deleted <= sequence
            is_superseded = any(later > sequence for _, _, later in there[place + 1 :])
            if start_us <= time_us < end_us and (every or not (is_deleted or is_superseded)):
                value = f"{row.value / 1000:.3f}".rstrip("0").rstrip(".") if row.value else "0"
                found.append((time_us, value, row.status, at, is_superseded, deleted if is_deleted else 0))
    return found


def instant(time_us: int) -> dict[str, int]:
    return {"seconds": time_us // 10**6, "nanos": time_us % 10**6 * 1000}


def take_back(data: st.DataObject, book: MeteredBook, kept: Kept) -> None:
    """Some readings, by time or by what a commit delivered."""
    some = sorted(data.draw(st.tuples(*[st.sampled_from([*kept, START_US + 99 * BUCKET_US])] * 2)))
    bounds = data.draw(st.sampled_from([some, [START_US - BUCKET_US, START_US + 99 * BUCKET_US]]))
    of = data.draw(st.sampled_from([0, *range(1, book.book.committed_sequence() + 1)]))
    wanted: dict[str, Any] = {"datasource": "m1", "channel": "load", "sequence": of}
    wanted["start_time"], wanted["end_time"] = map(instant, bounds)
    answer = book.delete(**wanted)
    taken = 0
    for time_us, there in kept.items():
        for place, (at, row, deleted) in enumerate(there):
            if bounds[0] <= time_us < bounds[1] and of in (0, at) and deleted == NEVER:
                there[place] = (at, row, answer.sequence)
                taken += 1
    assert answer.deleted_count == taken
    assert (answer.sequence > 0) == (taken > 0)
    again = book.delete(**wanted)
    assert (again.deleted_count, again.sequence) == (0, 0)


@given(st.data())
@settings(max_examples=30)
def test_the_last_delivery_that_is_not_taken_back_counts_and_every_one_is_kept(
    data: st.DataObject,
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        in_memory = data.draw(st.booleans())
        book = MeteredBook(MemoryJournal() if in_memory else SqliteJournal.open(path))
        kept: Kept = {}
        for each in data.draw(st.lists(st.lists(deliveries(), min_size=1, max_size=3), min_size=1, max_size=5)):
            result = book.deliver(*(delivery("m1", rows) for rows in each), delivery("m2", each[0]))
            for rows in each:
                for row in rows:
                    kept.setdefault(row.time_us, []).append((result.sequence, row, NEVER))
            if data.draw(st.booleans()):
                take_back(data, book, kept)
            if not in_memory and data.draw(st.booleans()):
                book.restart(SqliteJournal.open(path))
        last = book.book.committed_sequence()
        some = sorted(data.draw(st.tuples(*[st.sampled_from([*kept, START_US - 1, START_US + 99 * BUCKET_US])] * 2)))
        bounds = data.draw(st.sampled_from([some, [START_US - BUCKET_US, START_US + 99 * BUCKET_US]]))
        sequence, every = data.draw(st.integers(1, last)), data.draw(st.booleans())
        wanted: dict[str, Any] = {"datasource": "m1", "channel": "load", "include_superseded": every}
        wanted["start_time"], wanted["end_time"] = map(instant, bounds)
        page_size = data.draw(st.sampled_from([1, 3, 1_000]))

        found = book.all_of("readings", "readings", as_of_sequence=sequence, page_size=page_size, **wanted)

        assert shown(found) == expected(kept, bounds[0], bounds[1], sequence, every=every)
        # And what a calculation takes is what the list shows
        current = expected(kept, START_US - 2**50, START_US + 2**50, sequence, every=False)
        wide = Wanted("load", START_US - 2**50, START_US + 2**50)
        readings, _ = load_channel(book.journal, "m1", wide, CONFIGURATION, sequence)
        labels = labels_between(readings.times, 0, readings.times.count).tolist()
        assert [(label, str(value)) for label, value in zip(labels, readings.values.tolist(), strict=True)] == [
            (time_us, str(round(float(value) * 1000))) for time_us, value, *_ in current
        ]
        book.close()


@st.composite
def grid(draw: st.DrawFn) -> list[Row]:
    """Quarter hours without a hole, around the edge of a bucket; of one or of several statuses."""
    first = draw(st.sampled_from([0, 3_060, 3_072, 3_082]))
    statuses = draw(st.sampled_from([STATUSES[:1], STATUSES[:2], STATUSES]))
    return [
        Row(START_US + (first + place) * QUARTER_US, draw(st.integers(-300, 70_000)), draw(st.sampled_from(statuses)))
        for place in range(draw(st.sampled_from([1, 10, 12, 22])))
    ]


@given(st.data())
@settings(max_examples=40)
def test_many_meters_at_once_are_what_each_is_alone(data: st.DataObject) -> None:
    """Grids that follow one another, that overlap, that leave holes; other rows; readings that are taken back."""
    names = [f"m{number}" for number in range(6)]
    with TemporaryDirectory() as folder:
        in_memory = data.draw(st.booleans())
        book = MeteredBook(MemoryJournal() if in_memory else SqliteJournal.open(Path(folder) / "journal.sqlite"))
        for _ in range(data.draw(st.integers(1, 4))):
            same = data.draw(grid())
            # Most meters deliver alike.
            rows = {name: data.draw(st.just(same) | st.just(same) | grid() | deliveries()) for name in names[:5]}
            book.deliver(*(delivery(name, rows[name]) for name in data.draw(st.permutations(sorted(rows)))))
        if data.draw(st.booleans()):
            bounds = (instant(START_US + place * QUARTER_US) for place in (3_060, 3_062))
            book.delete(datasource="m1", channel="load", **dict(zip(("start_time", "end_time"), bounds, strict=True)))
        places = st.sampled_from(
            [(-2_000, 9_000), (-2_000, 9_000), (3_060, 3_081), (3_065, 3_090), (3_085, 3_085), (9, 8)]
        )
        first_us, last_us = (START_US + place * QUARTER_US for place in data.draw(places))
        wanted = Wanted("load", first_us, last_us)
        sequence = data.draw(st.integers(1, book.book.committed_sequence()))
        more_decimals = data.draw(st.sampled_from([False, False, False, True]))
        table = data.draw(st.sampled_from([QUALITY, IN_MESSAGES, IN_MESSAGES, TURNED]))
        classifier = ChannelClassifier("ACTIVE", "kWh", 3 + more_decimals)
        configuration = BillingConfiguration({"load": classifier}, quality=table)

        found: dict[str, Readings] = {}
        for meters in load_meters(book.journal, names, wanted, configuration, sequence):
            for index, name in enumerate(meters.datasources):
                assert name not in found
                found[name] = meters.matrix.meter(index)
        for name in names:
            alone, _ = load_channel(book.journal, name, wanted, configuration, sequence)
            assert columns(found.pop(name, no_readings())) == columns(alone)
        assert not found
        book.close()


def test_pages_never_skip_or_repeat_what_was_stored_before_page_one() -> None:
    """Whatever is delivered between two pages, the list stands on the sequence of its first page."""
    book = MeteredBook(MemoryJournal())
    rows = [Row(START_US + place * QUARTER_US, place) for place in range(10)]
    book.deliver(delivery("m1", rows))
    wanted = {"datasource": "m1", "channel": "load", "page_size": 4}
    first = book.page("readings", **wanted)
    book.deliver(delivery("m1", [Row(row.time_us - QUARTER_US, 99) for row in rows]))
    second = book.page("readings", page_token=first.next_page_token, **wanted)
    third = book.page("readings", page_token=second.next_page_token, **wanted)
    assert [each.value for page in (first, second, third) for each in page.readings] == [
        "0",
        *(f"0.00{place}" for place in range(1, 10)),
    ]
    assert third.next_page_token == ""
    book.close()


@st.composite
def readings(draw: st.DrawFn) -> Readings:
    """Any columns that are readings."""
    count = draw(st.integers(1, 60))
    first = START_US + draw(st.integers(-(2**40), 2**40))
    values = np.array(draw(st.lists(st.one_of(INT64, st.integers(0, 300)), min_size=count, max_size=count)), np.int64)
    quality = np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), np.uint8)
    if draw(st.booleans()):
        quality = np.sort(quality)
    length = draw(st.sampled_from([1, QUARTER_US, 366 * 86_400_000_000]))
    if draw(st.booleans()):
        return Readings(RegularTimes(first, length, count), values, quality)
    steps = draw(st.lists(st.integers(1, 2**34), min_size=count, max_size=count))
    labels = first + np.cumsum(np.array(steps, np.int64))
    if draw(st.booleans()):
        return Readings(ListedTimes(labels, length), values, quality)
    lengths = np.array(draw(st.lists(st.integers(1, 2**44), min_size=count, max_size=count)), np.int64)
    return Readings(ListedTimes(labels, lengths), values, quality)


def columns(found: Readings) -> tuple[list[int], ...]:
    lengths = found.times.interval_us
    return (
        labels_between(found.times, 0, found.times.count).tolist(),
        np.broadcast_to(np.asarray(lengths), found.times.count).tolist(),
        found.values.tolist(),
        found.quality.tolist(),
    )


@given(readings())
def test_what_is_packed_into_blocks_comes_out_of_them(delivered: Readings) -> None:
    [blocks] = encode_blocks([Delivered(delivered, STATUSES, "kWh", 7, ChannelKind.INTERVAL, Label.BEGIN)])
    assert len(blocks) == bucket_count(delivered.times)
    opened = [decode_block(body) for _, _, body in blocks]
    for (bucket, count, _), each in zip(blocks, opened, strict=True):
        labels = labels_between(each.readings.times, 0, count)
        assert (labels // BUCKET_US == bucket).all()
        assert (each.statuses, each.unit, each.decimal_places) == (STATUSES, "kWh", 7)
        assert (each.kind, each.label) == (ChannelKind.INTERVAL, Label.BEGIN)
    fitting = Fitting(ChannelClassifier("load", "kWh", 7, label=Label.BEGIN), QUALITY)
    joined = overlaid([open_block(body) for _, _, body in blocks], Wanted("load", -(2**60), 2**60), fitting)
    assert columns(joined) == columns(delivered)
    if isinstance(delivered.times, RegularTimes) and delivered.times.count > 1:
        assert joined.times == delivered.times


@given(st.lists(readings(), min_size=1, max_size=4), st.data())
def test_blocks_are_laid_over_one_another_as_one_by_one(delivered: list[Readings], data: st.DataObject) -> None:
    """Between any two timestamps, with any decimals and codes: of each timestamp the last delivery's reading."""
    more_decimals, turned = data.draw(st.booleans()), data.draw(st.booleans())
    kept: dict[int, tuple[int, int, int]] = {}
    for index, each in enumerate(delivered):
        if more_decimals:
            delivered[index] = each = Readings(each.times, each.values // 16, each.quality)
        for label, length, value, code in zip(*columns(each), strict=True):
            kept[label] = (length, value * 10 if more_decimals else value, 2 - code if turned else code)
    bounds = st.sampled_from([*kept, min(kept) - 1, max(kept) + 1])
    first_us, last_us = sorted((data.draw(bounds), data.draw(bounds)))
    blocks = [
        block
        for some in encode_blocks(
            [Delivered(each, STATUSES, "kWh", 6, ChannelKind.INTERVAL, Label.END) for each in delivered]
        )
        for block in some
    ]
    fitting = Fitting(ChannelClassifier("load", "kWh", 6 + more_decimals), TURNED if turned else QUALITY)
    found = overlaid((open_block(block.body) for block in blocks), Wanted("load", first_us, last_us), fitting)
    wanted = [(label, *kept[label]) for label in sorted(kept) if first_us <= label <= last_us]
    assert list(zip(*columns(found), strict=True)) == wanted


def test_a_month_of_quarter_hours_takes_two_bytes_a_reading() -> None:
    values = np.random.default_rng(1).integers(0, 60_000, 2_976)
    delivered = Readings(RegularTimes(START_US, QUARTER_US, 2_976), values, np.zeros(2_976, np.uint8))
    [[(_, _, body)]] = encode_blocks([Delivered(delivered, STATUSES, "kWh", 3, ChannelKind.INTERVAL, Label.END)])
    assert len(body) < 2 * 2_976 + 100


def test_messages_sent_at_once_are_stored_in_their_order() -> None:
    book = MeteredBook(MemoryJournal())
    answers = book.ingest(*(message([delivery("m1", [Row(START_US, place)])]) for place in range(20)))
    assert [answer.result.stored_count for answer in answers] == [1] * 20
    (current,) = book.all_of("readings", "readings", datasource="m1", channel="load")
    assert current.value == "0.019"
    book.close()
