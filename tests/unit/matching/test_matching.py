"""What an event meets, and what is said where it meets nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.ledger_view import lines_of
from tests.support.small_catalogue import MONTHLY, YEARLY, catalogue, per_unit, used

from tallybook_engine.ledger.outcomes import Match


def matches(book, *events) -> list[str]:
    return [Match(int(match)).name for match in book.store(list(events)).outcome.match]


def amounts(book) -> dict[tuple[str, str], int]:
    """Line amounts by product contract and cell."""
    found: Counter[tuple[str, str]] = Counter()
    for key, line in lines_of(book.state).items():
        found[key.product_contract, key.cell_id] += line.amount
    return dict(found)


@pytest.mark.parametrize(
    ("event", "match"),
    [
        (used("a"), "MATCHED"),
        (used("a", customer_reference="nobody"), "NO_CUSTOMER"),
        (used("a", meter_reference="nothing"), "NO_METER"),
        (used("a", customer_reference="nobody", meter_reference="nothing"), "NO_CUSTOMER"),
        (used("a", customer_reference="bob"), "NO_CONTRACT"),
        (used("a", meter_reference="other"), "NO_CONTRACT"),
        # Absent is not 0: an event without the value leaves the charge alone
        (used("a", units=None), "NO_CONTRACT"),
        (used("a", units="0"), "MATCHED"),
        (used("a", contract_id="charge0"), "MATCHED"),
        (used("a", contract_id="no_such_charge"), "NO_CONTRACT"),
        # The contract begins with the year and ends with March
        (used("a", day=-1e-11), "OUTSIDE_CONTRACT"),
        (used("a", day=91 - 1e-11), "MATCHED"),
        (used("a", day=91), "OUTSIDE_CONTRACT"),
        (used("a", day=91, units=None), "OUTSIDE_CONTRACT"),
    ],
)
def test_an_event_is_told_what_it_met(open_book, event, match):
    put = catalogue(per_unit("1"), end_date="2024-04-01")
    put["customers"].append({"id": "bob"})
    put["meters"].append({"id": "other", "values": ["units"]})
    book = open_book(put)
    assert matches(book, event) == [match]
    assert sum(amounts(book).values()) == (
        100 if match == "MATCHED" and event["meter_values"][0]["number"] == "1" else 0
    )


def test_usage_that_only_plans_without_a_price_take_is_not_billed(open_book):
    book = open_book(catalogue({"none": {}}))
    assert matches(book, used("a")) == ["NOT_BILLED"]
    assert amounts(book) == {}


def test_a_cell_without_a_price_bills_nothing_and_opens_no_line(open_book):
    rules = [
        {"match": {"kind": "free"}, "none": {}},
        {"match": {"kind": "dear"}, "per_unit": {"unit_price": "9"}},
    ]
    book = open_book(catalogue({"matrix": {"rules": rules}}))
    kinds = [[{"reference": "kind", "value": kind}] for kind in ("free", "dear", "strange")]
    events = [used(f"e{n}", meter_properties=kind) for n, kind in enumerate(kinds)]
    assert matches(book, *events, used("e3")) == ["NOT_BILLED", "MATCHED", "NO_CONTRACT", "NO_CONTRACT"]
    assert amounts(book) == {("charge0", "kind=dear"): 900}


def test_an_event_falls_into_the_first_cell_that_fits(open_book):
    rules = [
        {"id": "both", "match": {"kind": "a"}, **per_unit("1")},
        {"id": "rest", **per_unit("2")},
    ]
    book = open_book(catalogue({"matrix": {"rules": rules}}))
    book.store([used("x", meter_properties=[{"reference": "kind", "value": "a"}]), used("y"), used("z")])
    assert amounts(book) == {("charge0", "both"): 100, ("charge0", "rest"): 400}


def test_an_event_moves_every_charge_that_takes_it(open_book):
    book = open_book(catalogue(per_unit("1"), per_unit("2"), per_unit("3")))
    assert matches(book, used("a"), used("b", contract_id="charge1")) == ["MATCHED", "MATCHED"]
    assert amounts(book) == {("charge0", ""): 100, ("charge1", ""): 400, ("charge2", ""): 300}


def test_a_pinned_period_takes_an_event_once_when_its_product_has_moved_to_another_meter(open_book):
    """The period that is open goes on with the meter that it was opened under, and knows nothing of the new one."""
    put = catalogue(per_unit("1"), accumulation=YEARLY)
    put["meters"].append({"id": "other", "values": ["units"]})
    book = open_book(put)
    book.store([used("a")])
    book.apply({"products": [{**put["products"][0], "meter": "other"}]})
    assert matches(book, used("b"), used("c", meter_reference="other")) == ["MATCHED", "NO_CONTRACT"]
    assert amounts(book) == {("charge0", ""): 200}


def test_a_pinned_period_still_takes_events_when_its_charge_is_gone(open_book):
    put = catalogue(per_unit("1"), per_unit("5"), accumulation=MONTHLY)
    book = open_book(put)
    book.store([used("a")])
    contract = {**put["contracts"][0], "product_contracts": put["contracts"][0]["product_contracts"][:1]}
    book.apply({"contracts": [contract]})
    book.store([used("b", day=1), used("c", day=40)])
    assert amounts(book) == {("charge0", ""): 300, ("charge1", ""): 1000}
