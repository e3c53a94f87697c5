"""How many accumulation periods a billing period may hold: counted by the calendar's longest and shortest."""

from datetime import date
from itertools import pairwise

import pytest
from tests.support.catalog_files import CARDS, faults

from tallybook_engine.calendar.periods import boundary_date
from tallybook_engine.catalog import limits
from tallybook_engine.catalog.check_accumulation import accumulation_period_count_max
from tallybook_engine.catalog.model import Basis, Frequency, PeriodUnit


def every(text: str) -> Frequency:
    interval, unit = text.split()
    return Frequency(Basis.CALENDAR, int(interval), PeriodUnit(unit))


@pytest.mark.parametrize(
    ("billing", "accumulation", "count"),
    [
        ("1 MONTH", "1 DAY", 31),
        ("1 MONTH", "1 WEEK", 5),
        ("1 MONTH", "1 YEAR", 1),
        ("1 MONTH", "1 MONTH", 1),
        ("3 MONTH", "2 MONTH", 2),
        ("1 YEAR", "1 DAY", 366),
        ("2 YEAR", "1 MONTH", 24),
        ("1 YEAR", "5 MONTH", 3),
        ("52 WEEK", "1 MONTH", 13),
        ("52 WEEK", "1 DAY", 364),
        ("2 YEAR", "1 DAY", 732),
        ("1000 YEAR", "1 YEAR", 1_000),
        ("1000 DAY", "1 DAY", 1_000),
        ("143 WEEK", "1 DAY", 1_001),
        ("1000 YEAR", "1 DAY", 366_000),
    ],
)
def test_counted(billing, accumulation, count):
    assert accumulation_period_count_max(every(billing), every(accumulation)) == count


@pytest.mark.parametrize("billing", ["1 MONTH", "5 MONTH", "1 YEAR", "3 YEAR", "40 DAY", "7 WEEK"])
@pytest.mark.parametrize("accumulation", ["1 DAY", "9 DAY", "1 WEEK", "2 WEEK", "1 MONTH", "5 MONTH", "1 YEAR"])
@pytest.mark.parametrize("anchor", [date(2023, 1, 1), date(2023, 8, 31), date(2024, 2, 29)])
def test_no_calendar_has_more(billing, accumulation, anchor):
    """Boundaries counted out over the longest periods that there are, leap years and the ends of months among them."""
    whole, part = every(billing), every(accumulation)
    begins = [boundary_date(part, anchor, number) for number in range(4_000)]
    ends = [boundary_date(whole, anchor, number) for number in range(60)]
    until = min(begins[-1], ends[-1])
    most = max(sum(start <= each < end for each in begins) for start, end in pairwise(ends) if end <= until)
    assert most <= accumulation_period_count_max(whole, part)


def sold(billing: str, accumulation: str, above: str = "") -> list[str]:
    """The faults of a product contract that is billed and accumulated so, below one that overrides it or none."""

    def text(frequency: str) -> str:
        interval, unit = frequency.split()
        return f"{{basis: CALENDAR, interval: {interval}, unit: {unit}}}"

    charges = f"product_contracts: [{{plan: cards_2023, accumulation_period: {text(accumulation)}}}]"
    frequency = f"billing_frequency: {text(billing)}"
    level = f"{frequency}, {charges}"
    if above:
        level = (
            f"billing_frequency: {text(above)}, override_underlying: true, "
            f"sub_contracts: [{{id: a, sub_contracts: [{{id: b, {level}}}]}}]"
        )
    begin = CARDS.index("billing_frequency")
    return faults(f"{CARDS[:begin]}{level}}}\n")


def test_at_the_edge_and_over_it():
    assert limits.ACCUMULATION_PERIODS_MAX == 1_000
    assert sold("1000 DAY", "1 DAY") == []
    assert sold("143 WEEK", "1 DAY") == [
        "catalog.yaml:13: contracts[0].product_contracts[0].accumulation_period: 1 DAY comes 1,001 times in a billing "
        "period of 143 WEEK, at most 1,000 are possible: bill more often, or accumulate for longer"
    ]


def test_what_overrides_is_what_bills():
    assert sold("10 YEAR", "1 DAY", above="1 MONTH") == []
    (fault,) = sold("1 MONTH", "1 DAY", above="10 YEAR")
    assert (
        "sub_contracts[0].sub_contracts[0].product_contracts[0].accumulation_period: 1 DAY comes 3,660 times" in fault
    )


def test_an_impossible_frequency_is_named_once():
    assert len(sold("0 YEAR", "1 DAY")) == len(sold("10 YEAR", "0 DAY")) == 1
