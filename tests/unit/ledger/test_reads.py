"""Reading charge lines and running totals, now and as of an earlier sequence."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.small_catalogue import DAILY, YEARLY, catalogue, per_unit, tiers, used

from tallybook_engine.decimals import UNIT
from tallybook_engine.ledger import reads
from tallybook_engine.ledger.net_amounts import net_amounts, net_lines_as_of
from tallybook_server.errors import Fault

GRADUATED = tiers("graduated", ("2", "1", "0"), (None, "0.5", "3"), minimum="4")


def charges(book, sequence: int | None = None, **bounds) -> list[tuple[int, int, int]]:
    """(amount, sum of its tier lines in cents, quantity) of each charge line of ann, by period."""
    start_us, end_us = bounds.get("start_us"), bounds.get("end_us")
    lines, _ = book.run(
        book.book.charges("ann", True, start_us, end_us, sequence, bounds.get("include_unopened", False))
    )
    return [
        (line.amount, sum(each.amount for each in line.lines) * 100 // UNIT**2, line.quantity // UNIT) for line in lines
    ]


def usage(book, sequence: int | None = None) -> list[int]:
    totals, _ = book.run(book.book.usage("ann", True, None, None, sequence))
    return [total.quantity // UNIT for total in totals]


def test_lines_as_of_an_earlier_sequence(open_book):
    book = open_book(catalogue(GRADUATED, accumulation=YEARLY))
    book.store([used("a", "1", day=1)])
    book.store([used("b", "3", day=40)])
    book.delete_references("ann", "a")
    assert charges(book) == [(400, 400, 0), (150, 150, 3)]
    assert charges(book, 2) == [(400, 400, 1), (200, 200, 3)]
    assert charges(book, 1) == [(400, 400, 1)]
    assert [usage(book, at) for at in (1, 2, 3)] == [[1], [4], [3]]


def test_what_is_merged_meanwhile_with_what_comes_later_is_read_as_it_was(open_book):
    # Given three commits under a minimum a month, and how the customer stands
    put = catalogue(GRADUATED, accumulation=YEARLY)
    put["contracts"][0]["minimum"] = "20"
    book = open_book(put)
    for reference, day in (("a", 1), ("b", 40), ("c", 2)):
        book.store([used(reference, "1", day=day)])
    state, records = book.state, book.book._records

    def seen() -> list[Any]:
        later = list(records.behind(1, standing.sequence))[::-1]
        view = reads.as_of(state, standing, later, 1)
        nets = net_lines_as_of(standing, later, 1, lambda: records.segments(0, 1))
        return [
            view.quantity,
            view.amount,
            view.exact,
            view.retired,
            reads.charge_lines(state, view, None, None, include_unopened=False),
            net_amounts(state, view, nets, None, None),
        ]

    standing = reads.standing(state, "ann")
    before = seen()
    # When more commits move its lines, open others and rate them again, and are merged with those before
    book.store([used("d", "5", day=3)])
    book.store([used("e", "5", day=80)])
    book.delete_references("ann", "a")
    plan = {**put["plans"][0], "graduated": {"tiers": [{"unit_price": "10"}]}}
    book.apply({"plans": [plan], "contracts": [{**put["contracts"][0], "minimum": "30"}]})
    book.reprocess("ann", move_pins=True)
    assert book.merge() > 0
    # Then it is seen as it was
    assert seen() == before
    assert len(before[4]) == 1
    assert [each.catalog_version for each in before[5]] == [1]


def test_a_sequence_that_is_not_there_yet_is_refused(open_book):
    book = open_book(catalogue(GRADUATED))
    book.store([used("a")])
    with pytest.raises(Fault, match="ends at sequence 1"):
        charges(book, 2)


def test_before_a_reprocess_and_after_it(open_book):
    """The lines and totals of the earlier price are there as of the sequence before, and gone as of now."""
    put = catalogue(GRADUATED, accumulation=YEARLY)
    book = open_book(put)
    book.store([used("a", "3", day=1)])
    book.apply({"plans": [{**put["plans"][0], "graduated": {"tiers": [{"unit_price": "10"}]}}]})
    book.reprocess("ann", move_pins=True)
    for _ in range(2):
        assert (charges(book), usage(book)) == ([(3000, 3000, 3)], [3])
        assert (charges(book, 1), usage(book, 1)) == ([(550, 550, 3)], [3])
        # The same after everything was written into one segment, and read again
        book.merge()
        book.restart()


def test_a_line_whose_charge_is_gone_is_worth_nothing(open_book):
    put = catalogue(GRADUATED, per_unit("1"), accumulation=YEARLY)
    book = open_book(put)
    book.store([used("a", "3", day=1)])
    contract = put["contracts"][0]
    book.apply({"contracts": [{**contract, "product_contracts": contract["product_contracts"][1:]}]})
    book.reprocess("ann", move_pins=True)
    assert charges(book) == [(0, 0, 0), (300, 300, 3)]
    assert usage(book) == [3]


def test_unopened_lines_are_worth_what_is_due_without_events(open_book):
    book = open_book(catalogue(GRADUATED, per_unit("1")))
    year = {"start_us": 1_704_067_200_000_000, "end_us": 1_704_067_200_000_000 + 90 * 86_400_000_000}
    assert charges(book, **year) == []
    assert charges(book, include_unopened=True, **year) == [(400, 400, 0)] * 3
    book.store([used("a", "7", day=40)])
    assert charges(book, include_unopened=True, **year) == [(400, 400, 0), (750, 750, 7), (700, 700, 7), (400, 400, 0)]


def test_a_line_of_many_days_counts_each_days_tiers(open_book):
    book = open_book(catalogue(GRADUATED, accumulation=DAILY))
    book.store([used("a", "1", day=1), used("b", "3", day=2), used("c", "5", day=2)])
    # 29 days of January without usage cost a fee of 4 each, as the line opens
    assert charges(book) == [(400 + 800 + 29 * 400, 12800, 9)]
