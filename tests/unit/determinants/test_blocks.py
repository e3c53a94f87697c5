"""Blocks byte for byte: journals that are written already hold exactly these, and are read for ever."""

from __future__ import annotations

import numpy as np
import pytest

from tallybook_engine.determinants.blocks import Delivered, decode_block, encode_blocks
from tallybook_engine.determinants.configuration import ChannelKind, Label
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
        "0200010300000000030015000000030000000700000000000000" + START + QUARTER + QUARTER + NAMES + "00",
    ),
    "one byte a value": (
        on_a_grid([-3, 0, 252], [0] * 3),
        "020001030100000003001500000003000000fdffffffffffffff" + START + QUARTER + QUARTER + NAMES + "0003ff00",
    ),
    "two bytes a value, a status each": (
        on_a_grid([60_000, 0, 253], [0, 1, 0]),
        "020001030200000103001500000003000000" + NOTHING + START + QUARTER + QUARTER + NAMES + "60ea0000fd00000100",
    ),
    "four bytes a value": (
        on_a_grid([-(2**31), 0, 2**31 - 1], [0] * 3),
        "02000103040000000300"
        "15000000"
        "03000000"
        "00000080ffffffff" + START + QUARTER + QUARTER + NAMES + "00000000"
        "00000080ffffffff00",
    ),
    "eight bytes a value": (
        on_a_grid([-(2**63), 0, 2**63 - 1], [0] * 3),
        "02000103080000000300"
        "15000000"
        "03000000"
        "0000000000000080" + START + QUARTER + QUARTER + NAMES + NOTHING + ""
        "0000000000000080ffffffffffffffff00",
    ),
    "runs of a status": (
        on_a_grid([1] * 11, [0] * 8 + [1] * 3),
        "02000103000000020300"
        "15000000"
        "0b000000"
        "0100000000000000" + START + QUARTER + QUARTER + NAMES + "02000000"
        "080000000b0000000001",
    ),
    "timestamps one by one": (
        one_by_one(QUARTER_US),
        "02000103010400000300"
        "15000000"
        "03000000"
        "0100000000000000" + START + QUARTER + QUARTER + NAMES + "000102"
        "0000000000e9a435"
        "01",
    ),
    "lengths one by one": (
        one_by_one([QUARTER_US, QUARTER_US, 2 * QUARTER_US]),
        "02000103010404000300"
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
    [[(bucket, count, body)]] = encode_blocks(
        [Delivered(readings, STATUSES, "kWh", 3, ChannelKind.INTERVAL, Label.END)]
    )
    assert (bucket, count, body.hex()) == (639, readings.times.count, written)


def test_deliveries_that_are_packed_together_come_out_as_alone() -> None:
    deliveries = [
        Delivered(readings, STATUSES, "kWh", 3, ChannelKind.INTERVAL, Label.END) for readings, _ in WRITTEN.values()
    ]
    together = list(encode_blocks(deliveries))
    assert [blocks for delivered in deliveries for blocks in encode_blocks([delivered])] == together
    assert [[block.body.hex() for block in blocks] for blocks in together] == [[body] for _, body in WRITTEN.values()]


@pytest.mark.parametrize("case", WRITTEN)
def test_a_block_that_was_written_is_read(case: str) -> None:
    readings, written = WRITTEN[case]
    found = decode_block(bytes.fromhex(written))
    assert (found.statuses, found.unit, found.decimal_places) == (STATUSES, "kWh", 3)
    assert (found.kind, found.label) == (ChannelKind.INTERVAL, Label.END)
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


@pytest.mark.parametrize(
    ("kind", "label", "written"),
    [
        (ChannelKind.INTERVAL, Label.BEGIN, "020000"),
        (ChannelKind.INTERVAL, Label.END, "020001"),
        (ChannelKind.REGISTER, Label.BEGIN, "020100"),
        (ChannelKind.REGISTER, Label.END, "020101"),
    ],
)
def test_a_block_says_what_its_values_and_timestamps_mean(kind: ChannelKind, label: Label, written: str) -> None:
    [[(_, _, body)]] = encode_blocks([Delivered(one_by_one(1), STATUSES, "kWh", 3, kind, label)])
    assert body[:3].hex() == written
    assert (decode_block(body).kind, decode_block(body).label) == (kind, label)


@pytest.mark.parametrize(
    ("begins", "words"),
    [("01", "format 1"), ("03", "format 3"), ("020201", "kind 2 and label 1"), ("020002", "kind 0 and label 2")],
)
def test_what_is_no_block_of_this_format_is_not_read(begins: str, words: str) -> None:
    written = WRITTEN["one byte a value"][1]
    with pytest.raises(ValueError, match=words):
        decode_block(bytes.fromhex(begins + written[len(begins) :]))


def test_the_beginning_of_a_block_is_not_read() -> None:
    with pytest.raises(ValueError, match="format none"):
        decode_block(b"")
    with pytest.raises(ValueError, match="another length"):
        decode_block(bytes.fromhex(WRITTEN["one byte a value"][1][:20]))
