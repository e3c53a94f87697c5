"""CSV and Parquet: a real meter through the engine, columns and their defaults, and what is wrong with others."""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.support.energy.cases import VECTORS, EnergyCase, check, instant_us, run
from tests.support.energy.real import real_cases
from tests.support.energy.rule import rule_cases

from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.readings import RegularTimes
from tallybook_server.readings_files import model
from tallybook_server.readings_files.model import (
    ChannelDefaults,
    ChannelReadings,
    Direction,
    Duplicates,
    Format,
    ReadFile,
    ReadingsFileFault,
    ReadOptions,
)
from tallybook_server.readings_files.read import read_readings

MEASURED = ReadOptions(default_status="measured")


def read_text(folder: Path, text: str, options: ReadOptions = MEASURED) -> ReadFile:
    path = folder / "readings.csv"
    path.write_bytes(text.encode())
    return read_readings(path, options)


def labels_of(channel: ChannelReadings) -> list[int]:
    return [channel.readings.label(row) for row in range(channel.readings.times.count)]


@pytest.mark.parametrize("case", real_cases(), ids=[case.id for case in real_cases()])
def test_a_real_meter_gives_what_its_cases_say(case: EnergyCase) -> None:
    path = VECTORS / "real" / f"{case.id.split()[0].split('/')[-1]}.csv.gz"
    options = ReadOptions(
        quality=case.configuration.quality,
        default_status="measured",
        time_zone="UTC",
        duplicates=Duplicates.KEEP_FIRST,
        decimal_places=case.configuration.classifiers["energy"].decimal_places,
    )
    file = read_readings(path, options)
    (channel,) = file.channels
    assert (file.report.read_count, file.report.skipped_count) == (22_521, 15)
    assert channel.info.label is Label.BEGIN
    read = replace(case, readings={"energy": channel.readings, "power": channel.readings})
    check(read, run(read))


def test_the_rule_s_load_is_read_as_it_is_written() -> None:
    case = rule_cases()[0]
    options = ReadOptions(quality=case.configuration.quality, columns={"end": "end_utc", "value": "kwh"})
    (channel,) = read_readings(VECTORS / "rule" / "interval.csv.gz", options).channels
    assert channel.info.label is Label.END
    assert channel.readings.times.count == 35_032
    assert any(
        readings.times.count == 35_032 and np.array_equal(readings.values, channel.readings.values)
        for readings in case.readings.values()
    )


def test_columns_say_what_a_channel_is(tmp_path: Path) -> None:
    file = read_text(
        tmp_path,
        "\ufeffDatasource;channel;END;value;quality;unit;direction;register;interval_seconds;note\r\n"
        "m1;in;2025-01-01T00:15:00+01:00;1.50;measured;KWH;delivered;1.8.0;900;x\r\n"
        "m1;out;2025-01-01T00:15:00+01:00;-.25;estimated;kwh;RECEIVED;;900;y\r\n"
        "m1;in;2025-01-01T00:30:00+01:00;2;measured;KWH;delivered;1.8.0;900;z\r\n",
    )
    inward, outward = file.channels
    assert (inward.info.datasource, inward.info.channel, inward.info.register) == ("m1", "in", "1.8.0")
    assert (inward.info.unit, inward.info.direction, inward.info.label) == ("kWh", Direction.DELIVERED, Label.END)
    assert inward.readings.times == RegularTimes(instant_us("2024-12-31T23:15:00+00:00"), 900_000_000, 2)
    assert (inward.decimal_places, inward.readings.values.tolist()) == (1, [15, 20])
    assert (outward.decimal_places, outward.readings.values.tolist()) == (2, [-25])
    assert outward.readings.quality.tolist() == [3]
    assert [str(line) for line in file.report.lines] == ["line 1: columns that are not read: note"]


def test_registers_have_neither_label_nor_length(tmp_path: Path) -> None:
    text = "time,value\n2025-01-01T00:00:00Z,5\n2025-01-31T11:03:07Z,7\n"
    options = replace(
        MEASURED, defaults=ChannelDefaults(kind=ChannelKind.REGISTER), datasource="m", channel="dial", unit="kWh"
    )
    (channel,) = read_text(tmp_path, text, options).channels
    assert (channel.info.kind, channel.info.name) == (ChannelKind.REGISTER, "m/dial")
    assert labels_of(channel) == [instant_us("2025-01-01"), instant_us("2025-01-31T11:03:07+00:00")]


