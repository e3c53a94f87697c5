"""Determinants as usage: which of a result become events, of what time and reference."""

from dataclasses import replace

import pytest
from tests.support.energy.cases import instant_us

from tallybook_engine.catalog.model import DeterminantSource
from tallybook_engine.decimals import UNIT
from tallybook_engine.determinants.configuration import Channel, Datasource
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.result import Determinant, Result
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.ledger.determinants import Usage, determinant_reference, event_time_us, usage_of
from tallybook_engine.ledger.pivot import NAME_BYTES_MAX

START, MIDDLE, END = (instant_us(f"2026-0{month}-01T00:00Z") for month in (1, 2, 3))
SOURCE = Datasource("m1", customer="acme")
ENERGY = DeterminantSource("active", Kind.INTERVAL)
PEAK = DeterminantSource("active", Kind.PMAX)
NAMED = {each.meter().id: each for each in (ENERGY, PEAK)}


def determinant(source: DeterminantSource, value: int | None, start: int, end: int, *, is_month: bool) -> Determinant:
    return Determinant(
        kind=source.kind,
        channel="load",
        classifier=source.classifier,
        slice=source.slice,
        demand=source.demand,
        billing_channel=source.meter().id + ("_MONTH" if is_month else ""),
        unit="kWh",
        start_us=start,
        end_us=end,
        is_month=is_month,
        value=value,
        quality=None,
    )


def result(*determinants: Determinant) -> Result:
    return Result("m1", START, END, "UTC", determinants, (), 1, None, None)


def usage(*determinants: Determinant, source: Datasource = SOURCE) -> Usage:
    found = usage_of(result(*determinants), source, NAMED)
    assert found is not None
    return found


def values(found: Usage) -> list[tuple[str, int]]:
    """(meter, value) of each event."""
    columns = found.columns
    meters = columns.meters.names.to_pylist()
    numbers = [from_limbs(*limbs) for limbs in columns.values[0].numbers]
    return [(meters[code], number) for code, number in zip(columns.meters.codes, numbers, strict=True)]


WHOLE = determinant(ENERGY, 5 * UNIT, START, END, is_month=False)
JANUARY = determinant(ENERGY, 2 * UNIT, START, MIDDLE, is_month=True)
FEBRUARY = determinant(ENERGY, -3 * UNIT, MIDDLE, END, is_month=True)


def test_months_count_where_there_are_any_and_else_the_whole():
    highest = determinant(PEAK, UNIT, START, END, is_month=False)
    found = usage(WHOLE, JANUARY, FEBRUARY, highest)
    assert values(found) == [
        ("BILLING_active_INTERVAL", 2 * UNIT),
        ("BILLING_active_INTERVAL", -3 * UNIT),
        ("BILLING_active_PMAX", UNIT),
    ]
    assert found.columns.times_us.tolist() == [MIDDLE - 1, END - 1, END - 1]


def test_what_no_product_names_and_what_nobody_pays_for_is_no_usage():
    unnamed = determinant(DeterminantSource("other", Kind.INTERVAL), UNIT, START, END, is_month=False)
    assert usage_of(result(unnamed), SOURCE, NAMED) is None
    assert usage_of(result(WHOLE), replace(SOURCE, customer=None), NAMED) is None
    assert usage_of(result(WHOLE), SOURCE, {}) is None


def test_what_a_datasource_has_no_channel_for_any_more_is_named():
    unnamed = determinant(DeterminantSource("other", Kind.INTERVAL), UNIT, START, END, is_month=False)
    found = usage_of(result(unnamed), SOURCE, NAMED, known=NAMED)
    assert found is not None
    assert found.meter_ids == tuple(NAMED)
    assert usage_of(result(unnamed), replace(SOURCE, channels=(Channel("load", "active"),)), NAMED, known=NAMED) is None


def test_an_event_says_whose_it_is():
    columns = usage(WHOLE, source=replace(SOURCE, contract_id="c")).columns
    assert (columns.customers.names.to_pylist(), columns.customers.is_id.tolist()) == (["acme"], [True])
    assert (columns.contracts.names.to_pylist(), columns.contracts.codes.tolist()) == (["c"], [0])
    assert usage(WHOLE).columns.contracts.codes.tolist() == [-1]
    assert columns.properties[0].values.to_pylist() == ["m1"]


def test_what_has_no_value_is_withdrawn():
    found = usage(WHOLE._replace(value=None))
    assert found.columns.row_count == 0
    assert found.withdrawn == ('["m1","BILLING_active_INTERVAL","2026-01-01T00:00:00Z","2026-03-01T00:00:00Z"]',)


def test_a_month_has_one_reference_whichever_way_it_was_asked_for():
    asked_alone = JANUARY._replace(is_month=False, billing_channel="BILLING_active_INTERVAL")
    (first,), (second,) = (usage(each).columns.references.to_pylist() for each in (JANUARY, asked_alone))
    assert first == second


def reference_of(datasource, determinant):
    return determinant_reference(datasource, "BILLING_active_INTERVAL", determinant.start_us, determinant.end_us)


@pytest.mark.parametrize(("letters", "is_hashed"), [(0, False), (1, True)])
def test_a_reference_that_would_be_too_long_is_a_hash(letters, is_hashed):
    length = NAME_BYTES_MAX - len(reference_of("", WHOLE)) + letters
    name = "m" * length
    found = reference_of(name, WHOLE)
    assert found.startswith("determinant:") is is_hashed
    assert len(found.encode()) <= NAME_BYTES_MAX
    assert found != reference_of(name, JANUARY)


def test_a_period_of_one_instant_is_of_that_instant():
    assert event_time_us(WHOLE._replace(start_us=END)) == END
