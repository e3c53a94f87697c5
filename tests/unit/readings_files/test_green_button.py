"""A Green Button file written from the specification, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_server.readings_files.model import (
    Direction,
    Format,
    LocalTimeParameters,
    ReadFile,
    ReadingsFileFault,
    ReadOptions,
)
from tallybook_server.readings_files.read import read_readings

HOUSE = Path(__file__).with_name("house.xml")
HOUR_US = 3_600_000_000
MIDNIGHT_US = 1_710_046_800_000_000
"""2024-03-10 in New York, the day on which clocks go ahead."""
NAMES = [status.name for status in ReadOptions().quality.statuses]


def read_changed(folder: Path, old: str, new: str, options: ReadOptions | None = None) -> ReadFile:
    text = HOUSE.read_text(encoding="utf-8")
    assert old in text
    path = folder / "house.xml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return read_readings(path, options)


def test_deltas_become_intervals_labelled_by_their_begin() -> None:
    channel = read_readings(HOUSE).channels[0]
    info = channel.info
    assert (info.datasource, info.channel, info.unit) == ("31", "hourly", "Wh")
    assert (info.kind, info.label, info.direction) == (ChannelKind.INTERVAL, Label.BEGIN, Direction.DELIVERED)
    assert info.local_time == LocalTimeParameters(-18_000, 3_600, "360E2000", "B40E2000")
    times = [(channel.readings.label(row), channel.readings.length_us(row)) for row in range(4)]
    assert times == [(MIDNIGHT_US + row * HOUR_US, HOUR_US) for row in range(4)]
    # powerOfTenMultiplier -3
    assert channel.decimal_places == 3
    assert channel.readings.values.tolist() == [450_250, 512_000, -5, 1]


def test_qualities_the_reading_type_s_default_and_the_worst_of_several() -> None:
    channel = read_readings(HOUSE).channels[0]
    assert [channel.words[code] for code in channel.word_codes] == ["17", "8", "7", "19"]
    assert [NAMES[code] for code in channel.readings.quality] == ["measured", "estimated", "edited", "measured"]


def test_bulk_quantities_become_register_reads_at_the_end_of_their_period() -> None:
    file = read_readings(HOUSE)
    channel = file.channels[1]
    assert (channel.info.channel, channel.info.kind, channel.info.direction) == (
        "dial",
        ChannelKind.REGISTER,
        Direction.RECEIVED,
    )
    assert [channel.readings.label(row) for row in range(2)] == [MIDNIGHT_US, 1_712_721_600_000_000]
    # powerOfTenMultiplier 3
    assert (channel.decimal_places, channel.readings.values.tolist()) == (0, [99_812_000, 99_930_000])
    assert (file.report.format, file.report.read_count, file.report.lines) == (Format.GREEN_BUTTON, 6, ())


def test_values_are_converted_by_a_power_of_ten() -> None:
    hourly, dial = read_readings(HOUSE, ReadOptions(unit="kWh")).channels
    assert (hourly.info.unit, hourly.decimal_places) == ("kWh", 6)
    assert hourly.readings.values.tolist() == [450_250, 512_000, -5, 1]
    assert (dial.decimal_places, dial.readings.values.tolist()) == (0, [99_812, 99_930])


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("0", "measured"),
        ("7", "edited"),
        ("8", "estimated"),
        ("9", "estimated"),
        ("10", "questionable"),
        ("11", "calculated"),
        ("12", "questionable"),
        ("13", "questionable"),
        ("14", "questionable"),
        ("15", "calculated"),
        ("16", "questionable"),
        ("17", "measured"),
        ("18", "measured"),
        ("19", "measured"),
    ],
)
def test_each_quality_of_the_specification_has_a_status(tmp_path: Path, code: str, name: str) -> None:
    file = read_changed(tmp_path, "<espi:quality>8<", f"<espi:quality>{code}<")
    assert NAMES[file.channels[0].readings.quality[1]] == name


SKIPPED = [
    ("<espi:quality>8<", "<espi:quality>99<", "31/hourly: unknown status '99'"),
    ("<espi:value>512000<", "<espi:value>NaN<", "31/hourly: its value 'NaN' is no decimal"),
    ("<espi:value>512000</espi:value>", "", "31/hourly: has no value"),
    ("<espi:start>1710050400<", "<espi:start>2024-03-10T01:00:00<", "31/hourly: a start that is no time"),
    ("<espi:start>1710050400<", "<espi:duration>0</espi:duration><espi:start>1710050400<", "no duration above 0"),
]


@pytest.mark.parametrize(("old", "new", "what"), SKIPPED)
def test_a_reading_that_cannot_be_read_is_skipped_and_reported(tmp_path: Path, old: str, new: str, what: str) -> None:
    file = read_changed(tmp_path, old, new)
    (line,) = file.report.lines
    assert what in line.what
    assert line.mend
    assert (line.line, line.skipped_count, file.report.read_count) == (91, 1, 5)


def test_a_reading_without_any_quality_is_skipped(tmp_path: Path) -> None:
    old, new = "<espi:defaultQuality>17</espi:defaultQuality>", ""
    file = read_changed(tmp_path, old, new)
    assert [str(line) for line in file.report.lines] == [
        "line 86: 31/hourly: no status (1 skipped); write one, or give a default status"
    ]
    assert read_changed(tmp_path, old, new, ReadOptions(default_status="measured")).report.read_count == 6


def test_an_accumulation_that_is_no_usage_is_left_out(tmp_path: Path) -> None:
    file = read_changed(tmp_path, "<espi:accumulationBehaviour>1<", "<espi:accumulationBehaviour>14<")
    assert [channel.info.channel for channel in file.channels] == ["hourly"]
    assert file.report.skipped_count == 2


def test_a_meter_reading_may_name_its_blocks_itself(tmp_path: Path) -> None:
    block = "/espi/1_1/resource/RetailCustomer/7/UsagePoint/31/MeterReading/dial/IntervalBlock"
    text = HOUSE.read_text(encoding="utf-8").replace(f'rel="up" href="{block}"', 'rel="up" href="elsewhere"')
    dial = '<link rel="related" href="/espi/1_1/resource/ReadingType/dial"/>'
    path = tmp_path / "house.xml"
    path.write_text(text.replace(dial, f'{dial}<link rel="related" href="{block}/1"/>'), encoding="utf-8")
    assert [channel.info.channel for channel in read_readings(path).channels] == ["hourly", "dial"]


REFUSED = [
    ("</feed>", "", "not well-formed", "fetch"),
    ("<feed ", "<!DOCTYPE feed []><feed ", "a document type", "leave it out"),
    ("<espi:uom>72<", "<espi:uom>9999<", "unit of measure '9999'", "72 for Wh"),
    ("<espi:powerOfTenMultiplier>-3<", "<espi:powerOfTenMultiplier>x<", "powerOfTenMultiplier 'x'", "whole number"),
    ('MeterReading/dial/IntervalBlock"/>', 'MeterReading/none/IntervalBlock"/>', "of no MeterReading", "rel=up"),
    ('href="/espi/1_1/resource/ReadingType/dial"/>\n    <content><', 'href="no"/><content><', "ReadingType", "related"),
    ("<espi:start>1710050400<", "<espi:start>1710048600<", "overlaps the one of line 86", "interval length"),
]


@pytest.mark.parametrize(("old", "new", "what", "mend"), REFUSED)
def test_a_file_that_is_no_feed_is_refused(tmp_path: Path, old: str, new: str, what: str, mend: str) -> None:
    with pytest.raises(ReadingsFileFault) as refused:
        read_changed(tmp_path, old, new)
    assert what in refused.value.what
    assert mend in refused.value.mend
    assert refused.value.line is not None
    assert str(refused.value).startswith(f"house.xml:{refused.value.line}: ")


def test_xml_without_readings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.xml"
    path.write_text("<feed xmlns='http://www.w3.org/2005/Atom'/>", encoding="utf-8")
    with pytest.raises(ReadingsFileFault, match="no IntervalBlock"):
        read_readings(path)


UNITS = """
    5 A, 29 V, 31 J, 38 W, 42 m3, 61 VA, 63 var, 71 VAh, 72 Wh, 73 varh, 119 ft3, 128 US gal, 132 Btu, 134 L, 169 therm