def test_a_length_that_nothing_says_is_the_shortest_step(tmp_path: Path) -> None:
    text = "start,value\n2025-01-01T00:00Z,1\n2025-01-01T01:00Z,1\n2025-01-01T00:30Z,1\n"
    file = read_text(tmp_path, text)
    assert file.channels[0].readings.times == RegularTimes(instant_us("2025-01-01"), 1_800_000_000, 3)
    assert [line.what for line in file.report.lines] == ["the channel: intervals of 1800 seconds, by its shortest step"]


def test_wall_times_of_the_hour_that_comes_twice_are_two_instants(tmp_path: Path) -> None:
    times = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    text = "start,value\n" + "".join(f"2025-10-26 {time},1\n" for time in times)
    file = read_text(tmp_path, text, replace(MEASURED, time_zone="Europe/Amsterdam"))
    first = instant_us("2025-10-25T23:30:00+00:00")
    assert file.channels[0].readings.times == RegularTimes(first, 1_800_000_000, 6)


@pytest.mark.parametrize(
    ("day", "what"),
    [("2025-10-26", "show twice and the file has once"), ("2025-03-30", "clocks in Europe/Amsterdam jump over")],
)
def test_a_wall_time_that_is_no_instant_is_skipped(tmp_path: Path, day: str, what: str) -> None:
    text = f"start,value\n{day} 01:00,1\n{day} 02:30,1\n{day} 04:00,1\n"
    options = replace(MEASURED, time_zone="Europe/Amsterdam", defaults=ChannelDefaults(interval_us=1_800_000_000))
    file = read_text(tmp_path, text, options)
    (line,) = file.report.lines
    assert (line.line, line.skipped_count, file.report.read_count) == (3, 1, 2)
    assert what in line.what


ROW = "2025-01-01T00:00:00Z"
SKIPPED = {
    "NaN": (f"{ROW},NaN,measured", "its value 'NaN' is no decimal"),
    "exponent": (f"{ROW},1e-5,measured", "its value '1e-5' is no decimal"),
    "nothing": (f"{ROW},,measured", "has no value"),
    "noise of floats": (f"{ROW},75.159300000000002,measured", "more than 12 decimals"),
    "time": ("1 January,1,measured", "its time '1 January' is none"),
    "status": (f"{ROW},1,superb", "unknown status 'superb'"),
    "no status": (f"{ROW},1,", "no status"),
    "columns": (f"{ROW},1", "2 columns where the header has 3"),
    "duplicate": ("2025-01-01T01:00:00Z,9,measured", "a timestamp that the file has twice; the last one is kept"),
}


@pytest.mark.parametrize(("row", "what"), SKIPPED.values(), ids=SKIPPED.keys())
def test_a_row_that_cannot_be_read_is_skipped_and_reported(tmp_path: Path, row: str, what: str) -> None:
    good = "2025-01-01T01:00:00Z,1,measured\n2025-01-01T02:00:00Z,2,missing\n"
    text = f"start,value,quality\n{row}\n\n{good}"
    file = read_text(tmp_path, text, ReadOptions(defaults=ChannelDefaults(interval_us=3_600_000_000)))
    (line,) = file.report.lines
    assert (line.line, line.skipped_count) == (2, 1)
    assert what in line.what
    assert line.mend
    # The value beside a status that has none is ignored.
    assert file.channels[0].readings.values.tolist() == [1, 0]


def test_lines_are_those_of_the_file_behind_broken_and_empty_ones(tmp_path: Path) -> None:
    text = "start,value\n\n2025-01-01T00:00:00Z\n2025-01-01T00:00:00Z,1\n\n2025-01-01T01:00:00Z,x\n"
    file = read_text(tmp_path, text, replace(MEASURED, defaults=ChannelDefaults(interval_us=1)))
    assert [(line.line, line.skipped_count) for line in file.report.lines] == [(3, 1), (6, 1)]


