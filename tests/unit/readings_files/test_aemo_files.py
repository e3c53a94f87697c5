"""Every NEM12 and NEM13 file of the vectors, read and put through the engine: what the cases say must come out."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.support.energy.cases import VECTORS, EnergyCase, check, run
from tests.support.energy.nem import nem12_cases, nem13_cases, table_of

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_server.readings_files import mdff
from tallybook_server.readings_files.model import Direction, Format, ReadFile, ReadOptions
from tallybook_server.readings_files.read import read_readings

FOLDER = VECTORS / "nem12"
NEM12 = json.loads((FOLDER / "nem12.json").read_text(encoding="utf-8"))["cases"]
NEM13 = json.loads((FOLDER / "nem13_registers.json").read_text(encoding="utf-8"))["cases"]
HAND_MADE = "A"
"""Files that were made by hand leave the quality out."""


@cache
def read_file(path: Path) -> ReadFile:
    """With the words of the file itself as the quality table, ranked by letter."""
    words = {word for channel in read_readings(path).channels for word in channel.words if word}
    return read_readings(path, ReadOptions(quality=table_of(words | {HAND_MADE}), default_status=HAND_MADE))


@pytest.mark.parametrize(
    ("said", "case"), list(zip(NEM12, nem12_cases(), strict=True)), ids=[each["id"] for each in NEM12]
)
def test_register_of_a_nem12_file_gives_what_the_case_says(said: dict, case: EnergyCase) -> None:
    classifier = case.configuration.classifiers["channel"]
    table = case.configuration.quality
    default = HAND_MADE if HAND_MADE in {status.name for status in table.statuses} else None
    options = ReadOptions(quality=table, default_status=default, decimal_places=classifier.decimal_places)
    file = read_readings(FOLDER / said["file"], options)
    (channel,) = (
        each for each in file.channels if (each.info.datasource, each.info.channel) == (said["nmi"], said["suffix"])
    )
    readings, expected = channel.readings, case.readings["channel"]
    rows = range(readings.times.count)
    assert file.report.format is Format.NEM12
    assert (channel.info.kind, channel.info.label) == (ChannelKind.INTERVAL, Label.END)
    assert [(readings.label(row), readings.length_us(row)) for row in rows] == [
        (expected.label(row), expected.length_us(row)) for row in range(expected.times.count)
    ]
    np.testing.assert_array_equal(readings.values, expected.values)
    np.testing.assert_array_equal(readings.quality, expected.quality)
    check(replace(case, readings={"channel": readings}), run(replace(case, readings={"channel": readings})))


@pytest.mark.parametrize("said", NEM12, ids=[each["id"] for each in NEM12])
def test_own_quality_methods_are_kept_beside_the_table_s(said: dict) -> None:
    (channel,) = (
        each
        for each in read_file(FOLDER / said["file"]).channels
        if (each.info.datasource, each.info.channel) == (said["nmi"], said["suffix"])
    )
    counts: dict[str, int] = {}
    for code in channel.word_codes:
        word = channel.words[code] or HAND_MADE
        counts[word] = counts.get(word, 0) + 1
    assert counts == said["quality_counts"]


@pytest.mark.parametrize("case", nem13_cases(), ids=[case.id for case in nem13_cases()])
def test_register_of_a_nem13_file_gives_what_the_case_says(case: EnergyCase) -> None:
    said = NEM13[nem13_cases().index(case) // 2]
    (path,) = FOLDER.rglob(said["id"].split("/")[1])
    file = read_file(path)
    (channel,) = (
        each
        for each in file.channels
        if (each.info.datasource, each.info.channel) == (said["nmi"], said["suffix"])
        and {case.request.start_us, case.request.end_us} <= set(labels_of(each))
    )
    options_table = table_of({word for word in channel.words if word} | {HAND_MADE})
    classifier = replace(case.configuration.classifiers["read"], decimal_places=channel.decimal_places)
    configuration = replace(case.configuration, classifiers={"read": classifier}, quality=options_table)
    read = replace(case, readings={"read": channel.readings}, configuration=configuration)
    check(read, run(read))
    assert channel.info.kind is ChannelKind.REGISTER
    assert channel.info.unit == {"KWH": "kWh"}.get(said["uom"].upper(), channel.info.unit)
    assert channel.info.direction is {"E": Direction.DELIVERED, "I": Direction.RECEIVED}[said["direction"]]
    assert channel.info.dial_digits == said["dial_digits"]


def labels_of(channel) -> list[int]:
    return [channel.readings.label(row) for row in range(channel.readings.times.count)]


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("nem1*/*")) + sorted(FOLDER.glob("unzipped/*")), ids=lambda p: p.name
)
def test_no_reading_of_a_real_file_is_skipped(path: Path) -> None:
    report = read_file(path).report
    assert report.read_count > 0
    assert report.skipped_count == 0
    assert all(line.skipped_count == 0 for line in report.lines)


def test_quality_methods_mean_statuses_of_the_default_table() -> None:
    file = read_readings(FOLDER / "nem12" / "NEM12#000000000000008#CNRGYMDP#NEMMCO.zip")
    found = {
        (channel.words[code], int(status))
        for channel in file.channels
        for code, status in zip(channel.word_codes, channel.readings.quality, strict=True)
    }
    names = [status.name for status in ReadOptions().quality.statuses]
    assert {(word, names[status]) for word, status in found} == {
        ("A", "measured"),
        ("S11", "substituted"),
        ("S52", "substituted"),
        ("F52", "substituted"),
    }


def test_a_register_s_read_now_and_the_next_record_s_read_before_are_one_reading() -> None:
    file = read_readings(FOLDER / "nem13" / "NEM13#000000000000016#CNRGYMDP#NEMMCO.zip")
    (channel,) = file.channels
    assert channel.readings.values.tolist() == [38959, 38969, 38972, 38973]
    assert file.report.lines == ()


def test_a_quantity_that_the_reads_do_not_give_is_remarked() -> None:
    file = read_readings(FOLDER / "nem13" / "NEM13#Scenario13#ETSAMDP#NEMMCO.zip")
    (line,) = file.report.lines
    assert (line.line, line.skipped_count) == (2, 0)
    assert line.what == "a quantity of 165, though the reads are 9999941.00 and 0000106.00"


SUFFIXES = {
    # Averaged, master and check streams: active import and export, reactive import and export
    Direction.RECEIVED: "A B C K L",
    Direction.DELIVERED: "E F P Q R",
    # D and J are averaged one way or netted; apparent energy, power factor, Q, par, volts and amperes
    None: "D J S T U G H Y M W V Z",
}
"""AEMO, MSATS Procedures: National Metering Identifier, data stream suffixes of interval data."""


@pytest.mark.parametrize(
    ("letter", "direction"), [(each, direction) for direction, letters in SUFFIXES.items() for each in letters.split()]
)
def test_the_letter_of_a_suffix_says_the_direction(letter: str, direction: Direction | None) -> None:
    assert mdff.suffix_direction(f"{letter}1") is direction
    assert mdff.suffix_direction(f"{letter.lower()}A") is direction
