"""Blocks of many meters on grids: which are unpacked at once, and that they are what each meter's are alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tallybook_engine.determinants.blocks import BUCKET_US, Delivered, encode_blocks, open_block
from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind, Label
from tallybook_engine.determinants.deletions import Deletion, encode_deletion
from tallybook_engine.determinants.deliveries import Fitting, Wanted, overlaid
from tallybook_engine.determinants.grids import grid_rows
from tallybook_engine.determinants.quality import QualityStatus, QualityTable
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes

QUARTER_US = 15 * 60_000_000
STATUSES = ("measured", "estimated", "questionable")
CLASSIFIER = ChannelClassifier("ACTIVE", "kWh", 3)
FITTING = Fitting(CLASSIFIER, QualityTable(tuple(QualityStatus(name) for name in STATUSES)))
ALWAYS = Wanted("load", -(2**55), 2**55)


def blocks(
    first: int,
    count: int,
    *,
    seed: int = 1,
    interval_us: int = QUARTER_US,
    without: int | None = None,
    statuses: tuple[str, ...] = STATUSES,
    unit: str = "kWh",
    decimal_places: int = 3,
    label: Label = Label.END,
    codes: Sequence[int] = (0, 0, 1, 1, 2),
) -> list[bytes]:
    """The blocks of a delivery, from a quarter hour after the edge of two buckets on, of runs of statuses."""
    chance = np.random.default_rng(seed)
    first_us = BUCKET_US + first * interval_us
    times: RegularTimes | ListedTimes = RegularTimes(first_us, interval_us, count)
    if without is not None:
        labels = first_us + np.delete(np.arange(count), without) * interval_us
        times = ListedTimes(labels, interval_us)
    values = chance.integers(-300, 70_000, times.count)
    # Runs of some rows, or of one each.
    quality = np.resize(np.repeat(np.array(codes, np.uint8), chance.choice([1, 40])), times.count)
    readings = Readings(times, values, quality)
    [found] = encode_blocks([Delivered(readings, statuses, unit, decimal_places, ChannelKind.INTERVAL, label)])
    return [each.body for each in found]


def alone(bodies: Sequence[bytes], wanted: Wanted) -> Readings:
    return overlaid([open_block(body) for body in bodies], wanted, FITTING)


def same(one: Readings, other: Readings) -> bool:
    is_same = np.array_equal(one.values, other.values) and np.array_equal(one.quality, other.quality)
    return one.times == other.times and is_same


CLIPPED = Wanted("load", BUCKET_US - 90 * QUARTER_US, BUCKET_US + 5 * QUARTER_US)
AT_ONCE = {
    "one block": [blocks(0, 50)],
    "over the edge of a bucket": [blocks(-100, 200)],
    "one delivery behind the other": [blocks(-100, 200), blocks(100, 7, seed=2)],
    "the later delivery before the earlier one": [blocks(100, 7), blocks(-100, 200, seed=2)],
    "of one status": [blocks(-100, 200, codes=[2])],
    "a status of its own each": [blocks(-100, 200, codes=[0, 1])],
    "fewer statuses": [blocks(-100, 200, statuses=STATUSES[:2], codes=[0, 1, 1])],
}


@pytest.mark.parametrize("wanted", [ALWAYS, CLIPPED], ids=["all", "clipped"])
@pytest.mark.parametrize("deliveries", AT_ONCE.values(), ids=AT_ONCE)
def test_what_follows_one_another_on_a_grid_is_unpacked_at_once(
    deliveries: Sequence[list[bytes]], wanted: Wanted
) -> None:
    bodies = [body for each in deliveries for body in each]
    other = blocks(-100, 200, seed=9)
    (found,) = grid_rows([bodies], wanted, FITTING)
    assert same(found.matrix.meter(0), alone(bodies, wanted))
    # And it is the same beside others, before and behind it.
    beside = grid_rows([other, bodies, other], wanted, FITTING)
    of_meter = {meter: rows.matrix.meter(row) for rows in beside for row, meter in enumerate(rows.meters)}
    assert sorted(of_meter) == [0, 1, 2]
    assert same(of_meter[1], alone(bodies, wanted))
    assert same(of_meter[0], alone(other, wanted))
    assert same(of_meter[2], alone(other, wanted))


BLOCK = blocks(0, 50)
LEFT = {
    "nothing stored": [],
    "nothing in the period": blocks(5_000, 10),
    "two deliveries of one time": [*BLOCK, *blocks(0, 50, seed=2)],
    "deliveries that overlap": [*BLOCK, *blocks(40, 50, seed=2)],
    "a hole between deliveries": [*BLOCK, *blocks(51, 50)],
    "a hole in a delivery": blocks(0, 50, without=7),
    "two lengths of interval": [*BLOCK, *blocks(25, 5, interval_us=2 * QUARTER_US)],
    "fewer decimals": blocks(0, 50, decimal_places=2),
    "statuses in another order": blocks(0, 50, statuses=STATUSES[::-1]),
    "another unit": blocks(0, 50, unit="MWh"),
    "another label": blocks(0, 50, label=Label.BEGIN),
    "a block cut short": [BLOCK[0][:-1]],
    "a block of another format": [b"\x07" + BLOCK[0][1:]],
    "readings that are taken back": [encode_deletion(Deletion(0, 1, 1, 1, 2)), *BLOCK],
    "no block": [b"", b"x"],
}


@pytest.mark.parametrize("bodies", LEFT.values(), ids=LEFT)
def test_what_is_otherwise_is_left_to_be_looked_at_alone(bodies: list[bytes]) -> None:
    wanted = Wanted("load", 0, BUCKET_US + 2_000 * QUARTER_US)
    assert grid_rows([bodies], wanted, FITTING) == []
    # And meters beside it are answered.
    (found,) = grid_rows([BLOCK, bodies, BLOCK], wanted, FITTING)
    assert found.meters == (0, 2)
    assert same(found.matrix.meter(1), alone(BLOCK, wanted))


def test_meters_of_the_same_timestamps_are_one_matrix() -> None:
    meters = [blocks(0, 50, seed=1), blocks(1, 50, seed=2), blocks(0, 50, seed=3), blocks(0, 51, seed=4)]
    found = grid_rows(meters, ALWAYS, FITTING)
    assert [rows.meters for rows in found] == [(0, 2), (1,), (3,)]
    for rows in found:
        for row, meter in enumerate(rows.meters):
            assert same(rows.matrix.meter(row), alone(meters[meter], ALWAYS))