REFUSED = {
    "naive": ("start,value\n2025-01-01 00:00,1\n", {}, 2, "has no offset from UTC", "time zone"),
    "zone": ("start,value\n2025-01-01 00:00,1\n", {"time_zone": "Mars/Base"}, None, "no zone 'Mars/Base'", "Europe"),
    "no times": ("value\n1\n", {}, 1, "not one column of times", "name it start, end or time"),
    "two times": (f"start,end,value\n{ROW},{ROW},1\n", {}, 1, "not one column of times", "name it"),
    "no values": (f"start,kwh\n{ROW},1\n", {}, 1, "no column of values among start, kwh", "which one"),
    "column twice": (f"start,value,Value\n{ROW},1,1\n", {}, 1, "stands twice", "leave one"),
    "unknown column": (f"start,value\n{ROW},1\n", {"columns": {"hue": "x"}}, None, "no column is called 'hue'", "docs"),
    "label": (
        f"time,value\n{ROW},1\n",
        {"defaults": ChannelDefaults(interval_us=1)},
        2,
        "which end of the interval",
        "start or end",
    ),
    "label's word": (f"time,value,label\n{ROW},1,middle\n", {}, 2, "a label of 'MIDDLE'", "BEGIN, END"),
    "one time": (f"start,value\n{ROW},1\n", {}, 2, "one time only", "interval_seconds"),
    "uneven": (
        f"start,value\n{ROW},1\n2025-01-01T00:20Z,1\n2025-01-01T00:50Z,1\n",
        {},
        2,
        "no multiples of their shortest step",
        "interval_seconds",
    ),
    "length": (f"start,value,interval_seconds\n{ROW},1,0\n", {}, 2, "an interval of '0' seconds", "above 0"),
    "length's word": (f"start,value,interval_seconds\n{ROW},1,NaN\n", {}, 2, "an interval of 'NaN'", "above 0"),
    "two units": (
        f"start,value,unit\n{ROW},1,kWh\n2025-01-01T00:15Z,1,MWh\n",
        {},
        3,
        "unit 'MWh' after 'kWh' in one channel",
        "name of its own",
    ),
    "overlap": (
        f"start,value,interval_seconds\n{ROW},1,900\n2025-01-01T00:10Z,1,900\n",
        {},
        3,
        "overlaps the one of line 2",
        "interval length",
    ),
    "default status": (
        f"start,value\n{ROW},1\n",
        {"default_status": "good", "defaults": ChannelDefaults(interval_us=1)},
        None,
        "'good'",
        "name",
    ),
    "encoding": ("start,value\n\udcff,1\n", {}, 2, "not UTF-8", "write the file"),
}


