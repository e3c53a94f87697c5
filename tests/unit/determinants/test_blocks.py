"""Blocks byte for byte: journals that are written already hold exactly these, and are read for ever."""

from __future__ import annotations

import numpy as np
import pytest

from tallybook_engine.determinants.blocks import Delivered, decode_block, encode_blocks
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes, labels_between

START_US = 1_767_225_600_000_000
QUARTER_US = 900_000_000
STATUSES = ("measured", "estimated")
NAMES = "6b5768" + "0800" + "6d65617375726564" + "0900" + "657374696d61746564"
"""Unit and statuses."""
START, QUARTER, NOTHING = "0040204648470600", "00e9a43500000000", "0000000000000000"


def on_a_grid(values: list[int], codes: list[int]) -> Readings:
    return Readings(
        RegularTimes(START_US, QUARTER_US, len(values)), np.array(values, np.int64), np.array(codes, np.uint8)
    )


def one_by_one(lengths: list[int] | int) -> Readings:
    labels = np.array([START_US, START_US + QUARTER_US, START_US + 3 * QUARTER_US], np.int64)
    times = ListedTimes(labels, lengths if isinstance(lengths, int) else np.array(lengths, np.int64))
    return Readings(times, np.array([1, 2, 3], np.int64), np.array([1, 1, 1], np.uint8))


WRITTEN = {
    "all values alike": (
        on_a_grid([7] * 3, [0] * 3),
        "010300000000030015000000030000000700000000000000" + START + QUARTER + QUARTER + NAMES + "00",
    ),
    "one byte a value": (
        on_a_grid([-3, 0, 252], [0] * 3),
        "01030100000003001500000003000000fdffffffffffffff" + START + QUARTER + QUARTER + NAMES + "0003ff00",
    ),
    "two bytes a value, a status each": (
        on_a_grid([60_000, 0, 253], [0, 1, 0]),
        "01030200000103001500000003000000" + NOTHING + START + QUARTER + QUARTER + NAMES + "60ea0000fd00000100",
    ),
    "four bytes a value": (
        on_a_grid([-(2**31), 0, 2**31 - 1], [0] * 3),
        "0103040000000300"
        "15000000"
        "03000000"
        "00000080ffffffff" + START + QUARTER + QUARTER + NAMES + "00000000"
        "00000080ffffffff00",
    ),
    "eight bytes a value": (
        on_a_grid([-(2**63), 0, 2**63 - 1], [0] * 3),
        "0103080000000300"
        "15000000"
        "03000000"
        "0000000000000080" + START + QUARTER + QUARTER + NAMES + NOTHING + ""
        "0000000000000080ffffffffffffffff00",
    ),
    "runs of a status": (
        on_a_grid([1] * 11, [0] * 8 + [1] * 3),
        "0103000000020300"
        "15000000"
        "0b000000"
        "0100000000000000" + START + QUARTER + QUARTER + NAMES + "02000000"
        "080000000b0000000001",
    ),
    "timestamps one by one": (
        one_by_one(QUARTER_US),
        "0103010400000300"
        "15000000"
        "03000000"
        "0100000000000000" + START + QUARTER + QUARTER + NAMES + "000102"
        "0000000000e9a435"
        "01",
    ),
    "lengths one by one": (
        one_by_one([QUARTER_US, QUARTER_US, 2 * QUARTER_US]),
        "0103010404000300"
        "15000000"
        "03000000"
        "0100000000000000" + START + QUARTER + QUARTER + NAMES + "000102"
        "0000000000e9a435"
        "000000000000000000e9a435"
        "01",
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_a_block_is_written_as_ever(case: str) -> None:
    readings, written = WRITTEN[case]
    [[(bucket, count, body)]] = encode_blocks([Delivered(readings, STATUSES, "kWh", 3)])
    assert (bucket, count, body.hex()) == (639, readings.times.count, written)


def test_deliveries_that_are_packed_together_come_out_as_alone() -> None:
    deliveries = [Delivered(readings, STATUSES, "kWh", 3) for readings, _ in WRITTEN.values()]
    together = list(encode_blocks(deliveries))
    assert [blocks for delivered in deliveries for blocks in encode_blocks([delivered])] == together
    assert [[block.body.hex() for block in blocks] for blocks in together] == [[body] for _, body in WRITTEN.values()]


@pytest.mark.parametrize("case", WRITTEN)
def test_a_block_that_was_written_is_read(case: str) -> None:
    readings, written = WRITTEN[case]
    found = decode_block(bytes.fromhex(written))
    assert (found.statuses, found.unit, found.decimal_places) == (STATUSES, "kWh", 3)
    times, count = found.readings.times, readings.times.count
    assert labels_between(times, 0, count).tolist() == labels_between(readings.times, 0, count).tolist()
    assert np.array_equal(np.asarray(times.interval_us), np.asarray(readings.times.interval_us))
    assert found.readings.values.tolist() == readings.values.tolist()
    assert found.readings.quality.tolist() == readings.quality.tolist()


@pytest.mark.parametrize("case", WRITTEN)
def test_a_block_of_another_length_is_not_read(case: str) -> None:
    written = bytes.fromhex(WRITTEN[case][1])
    for body in (written[:-1], written + b"\0"):
        with pytest.raises(ValueError, match="another length"):
            decode_block(body)
