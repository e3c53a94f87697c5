"""Whatever is computed again, fails or restarts: charges are those of the last determinants, and the law holds."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.energy.cases import instant_us
from tests.support.faulty_journal import PASSING_FAULTS, FaultyJournal, Outcome
from tests.support.ledger_view import view_of
from tests.support.live_book import LiveBook

from tallybook_engine.decimals import UNIT
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.naming import billing_channel
from tallybook_engine.determinants.result import Determinant, Result
from tallybook_engine.ledger.verify import verify
from tallybook_server.billing import parcel_of
from tallybook_server.errors import Fault
from tallybook_server.folding import open_book
from tallybook_server.journal.memory import MemoryJournal

NOW_US = instant_us("2026-06-01T00:00Z")
BOUNDS = [instant_us(f"2026-0{month}-01T00:00Z") for month in range(1, 5)]
MONTHS = list(pairwise(BOUNDS))
ENERGY_PRICE, PEAK_PRICE = 2, 3
CATALOGUE: dict[str, Any] = {
    "customers": [{"id": "acme"}],
    "channel_classifiers": [{"id": "A", "unit": "kWh", "decimal_places": 3}],
    "datasources": [
        {"id": name, "channels": [{"name": "load", "classifier": "A"}], "customer": "acme"} for name in ("m1", "m2")
    ],
    "products": [
        {"id": "energy", "aggregation": "SUM", "determinant": {"classifier": "A", "kind": "INTERVAL"}},
        {"id": "peak", "aggregation": "MAX", "determinant": {"classifier": "A", "kind": "PMAX"}},
    ],
    "plans": [
        {"id": name, "product": name, "currency": "EUR", "per_unit": {"unit_price": str(unit_price)}}
        for name, unit_price in (("energy", ENERGY_PRICE), ("peak", PEAK_PRICE))
    ],
    "contracts": [
        {
            "id": "c",
            "customer": "acme",
            "time_zone": "UTC",
            "start_date": "2026-01-01",
            "billing_frequency": {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"},
            "product_contracts": [
                {"plan": "energy", "accumulation_period": {"interval": 1, "unit": "YEAR"}},
                {"plan": "peak"},
            ],
        }
    ],
}
VALUES = st.none() | st.integers(-5, 100)
Pair = tuple[int | None, int | None]
"""Energy and peak."""
Known = dict[tuple[str, int, int], Pair]
"""(datasource, first month, month behind the last) -> what was stored of it last."""
CALLS = st.tuples(
    st.sampled_from(["m1", "m2"]),
    st.integers(0, 2),
    st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
"""Datasource, first month, values of the months from it on, whether they are asked for as one period that is not split
(which has the first values), and whether the book is opened again behind it."""
PLANS = st.lists(st.sampled_from([Outcome.COMMITTED, *PASSING_FAULTS]), max_size=6)


def determinant(kind: Kind, first: int, end: int, value: int | None, *, is_month: bool) -> Determinant:
    return Determinant(
        kind=kind,
        channel="load",
        classifier="A",
        slice=None,
        demand=None,
        billing_channel=billing_channel("A", kind, is_month=is_month),
        unit="kWh",
        start_us=BOUNDS[first],
        end_us=BOUNDS[end],
        is_month=is_month,
        value=None if value is None else value * UNIT,
        quality=None,
    )


def result(datasource: str, parts: dict[tuple[int, int], Pair]) -> Result:
    """One period asked for alone, or several as the months of a split."""
    determinants = tuple(
        determinant(kind, *months, value, is_month=len(parts) > 1)
        for months, values in sorted(parts.items())
        for kind, value in zip((Kind.INTERVAL, Kind.PMAX), values, strict=True)
    )
    first, end = min(parts)[0], max(parts)[1]
    return Result(datasource, BOUNDS[first], BOUNDS[end], "UTC", determinants, (), 1, None, None)


def charged(live: LiveBook) -> dict[tuple[int, str], Fraction]:
    lines, _ = live.run(live.book.charges("acme", True, None, None, None, False))
    found = {(each.period_start_us, each.product_id): Fraction(each.exact_amount, UNIT * UNIT) for each in lines}
    return {key: amount for key, amount in found.items() if amount}


def expected(known: Known) -> dict[tuple[int, str], Fraction]:
    """What the last values come to, each in its last month: energy runs up over the year, the peak is the month's."""
    amounts: dict[tuple[int, str], Fraction] = {}
    for month, (start, _) in enumerate(MONTHS):
        of_month = [values for (_, _, end), values in known.items() if end == month + 1]
        amounts[start, "energy"] = Fraction(sum(value or 0 for value, _ in of_month) * ENERGY_PRICE)
        amounts[start, "peak"] = Fraction(max([value or 0 for _, value in of_month] or [0]) * PEAK_PRICE)
    return {key: amount for key, amount in amounts.items() if amount}


def with_parts(known: Known, datasource: str, parts: dict[tuple[int, int], Pair]) -> Known | None:
    """What is known once these are stored; None where they are refused."""
    first, end = min(parts)[0], max(parts)[1]
    kept: Known = {}
    for (of, since, until), values in known.items():
        if of != datasource or until <= first or end <= since:
            kept[of, since, until] = values
        elif (since < first or until > end) and values != (None, None):
            return None
    if any(value is not None and value < 0 for values in parts.values() for value in values):
        return None
    return kept | {(datasource, *months): values for months, values in parts.items()}


@settings(deadline=None)
@given(st.lists(CALLS, min_size=1, max_size=6), PLANS)
def test_charges_are_those_of_the_last_determinants(calls, plan):
    memory = MemoryJournal()
    live = LiveBook(memory, NOW_US)
    live.apply(CATALOGUE)
    live.restart()
    live.journal = live.book._journal = live.book._writer._journal = FaultyJournal(memory, plan)
    known: Known = {}
    try:
        for datasource, first, values, is_whole, restarts in calls:
            months = range(first, min(first + len(values), len(MONTHS)))
            parts = {(month, month + 1): each for month, each in zip(months, values, strict=False)}
            if is_whole:
                parts = {(months.start, months.stop): values[0]}
            found = result(datasource, parts)
            after = with_parts(known, datasource, parts)
            before = view_of(live.state)
            try:
                live.run(live.book.store_determinants(found, parcel_of(found, 0, NOW_US)))
            except Fault:
                # Nothing of it is there.
                assert view_of(live.state) == before
            else:
                assert after is not None
                known = after
            assert charged(live) == expected(known)
            assert verify(live.state, live.book._records.segments()).differences == ()
            if restarts:
                live.journal = memory
                live.restart()
                assert charged(live) == expected(known)
        folded = open_book(memory, from_snapshot=False)
        assert verify(folded.state, folded.records.segments()).differences == ()
    finally:
        live.close()