@pytest.mark.parametrize(("text", "options", "line", "what", "mend"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_cannot_be_trusted_is_refused(
    tmp_path: Path, text: str, options: dict, line: int | None, what: str, mend: str
) -> None:
    path = tmp_path / "readings.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReadingsFileFault) as refused:
        read_readings(path, replace(MEASURED, **options))
    assert what in refused.value.what
    assert mend in refused.value.mend
    assert str(refused.value).startswith("readings.csv: " if line is None else f"readings.csv:{line}: ")


def test_a_unit_that_measures_something_else_stays(tmp_path: Path) -> None:
    file = read_text(
        tmp_path,
        f"start,value,unit\n{ROW},1,kW\n",
        replace(MEASURED, unit="kWh", defaults=ChannelDefaults(interval_us=1)),
    )
    assert file.channels[0].info.unit == "kW"
    assert [line.what for line in file.report.lines] == ["the channel is in kW, which is not converted to kWh"]


def test_what_is_said_of_a_value_is_bounded(tmp_path: Path) -> None:
    file = read_text(
        tmp_path, f"start,value\n{ROW},{'x' * 10_000}\n", replace(MEASURED, defaults=ChannelDefaults(interval_us=1))
    )
    assert [len(line.what) for line in file.report.lines] == [model.SENTENCE_CHARACTERS_MAX]


def write_table(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "readings.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return path


START = pa.array([datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in range(3)], pa.timestamp("ms", "Europe/Paris"))


@pytest.mark.parametrize(
    ("values", "places", "scaled"),
    [
        (pa.array([1, 2, 3], pa.int16()), 0, [1, 2, 3]),
        (pa.array([1, 2, 3], pa.uint64()), 0, [1, 2, 3]),
        (pa.array([Decimal("1.500"), Decimal("-2.250"), Decimal("0.000")], pa.decimal128(9, 3)), 3, [1500, -2250, 0]),
        (pa.array([Decimal("1.5"), Decimal("-2.5"), Decimal(0)], pa.decimal256(40, 1)), 1, [15, -25, 0]),
        (pa.array(["1.5", "-2", "0.25"]), 2, [150, -200, 25]),
    ],
)
def test_exact_values_of_any_type_are_read(tmp_path: Path, values: pa.Array, places: int, scaled: list[int]) -> None:
    file = read_readings(write_table(tmp_path, start=START, value=values), MEASURED)
    (channel,) = file.channels
    assert file.report.format is Format.PARQUET
    assert labels_of(channel) == [instant_us(f"2025-01-01T0{hour}:00:00+00:00") for hour in range(3)]
    assert (channel.decimal_places, channel.readings.values.tolist()) == (places, scaled)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (pa.array([1, None, 3]), "has no value"),
        (pa.array([1, 10**18, 3]), "does not fit"),
        (pa.array([Decimal(1), Decimal(2**64 + 5), Decimal(3)], pa.decimal128(38, 0)), "does not fit"),
        (pa.array([Decimal(1), None, Decimal(3)], pa.decimal128(9, 0)), "has no value"),
        (pa.array(["1", "one", "3"]), "is no decimal"),
    ],
)
def test_a_value_that_cannot_be_read_is_skipped_and_reported(tmp_path: Path, values: pa.Array, what: str) -> None:
    options = replace(MEASURED, defaults=ChannelDefaults(interval_us=3_600_000_000))
    file = read_readings(write_table(tmp_path, start=START, value=values), options)
    (line,) = file.report.lines
    assert (line.line, line.skipped_count, file.report.read_count) == (2, 1, 2)
    assert what in line.what


def test_a_row_without_a_time_says_so_and_names_no_other_time(tmp_path: Path) -> None:
    times = pa.array([START[0].as_py(), None, START[2].as_py()], START.type)
    options = replace(MEASURED, defaults=ChannelDefaults(interval_us=3_600_000_000))
    file = read_readings(write_table(tmp_path, start=times, value=pa.array([1, 2, 3])), options)
    (line,) = file.report.lines
    assert (line.line, line.skipped_count, file.report.read_count) == (2, 1, 2)
    assert "its time '' is none" in line.what


@pytest.mark.parametrize(
    ("columns", "what", "mend"),
    [
        ({"value": pa.array([1.5, 2.5, 3.5])}, "values of type double", "decimal128"),
        ({"value": pa.array([True, True, False])}, "values of type bool", "decimal128"),
        ({"value": pa.array([Decimal(1)] * 3, pa.decimal128(30, 15))}, "values of type decimal128(30, 15)", "scale"),
        ({"start": pa.array([1, 2, 3])}, "times of type int64", "timestamp[us, UTC]"),
        ({"start": pa.array([1, 2, 3], pa.timestamp("ns", "UTC"))}, "finer than a microsecond", "round"),
        ({"start": pa.array([1, 2, 3], pa.timestamp("us"))}, "has no offset", "time zone"),
        ({"quality": pa.array([[1], [2], [3]])}, "a column quality of type list", "text"),
    ],
)
def test_columns_of_other_types_are_refused(tmp_path: Path, columns: dict, what: str, mend: str) -> None:
    path = write_table(tmp_path, **{"start": START, "value": pa.array([1, 2, 3]), **columns})
    with pytest.raises(ReadingsFileFault) as refused:
        read_readings(path, MEASURED)
    assert what in refused.value.what
    assert mend in refused.value.mend


CSV = b"start,value\n2025-01-01T00:00:00Z,1\n2025-01-01T01:00:00Z,2\n"


def test_packed_files_are_read_as_they_are(tmp_path: Path) -> None:
    zipped, gzipped = tmp_path / "a.zip", tmp_path / "b.gz"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", CSV)
    gzipped.write_bytes(gzip.compress(CSV))
    for path in (zipped, gzipped):
        assert read_readings(path, MEASURED).report.read_count == 2


def test_what_is_no_file_of_readings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    contents = {
        "two.zip": (two.read_bytes(), "an archive of 2 files"),
        "cut.zip": (two.read_bytes()[:80], "the archive is damaged"),
        "cut.gz": (gzip.compress(CSV)[:20], "the archive is damaged"),
        "cut.parquet": (b"PAR1 and no more", "not Parquet"),
        "empty.csv": (b"\n \n", "the file is empty"),
    }
    for name, (content, what) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ReadingsFileFault, match=what):
            read_readings(tmp_path / name)
    packed = tmp_path / "large.gz"
    packed.write_bytes(gzip.compress(bytes(1_000)))
    monkeypatch.setattr("tallybook_server.readings_files.read.FILE_BYTES_MAX", 999)
    with pytest.raises(ReadingsFileFault, match="more than 999 bytes, unpacked"):
        read_readings(packed)
    packed.write_bytes(gzip.compress(CSV.ljust(999)))
    assert read_readings(packed, MEASURED).report.read_count == 2


def test_a_report_keeps_so_many_lines_and_counts_the_others(tmp_path: Path) -> None:
    count = model.REPORT_LINES_MAX + 5
    text = "start,value\n" + "never,1\n" * count + "2025-01-01T00:00:00Z,1\n"
    report = read_text(tmp_path, text, replace(MEASURED, defaults=ChannelDefaults(interval_us=1))).report
    assert (report.skipped_count, len(report.lines), report.unlisted_count) == (count, model.REPORT_LINES_MAX, 5)
