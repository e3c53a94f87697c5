"""Texts of numbers and times, and wall times of zones."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.energy.cases import instant_us

from tallybook_engine.decimals import DecimalFaultCode
from tallybook_server.readings_files.moments import local_instants, parse_moments
from tallybook_server.readings_files.numbers import parse_texts, spans_of
from tallybook_server.readings_files.units import shift, spelled


@pytest.mark.parametrize(
    ("text", "mantissa", "places"),
    [
        ("0", 0, 0),
        ("-0.000", 0, 0),
        ("1.110", 111, 2),
        (".02", 2, 2),
        ("006342.8", 63_428, 1),
        (" -12.5 ", -125, 1),
        ("100", 100, 0),
        ("1.000000000001", 1_000_000_000_001, 12),
        ("1.0000000000010000", 1_000_000_000_001, 12),
        ("999999999999999", 999_999_999_999_999, 0),
        ("99999.999999999999", 99_999_999_999_999_999, 12),
        ("0.1000000000000000000000000", 1, 1),
    ],
)
def test_a_decimal_is_an_integer_and_its_places(text: str, mantissa: int, places: int) -> None:
    numbers = parse_texts([text])
    assert (int(numbers.mantissas[0]), int(numbers.places[0]), int(numbers.faults[0])) == (mantissa, places, 0)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", DecimalFaultCode.EMPTY),
        ("  ", DecimalFaultCode.EMPTY),
        ("NaN", DecimalFaultCode.MALFORMED),
        ("inf", DecimalFaultCode.MALFORMED),
        ("1e3", DecimalFaultCode.MALFORMED),
        ("+1", DecimalFaultCode.MALFORMED),
        ("1,5", DecimalFaultCode.MALFORMED),
        ("1.", DecimalFaultCode.MALFORMED),
        (".", DecimalFaultCode.MALFORMED),
        ("-", DecimalFaultCode.MALFORMED),
        ("1.2.3", DecimalFaultCode.MALFORMED),
        ("0.0000000000001x", DecimalFaultCode.MALFORMED),
        ("0.0000000000001", DecimalFaultCode.TOO_MANY_DECIMALS),
        ("75.15930000000000002", DecimalFaultCode.TOO_MANY_DECIMALS),
        ("1000000000000000", DecimalFaultCode.OUT_OF_RANGE),
        ("99999999999999999999999", DecimalFaultCode.OUT_OF_RANGE),
        ("1234567.123456789012", DecimalFaultCode.OUT_OF_RANGE),
    ],
)
def test_what_is_no_decimal_has_a_fault(text: str, fault: DecimalFaultCode) -> None:
    numbers = parse_texts(["1.5", text, "2"])
    assert numbers.faults.tolist() == [0, fault, 0]
    assert numbers.mantissas.tolist() == [15, 0, 2]


def moment(text: str) -> tuple[int, bool, bool]:
    moments = parse_moments(*spans_of([text]))
    return int(moments.times_us[0]), bool(moments.is_naive[0]), bool(moments.is_wrong[0])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2024-02-29T23:45:00Z", "2024-02-29T23:45:00+00:00"),
        ("2024-02-29 23:45Z", "2024-02-29T23:45:00+00:00"),
        ("2024-12-31T24:00:00+01:00", "2025-01-01T00:00:00+01:00"),
        ("2025-01-01T00:00:00.5-0930", "2025-01-01T00:00:00.500000-09:30"),
        ("1969-12-31T23:59:59.999999+00", "1969-12-31T23:59:59.999999+00:00"),
        ("2025-01-01T00:00:00.000001000 +14:00", "2025-01-01T00:00:00.000001+14:00"),
        ("0001-03-01T00:00:00Z", "0001-03-01T00:00:00+00:00"),
    ],
)
def test_a_time_with_an_offset_is_an_instant(text: str, same: str) -> None:
    assert moment(text) == (instant_us(same), False, False)


@pytest.mark.parametrize("text", ["2025-03-30 02:30:00", "2025-03-30T02:30"])
def test_a_time_without_an_offset_is_a_wall_time(text: str) -> None:
    assert moment(text) == (instant_us("2025-03-30T02:30:00+00:00"), True, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaT",
        "2025",
        "2025-02-29",
        "2025-13-01",
        "2025-00-01",
        "2025-01-00",
        "0000-01-01",
        "2025/01/01 00:00",
        "2025-01-01x00:00",
        "2025-01-01T25:00",
        "2025-01-01T24:00:01Z",
        "2025-01-01T00:60",
        "2025-01-01T00:00:60",
        "2025-01-01T00:00:00.",
        "2025-01-01T00:00:00.0000001Z",
        "2025-01-01T00:00:00+1",
        "2025-01-01T00:00:00+24:00",
        "2025-01-01T00:00:00+01:60",
        "2025-01-01T00:00:00ZZ",
        "2025-01-01T00:00:00 Europe/Paris",
        "01-02-2025 00:00",
    ],
)
def test_what_is_no_time_is_wrong(text: str) -> None:
    assert moment(text)[2]


@pytest.mark.parametrize(
    ("zone", "wall", "first", "second"),
    [
        ("Europe/Amsterdam", "2025-01-15T12:00", "2025-01-15T12:00+01:00", None),
        ("Europe/Amsterdam", "2025-03-30T01:59", "2025-03-30T01:59+01:00", None),
        ("Europe/Amsterdam", "2025-03-30T03:00", "2025-03-30T03:00+02:00", None),
        ("Europe/Amsterdam", "2025-10-26T02:30", "2025-10-26T02:30+02:00", "2025-10-26T02:30+01:00"),
        ("Europe/Amsterdam", "2025-10-26T03:00", "2025-10-26T03:00+01:00", None),
        ("Australia/Lord_Howe", "2025-04-06T01:45", "2025-04-06T01:45+11:00", "2025-04-06T01:45+10:30"),
        ("Europe/Amsterdam", "2024-12-31T23:59", "2024-12-31T23:59+01:00", None),
    ],
)
def test_wall_times_of_a_zone(zone: str, wall: str, first: str, second: str | None) -> None:
    local = local_instants(zone, np.array([instant_us(wall + "+00:00")], dtype=np.int64))
    assert (int(local.first_us[0]), int(local.second_us[0])) == (instant_us(first), instant_us(second or first))
    assert not local.is_skipped[0]


def test_clocks_jump_over_a_wall_time() -> None:
    walls = [instant_us(f"2025-03-30T{time}+00:00") for time in ("01:59", "02:00", "02:59", "03:00")]
    local = local_instants("Europe/Amsterdam", np.array(walls, dtype=np.int64))
    assert local.is_skipped.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("unit", "wanted", "power"),
    [("Wh", "kWh", -3), ("KWH", "kWh", 0), ("MWh", "Wh", 6), ("kW", "kWh", None), ("m3", "m3", 0), ("m3", "kWh", None)],
)
def test_units_differ_by_a_power_of_ten_or_measure_something_else(unit: str, wanted: str, power: int | None) -> None:
    assert shift(unit, wanted) == power


def test_units_are_spelled_in_one_way() -> None:
    assert [spelled(unit) for unit in ("KWH", "kvarh", "kVArh", "KW", "Therm")] == [
        "kWh",
        "kvarh",
        "kvarh",
        "kW",
        "Therm",
    ]


AEMO_UNITS = """
    MWh kWh Wh MVArh kVArh VArh MVAr kVAr VAr MW kW W MVAh kVAh VAh MVA kVA VA kV V kA A pf
"""
"""AEMO, Meter Data File Format Specification NEM12 & NEM13, appendix B."""


@pytest.mark.parametrize("unit", AEMO_UNITS.split())
def test_each_unit_of_nem12_is_known_in_any_case(unit: str) -> None:
    said = unit.replace("VAr", "var")
    assert {spelled(each) for each in (unit, unit.upper(), unit.lower())} == {said}
