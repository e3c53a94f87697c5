"""NEM12 and NEM13 files that are broken: refused with file, line, what and how to mend it, or skipped and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallybook_server.readings_files.model import Duplicates, Format, ReadFile, ReadingsFileFault, ReadOptions
from tallybook_server.readings_files.read import read_readings

HEADER = "100,NEM12,200405011135,MDA1,Ret1"
DETAILS = "200,NMI1,E1Q1,1,E1,N1,METER1,kWh,30,"
TAIL = "A,,,20040202120025,20040202142516"
VISIT = "500,O,S01,20040201120000,001123.5"


def day(values: list[str] | None = None, date: str = "20040201", tail: str = TAIL) -> str:
    return f"300,{date},{','.join(values or ['1.5'] * 48)},{tail}"


def read_lines(folder: Path, *lines: str, options: ReadOptions | None = None) -> ReadFile:
    path = folder / "readings.csv"
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    return read_readings(path, options)


def with_value(text: str, at: int = 2) -> list[str]:
    return [text if index == at else "1.5" for index in range(48)]


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = read_lines(tmp_path, HEADER, DETAILS, day(), VISIT, "900")
    assert (file.report.read_count, file.report.skipped_count) == (48, 0)
    assert [str(line) for line in file.report.lines] == [
        "line 4: index read 001123.5 has no quality: it is no reading; send register reads as NEM13"
    ]
    (channel,) = file.channels
    assert (channel.info.register, channel.info.meter_serial) == ("1", "METER1")


V = "V,,,20040202120025,"
REFUSED = {
    "cut off": ([HEADER, DETAILS, day()], 4, "without a record 900", "fetch it again"),
    "cut off within a day": ([HEADER, DETAILS, day()[:100]], 3, "22 values where 30-minute intervals need 48", "fetch"),
    "no header": ([DETAILS, day(), "900"], 1, "a record '200' before the record 100", "order"),
    "two headers": ([HEADER, HEADER, DETAILS, day(), "900"], 2, "a record 100 before the record 900", "again"),
    "behind the end": ([HEADER, DETAILS, day(), "900", day()], 5, "after the record 900", "again"),
    "another version": ([HEADER, DETAILS, day(), "900", "100,NEM13,,,"], 5, "a header of 'NEM13'", "NEM12 files alone"),
    "day before its register": ([HEADER, day(), "900"], 2, "a record 300 before any 200", "order"),
    "event before its day": ([HEADER, DETAILS, "400,1,48,A,,", "900"], 3, "a record 400 without a 300", "again"),
    "visit before its day": ([HEADER, DETAILS, VISIT, "900"], 3, "a record 500 without a 300", "again"),
    "record of NEM13": ([HEADER, DETAILS, "250,NMI1", "900"], 3, "a record '250'", "200, 300, 400 and 500"),
    "short register": ([HEADER, "200,NMI1,E1", "900"], 2, "a record 200 of 3 fields", "again"),
    "register without NMI": ([HEADER, DETAILS.replace("NMI1", ""), "900"], 2, "without NMI", "fill"),
    "interval length": ([HEADER, DETAILS.replace("30", "7"), "900"], 2, "interval length of 7 minutes", "5, 15 or 30"),
    "no interval length": ([HEADER, DETAILS.replace("30", "x"), "900"], 2, "interval length of 'x'", "minutes"),
    "date": ([HEADER, DETAILS, day(date="20040231"), "900"], 3, "interval date of '20040231'", "20050401"),
    "too few": ([HEADER, DETAILS, day(["1"] * 47), "900"], 3, "47 values where 30-minute intervals need 48", "fetch"),
    "too many": ([HEADER, DETAILS, day(["1"] * 49), "900"], 3, "49 values where 30-minute intervals need 48", "length"),
    "other length": ([HEADER, DETAILS, day(["1"] * 96), "900"], 3, "96 values", "interval length"),
    "no quality of V": ([HEADER, DETAILS, day(tail=V), "900"], 3, "no record 400 says", "fetch"),
    "not all of V": (
        [HEADER, DETAILS, day(tail=V), "400,1,40,A,,", "400,42,48,A,,", "900"],
        3,
        "quality of interval 41 of 20040201",
        "fetch",
    ),
    "twice of V": (
        [HEADER, DETAILS, day(tail=V), "400,1,40,A,,", "400,40,48,A,,", "900"],
        5,
        "intervals 40 to 48 of 20040201 have a quality already",
        "one record 400",
    ),
    "event of a day that is not V": ([HEADER, DETAILS, day(), "400,1,48,S14,,", "900"], 4, "have a quality", "say V"),
    "range": ([HEADER, DETAILS, day(tail=V), "400,1,49,A,,", "900"], 4, "intervals '1' to '49'", "from 1 to 48"),
    "V of an event": ([HEADER, DETAILS, day(tail=V), "400,1,48,V,,", "900"], 4, "400 of quality V", "name the quality"),
    "overlap": (
        [HEADER, DETAILS.replace(",30,", ",15,"), day(["1"] * 96), DETAILS, day(), "900"],
        5,
        "overlaps the one of line 3",
        "interval length",
    ),
}


@pytest.mark.parametrize(("lines", "line", "what", "mend"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_cannot_be_trusted_is_refused(
    tmp_path: Path, lines: list[str], line: int, what: str, mend: str
) -> None:
    with pytest.raises(ReadingsFileFault) as refused:
        read_lines(tmp_path, *lines, options=ReadOptions(format=Format.NEM12))
    assert what in refused.value.what
    assert mend in refused.value.mend
    assert str(refused.value).startswith(f"readings.csv:{line}: ")


SKIPPED = {
    "NaN": (day(with_value("NaN")), 1, "its value 'NaN' is no decimal"),
    "nothing": (day(with_value("")), 1, "has no value"),
    "below 0": (day(with_value("-1")), 1, "a value below 0"),
    "too fine": (day(with_value("0.1234567890123")), 1, "more than 12 decimals"),
    "too large": (day(with_value("1000000000000000")), 1, "does not fit"),
    "unknown flag": (day(tail="X,,,,"), 48, "unknown status 'X'"),
    "no flag": (day(tail=",,,,"), 48, "no status"),
}


@pytest.mark.parametrize(("record", "count", "what"), SKIPPED.values(), ids=SKIPPED.keys())
def test_a_value_that_cannot_be_read_is_skipped_and_reported(
    tmp_path: Path, record: str, count: int, what: str
) -> None:
    file = read_lines(tmp_path, HEADER, DETAILS, record, day(date="20040202"), "900")
    (line,) = file.report.lines
    assert (line.line, line.skipped_count, file.report.read_count) == (3, count, 96 - count)
    assert what in line.what
    assert line.what.startswith("NMI1/E1: ")
    assert line.mend


def test_a_null_reading_needs_no_value(tmp_path: Path) -> None:
    events = ["400,1,2,A,,", "400,3,3,N,,", "400,4,48,A,,"]
    file = read_lines(tmp_path, HEADER, DETAILS, day(with_value(""), tail=V), *events, "900")
    readings = file.channels[0].readings
    assert (file.report.lines, readings.times.count, int(readings.values[2])) == ((), 48, 0)
    assert ReadOptions().quality.statuses[readings.quality[2]].name == "missing"


@pytest.mark.parametrize(("duplicates", "value"), [(Duplicates.KEEP_LAST, 2), (Duplicates.KEEP_FIRST, 1)])
def test_a_day_that_comes_twice_counts_once(tmp_path: Path, duplicates: Duplicates, value: int) -> None:
    lines = [HEADER, DETAILS, day(["1"] * 48), day(["2"] * 48), "900"]
    file = read_lines(tmp_path, *lines, options=ReadOptions(duplicates=duplicates))
    (line,) = file.report.lines
    assert (line.line, line.skipped_count) == ({2: 3, 1: 4}[value], 48)
    assert "twice" in line.what
    assert set(file.channels[0].readings.values.tolist()) == {value}


def test_files_behind_one_another_are_read_as_one(tmp_path: Path) -> None:
    once = [HEADER, DETAILS, day(), "900"]
    file = read_lines(tmp_path, *once, "", HEADER, DETAILS, day(date="20040202"), "900,,")
    assert (len(file.channels), file.report.read_count, file.report.lines) == (1, 96, ())


def test_descriptions_may_hold_any_text(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    lines = [HEADER, DETAILS, day(tail='S14,76,"Zähler, 2.5 étage",,'), "900"]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    assert read_readings(path).report.read_count == 48


def test_events_may_give_reasons_for_the_quality_that_a_day_has(tmp_path: Path) -> None:
    events = ["400,1,20,A,79,", "400,21,48,A,89,"]
    file = read_lines(tmp_path, HEADER, DETAILS, day(), *events, day(date="20040202"), "900")
    assert (file.report.read_count, file.report.lines) == (96, ())
    names = {ReadOptions().quality.statuses[code].name for code in file.channels[0].readings.quality}
    assert names == {"measured"}


def test_statuses_can_be_mapped_by_method_and_by_letter(tmp_path: Path) -> None:
    events = ["400,1,1,S14,,", "400,2,2,S52,,", "400,3,48,X,,"]
    statuses = {"S": "edited", "S52": "questionable", "X": "calculated"}
    lines = [HEADER, DETAILS, day(tail=V), *events, "900"]
    file = read_lines(tmp_path, *lines, options=ReadOptions(statuses=statuses))
    names = [ReadOptions().quality.statuses[code].name for code in file.channels[0].readings.quality]
    assert names == ["edited", "questionable", *["calculated"] * 46]


READ = "250,NMI1,11,1,11,11,METER1,E,000100.5,20040101000000,A,,,000120.5,20040201000000,A,,,20,kWh,,,"
HEADER_13 = "100,NEM13,200405011135,MDA1,Ret1"
REFUSED_13 = {
    "cut off": ([HEADER_13, READ], "without a record 900"),
    "short": ([HEADER_13, READ[:60], "900"], "a record 250 of 14 fields"),
    "visit first": ([HEADER_13, "550,N,,E,", "900"], "a record 550 without a 250"),
    "record of NEM12": ([HEADER_13, DETAILS, "900"], "a record '200'"),
    "direction": ([HEADER_13, READ.replace(",E,", ",X,"), "900"], "a direction of 'X'"),
    "time": ([HEADER_13, READ.replace("20040201000000", "20040201"), "900"], "a read's time of '20040201'"),
    "order": ([HEADER_13, READ.replace("20040201000000", "20040101000000"), "900"], "is not before the read now"),
    "no unit": ([HEADER_13, READ.replace(",kWh,", ",,"), "900"], "without NMI, suffix or unit"),
}


@pytest.mark.parametrize(("lines", "what"), REFUSED_13.values(), ids=REFUSED_13.keys())
def test_a_nem13_file_that_cannot_be_trusted_is_refused(tmp_path: Path, lines: list[str], what: str) -> None:
    with pytest.raises(ReadingsFileFault) as refused:
        read_lines(tmp_path, *lines)
    assert what in refused.value.what
    assert refused.value.line is not None
    assert refused.value.mend


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("000120.5", "NaN", "its value 'NaN' is no decimal"),
        ("A,,,20,", "Q,,,20,", "unknown status 'Q'"),
        ("A,,,20,", ",,,20,", "no status"),
    ],
)
def test_a_read_that_cannot_be_read_is_skipped_and_reported(tmp_path: Path, old: str, new: str, what: str) -> None:
    file = read_lines(tmp_path, HEADER_13, READ.replace(old, new), "900")
    (line,) = file.report.lines
    assert (line.line, line.skipped_count, file.report.read_count) == (2, 1, 1)
    assert what in line.what


def test_another_read_at_the_same_time_is_reported(tmp_path: Path) -> None:
    following = READ.replace("000100.5,20040101000000", "000121.5,20040201000000").replace(
        "000120.5,20040201000000", "000141.5,20040301000000"
    )
    file = read_lines(tmp_path, HEADER_13, READ, following, "900")
    (line,) = file.report.lines
    assert (line.line, line.skipped_count) == (2, 1)
    assert file.channels[0].readings.values.tolist() == [1005, 1215, 1415]


def test_another_meter_has_a_register_of_its_own(tmp_path: Path) -> None:
    file = read_lines(tmp_path, HEADER_13, READ, READ.replace("METER1", "METER2"), "900")
    assert [channel.info.meter_serial for channel in file.channels] == ["METER1", "METER2"]


def test_a_record_that_comes_twice_is_reported(tmp_path: Path) -> None:
    file = read_lines(tmp_path, HEADER_13, READ, READ, "900")
    assert [(line.line, line.skipped_count) for line in file.report.lines] == [(2, 2)]
    assert file.report.read_count == 2