"""
"""NAESB, espi.xsd, UnitSymbolKind: 5 current in amperes, 29 volts, 31 joules, 38 real power in watts, 42 cubic metres,
61 apparent and 63 reactive power, 71 apparent, 72 real and 73 reactive energy, 119 cubic feet, 128 US gallons, 132
British thermal units, 134 litres, 169 therms."""


@pytest.mark.parametrize(("code", "unit"), [each.strip().split(" ", 1) for each in UNITS.split(",")])
def test_units_of_the_schema(tmp_path: Path, code: str, unit: str) -> None:
    assert read_changed(tmp_path, "<espi:uom>72<", f"<espi:uom>{code}<").channels[0].info.unit == unit


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        # bulkQuantity, continuousCumulative, cumulative, summation
        *((code, ChannelKind.REGISTER) for code in (1, 2, 3, 9)),
        # deltaData, indicating, instantaneous
        *((code, ChannelKind.INTERVAL) for code in (4, 6, 12)),
        # none, timeDelay, latchingQuantity, boundedQuantity
        *((code, None) for code in (0, 10, 13, 14)),
    ],
)
def test_accumulations_of_the_schema(tmp_path: Path, code: int, kind: ChannelKind | None) -> None:
    """NAESB, espi.xsd, AccumulationKind."""
    old = "<espi:accumulationBehaviour>4<"
    file = read_changed(tmp_path, old, f"<espi:accumulationBehaviour>{code}<")
    found = {each.info.channel: each.info.kind for each in file.channels}
    assert found.get("hourly") is kind


@pytest.mark.parametrize(
    ("code", "direction"),
    [(0, None), (1, Direction.DELIVERED), (4, Direction.NET), (19, Direction.RECEIVED), (20, None), (15, None)],
)
def test_flow_directions_of_the_schema(tmp_path: Path, code: int, direction: Direction | None) -> None:
    """NAESB, espi.xsd, FlowDirectionKind: 1 forward, 4 net, 19 reverse, 20 total, 15 the first quadrant."""
    file = read_changed(tmp_path, "<espi:flowDirection>1<", f"<espi:flowDirection>{code}<")
    assert file.channels[0].info.direction is direction


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, "measured") for code in (0, 17, 18, 19)),
        *((code, "estimated") for code in (8, 9)),
        *((code, "calculated") for code in (11, 15)),
        *((code, "questionable") for code in (10, 12, 13, 14, 16)),
        (7, "edited"),
    ],
)
def test_qualities_of_the_schema(tmp_path: Path, code: int, status: str) -> None:
    """NAESB, espi.xsd, QualityOfReading."""
    file = read_changed(tmp_path, "<espi:quality>8<", f"<espi:quality>{code}<")
    assert NAMES[file.channels[0].readings.quality[1]] == status
    assert file.report.skipped_count == 0
