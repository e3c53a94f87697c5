"""Versions that hold from an instant on, in the middle of accumulation periods that are running."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support.ledger_view import difference, fold_view, lines_of
from tests.support.small_catalogue import DAILY, DAY_US, YEAR_START_US, YEARLY, catalogue, per_unit, tiers, used

from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.ledger.verify import verify
from tallybook_server.errors import Fault
from tallybook_server.folding import open_book as fold_book
from tallybook_server.journal.interface import CommitFailed
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.verify import _by_oracle

VOLUME = tiers("volume", ("10", "1", "0"), (None, "0.5", "0"))
DEARER = tiers("volume", ("10", "2", "0"), (None, "1", "0"))


def at(day: float) -> int:
    """So many days into the year."""
    return YEAR_START_US + round(day * DAY_US)


def lines(book) -> list[tuple[str, str, int]]:
    """(from, to, amount) of each line as it is charged, in order."""
    charged, _ = book.run(book.book.charges("ann", True, None, None, None, False))
    return [(_day(each.period_start_us), _day(each.period_end_us), each.amount) for each in charged]


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 10**6, UTC).strftime("%m-%d")


def repriced(put: dict, pricing: dict, **contract) -> dict:
    """The plan at other prices, and the contract with other fields."""
    plan = {key: put["plans"][0][key] for key in ("id", "product", "currency")}
    return {"plans": [{**plan, **pricing}], "contracts": [{**put["contracts"][0], **contract}]}


def sound(book) -> None:
    """The law holds, and a restart finds the same ledger, from its first segment or a snapshot."""
    assert verify(book.state, book.book._records.segments()).differences == ()
    _, differences = _by_oracle(fold_book(book.journal, from_snapshot=False), range(len(book.state.lines)))
    assert differences == []
    for from_snapshot in (False, True):
        assert difference(book.view(), fold_view(book.journal, from_snapshot=from_snapshot)) == []
    book.restart()


def faults(book, put: dict, from_us: int) -> list[str]:
    """Paths of what is wrong; and nothing has changed."""
    before = book.view()
    with pytest.raises(CatalogInvalidError) as invalid:
        book.apply(put, effective_from_us=from_us)
    assert difference(before, book.view()) == []
    return [fault.path for fault in invalid.value.faults]


def test_a_month_is_two_lines_and_the_quantity_goes_on(open_book):
    """8 at 1; then the 12th unit brings all to the upper tier: 12 x 1 less 8 x 2."""
    put = catalogue(VOLUME)
    book = open_book(put)
    book.store([used("a", "8", day=3)])
    book.apply(repriced(put, DEARER), effective_from_us=at(14))
    book.store([used("b", "1", day=14), used("c", "3", day=20)])
    assert lines(book) == [("01-01", "01-15", 800), ("01-15", "02-01", 1200 - 1600)]
    sound(book)
    assert lines(book) == [("01-01", "01-15", 800), ("01-15", "02-01", 1200 - 1600)]


def test_a_late_event_moves_both_lines(open_book):
    put = catalogue(VOLUME)
    book = open_book(put)
    book.store([used("a", "8", day=3)])
    book.apply(repriced(put, DEARER), effective_from_us=at(14))
    book.store([used("b", "4", day=20)])
    moved = book.store([used("late", "5", day=13.9)]).outcome.postings
    assert moved.carried.tolist() == [False, True]
    assert lines(book) == [("01-01", "01-15", 650), ("01-15", "02-01", 1700 - 1300)]
    book.delete_references("ann", "a")
    assert lines(book) == [("01-01", "01-15", 500), ("01-15", "02-01", 1800 - 1000)]
    sound(book)


def test_the_first_late_event_of_a_cell_comes_after_the_split(open_book):
    """What the first stretch has before any event stands in its line, whoever opens it."""
    red = {"id": "red", "match": {"kind": "red"}, **per_unit("1")}
    rest = {"id": "rest", "match": {}, **tiers("graduated", (None, "1", "7"), zero_usage=True)}
    dearer = {"id": "rest", "match": {}, **tiers("graduated", (None, "3", "5"), zero_usage=True)}
    put = catalogue({"matrix": {"rules": [red, rest]}}, accumulation=YEARLY)
    book = open_book(put)
    book.store([used("a", "2", day=3, meter_properties=[{"reference": "kind", "value": "red"}])])
    book.apply(repriced(put, {"matrix": {"rules": [red, dearer]}}), effective_from_us=at(14))
    book.store([used("b", "4", day=20)])
    assert lines(book) == [("01-01", "01-15", 200), ("01-01", "01-15", 700), ("01-15", "02-01", 1200)]
    book.store([used("late", "1", day=2)])
    assert lines(book) == [("01-01", "01-15", 200), ("01-01", "01-15", 800), ("01-15", "02-01", 1200)]
    sound(book)


@pytest.mark.parametrize("first", ["old", "new"])
def test_a_maximum_goes_on_over_the_split(open_book, first):
    put = catalogue(per_unit("1"), aggregation="MAX", accumulation=YEARLY)
    book = open_book(put)
    book.store([used("low", "2", day=1)])
    book.apply(repriced(put, per_unit("3")), effective_from_us=at(14))
    book.store([used("new", "9", day=20), used("less", "6", day=21)])
    book.store([used("old", "5", day=2)])
    assert lines(book) == [("01-01", "01-15", 500), ("01-15", "02-01", 2700 - 1500)]
    book.delete_references("ann", first)
    left = {"old": [200, 2700 - 600], "new": [500, 1800 - 1500]}[first]
    assert [amount for *_, amount in lines(book)] == left
    book.delete_references("ann", "old", "new", "less")
    assert [amount for *_, amount in lines(book)] == [200, 0]
    sound(book)


def test_a_year_that_is_split_between_its_months(open_book):
    put = catalogue(per_unit("1"), accumulation=YEARLY)
    book = open_book(put)
    book.store([used("a", "1", day=1), used("b", "1", day=40)])
    book.apply(repriced(put, per_unit("2")), effective_from_us=at(50))
    book.store([used("c", "1", day=55), used("d", "1", day=100), used("e", "1", day=45)])
    found = [("01-01", "02-01", 100), ("02-01", "02-20", 200), ("02-20", "03-01", 200), ("04-01", "05-01", 200)]
    assert lines(book) == found
    usage, _ = book.run(book.book.usage("ann", True, None, None, None))
    assert [(each.quantity // 10**12, _day(each.period_start_us), _day(each.period_end_us)) for each in usage] == [
        (5, "01-01", "01-01")
    ]
    sound(book)


def test_days_of_a_month_on_either_side_of_the_instant(open_book):
    """The day in the middle is split; those behind it stand in the second line too."""
    put = catalogue(per_unit("1"), accumulation=DAILY)
    book = open_book(put)
    book.store([used("a", day=3), used("b", day=14.2)])
    book.apply(repriced(put, per_unit("2")), effective_from_us=at(14.5))
    book.store([used("c", day=14.6), used("d", day=20), used("e", day=14.3)])
    assert lines(book) == [("01-01", "01-15", 300), ("01-15", "02-01", 400)]
    sound(book)


def test_what_is_due_without_events_is_due_once(open_book):
    """It stands in the line up to the instant, and a line that is split is no unopened one."""
    put = catalogue(tiers("graduated", (None, "1", "7"), zero_usage=True))
    book = open_book(put)
    book.store([used("a", "2", day=3)])
    dearer = tiers("graduated", (None, "2", "9"), zero_usage=True)
    book.apply(repriced(put, dearer), effective_from_us=at(14))
    book.store([used("b", "1", day=20)])
    assert lines(book) == [("01-01", "01-15", 900), ("01-15", "02-01", 200)]
    january = book.book.charges("ann", True, YEAR_START_US, at(31), None, True)
    assert [each.line_number for each in book.run(january)[0]] == [1, 2]
    sound(book)


def test_a_posting_over_the_instant_is_explained(open_book):
    """Tier by tier, at the prices of each side."""
    put = catalogue(VOLUME)
    book = open_book(put)
    book.store([used("a", "8", day=3)])
    book.apply(repriced(put, DEARER), effective_from_us=at(14))
    book.store([used("b", "4", day=20)])
    ingested = book.store([used("late", "5", day=13)])
    (postings,) = book.run(book.book.explain(ingested.outcome, [0]))
    assert [(each.amount, each.catalog_version, _day(each.period_end_us)) for each in postings] == [
        (650 - 800, 1, "01-15"),
        (400 + 400, 2, "02-01"),
    ]
    for each in postings:
        assert sum(line.amount for line in each.lines) == each.exact_amount


def test_a_rule_that_is_new_begins_at_nothing(open_book):
    rest = {"id": "rest", "match": {}, **VOLUME}
    red = {"id": "red", "match": {"kind": "red"}, **DEARER}
    put = catalogue({"matrix": {"rules": [rest]}})
    book = open_book(put)
    kind = {"meter_properties": [{"reference": "kind", "value": "red"}]}
    book.store([used("a", "8", day=3, **kind)])
    book.apply(repriced(put, {"matrix": {"rules": [red, rest]}}), effective_from_us=at(14))
    book.store([used("b", "4", day=20, **kind), used("c", "4", day=20)])
    assert lines(book) == [("01-01", "01-15", 800), ("01-15", "02-01", 800), ("01-15", "02-01", 600 - 800)]
    sound(book)


def test_an_instant_is_durable_with_its_version_or_nothing_is(open_book):
    class Failing(MemoryJournal):
        def put_catalog_version(self, version: int, parent: int, difference: bytes) -> None:
            if version > 1:
                raise CommitFailed("no")
            super().put_catalog_version(version, parent, difference)

    put = catalogue(per_unit("1"))
    book = open_book(put, Failing())
    book.store([used("a", day=3)])
    before = book.view()
    with pytest.raises(Fault):
        book.apply(repriced(put, per_unit("2")), effective_from_us=at(14))
    assert difference(before, book.view()) == []
    book.store([used("b", day=20)])
    assert lines(book) == [("01-01", "02-01", 200)]


def test_a_period_may_be_split_more_than_once(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3)])
    book.apply(repriced(put, per_unit("2")), effective_from_us=at(10))
    book.store([used("b", day=11)])
    book.apply(repriced(put, per_unit("3")), effective_from_us=at(20))
    book.store([used("c", day=21), used("d", day=4), used("e", day=12)])
    split = [("01-01", "01-11", 200), ("01-11", "01-21", 400), ("01-21", "02-01", 300)]
    assert lines(book) == split
    sound(book)
    assert lines(book) == split


def test_an_earlier_instant_takes_the_place_of_one_that_has_not_come(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3)])
    book.apply(repriced(put, per_unit("2")), effective_from_us=at(20))
    book.apply(repriced(put, per_unit("3")), effective_from_us=at(10))
    sound(book)
    book.store([used("b", day=9), used("c", day=11), used("d", day=25)])
    assert lines(book) == [("01-01", "01-11", 200), ("01-11", "02-01", 600)]
    sound(book)


def test_what_means_the_same_is_not_split(open_book):
    put = catalogue(per_unit("1"), per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3)])
    dearer = {**put["plans"][0], **per_unit("2")}
    version = book.apply({"plans": [dearer]}, effective_from_us=at(14)).version
    assert book.apply({"plans": [dearer]}, effective_from_us=at(15)).version == version
    book.store([used("b", day=20)])
    assert sorted(lines(book)) == [("01-01", "01-15", 100), ("01-01", "02-01", 200), ("01-15", "02-01", 200)]
    assert len(book.state.whole) == 2
    sound(book)


def test_reprocessing_with_pins_joins_the_stretches(open_book):
    put = catalogue(VOLUME)
    book = open_book(put)
    book.store([used("a", "8", day=3)])
    book.apply(repriced(put, DEARER), effective_from_us=at(14))
    book.store([used("b", "4", day=20)])
    split = book.view()
    told = book.reprocess(move_pins=True, validate_only=True)
    assert told.amounts == (("EUR", 2, 1200 - (800 - 400), 0),)
    assert difference(split, book.view()) == []
    book.reprocess(move_pins=True)
    assert sum(line.amount for line in lines_of(book.state).values()) == 1200
    assert [line for line in lines(book) if line[2]] == [("01-01", "02-01", 1200)]
    book.store([used("c", "1", day=13), used("d", "1", day=21)])
    assert sum(line.amount for line in lines_of(book.state).values()) == 1400
    sound(book)


def test_what_would_happen_is_told_and_not_done(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3)])
    before = book.view()
    outcome = book.apply(repriced(put, per_unit("2")), effective_from_us=at(14), validate_only=True)
    assert [(each.amount_minor, each.reprocess_amount_minor) for each in outcome.affected_lines] == [(100, 100)]
    assert difference(before, book.view()) == []
    with pytest.raises(CatalogInvalidError):
        book.apply(repriced(put, per_unit("2")), effective_from_us=at(3), validate_only=True)


def test_the_instant_is_after_what_counts_already(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3), used("b", day=5), used("c", day=3.5)])
    dearer = repriced(put, per_unit("2"))
    assert faults(book, dearer, at(5)) == ["effective_from"]
    assert faults(book, dearer, YEAR_START_US) == ["effective_from"]
    book.delete_references("ann", "b")
    book.apply(dearer, effective_from_us=at(5))
    book.store([used("b", "2", day=5)])
    assert lines(book) == [("01-01", "01-06", 200), ("01-06", "02-01", 400)]
    sound(book)


def test_a_later_period_that_is_open_stands_against_it(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3), used("b", day=40)])
    assert faults(book, repriced(put, per_unit("2")), at(14)) == ["effective_from"]


def test_the_instant_is_no_further_ahead_than_a_day(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    dearer = repriced(put, per_unit("2"))
    assert faults(book, dearer, book.now_us + DAY_US + 1) == ["effective_from"]
    book.apply(dearer, effective_from_us=book.now_us + DAY_US)


def test_what_all_stretches_have_in_common_stays(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", day=3)])
    dollars = [{**put["plans"][0], "currency": "USD"}]
    largest = [{**put["products"][0], "aggregation": "MAX"}]
    weekly = [{**put["contracts"][0], "billing_frequency": {"basis": "CONTRACT", "interval": 1, "unit": "WEEK"}}]
    changes = {"plans": dollars, "products": largest, "contracts": weekly}
    assert faults(book, changes, at(14)) == [
        "products[0].aggregation",
        "plans[0].currency",
        "contracts[0].accumulation_period",
        "contracts[0].billing_frequency",
    ]
    # What was not put goes by its id.
    book.apply({"products": [{**put["products"][0], "id": "largest", "aggregation": "MAX"}]})
    plans = [{**put["plans"][0], "product": "largest"}]
    assert faults(book, {"plans": plans}, at(14)) == ['products["largest"].aggregation']
    # Where nothing is split, they may change as ever.
    book.apply(changes, effective_from_us=at(40))


def test_a_stretch_that_cannot_go_on_begins_anew(open_book):
    """Before anything came after the instant, the charge became one of maxima."""
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", "4", day=3)])
    book.apply(repriced(put, per_unit("2")), effective_from_us=at(14))
    book.apply({"products": [{**put["products"][0], "aggregation": "MAX"}]})
    book.store([used("b", "5", day=20), used("c", "3", day=21), used("d", "1", day=4)])
    assert lines(book) == [("01-01", "01-15", 500), ("01-15", "02-01", 1000)]
    sound(book)


def test_a_new_price_that_does_not_fit_the_quantity_leaves_events_out(open_book):
    put = catalogue(per_unit("1"))
    book = open_book(put)
    book.store([used("a", "400000000000000", day=3)])
    book.apply(repriced(put, per_unit("3")), effective_from_us=at(14))
    assert book.store([used("b", "1", day=20)]).outcome.status.tolist() == [4]
    book.delete_references("ann", "a")
    assert book.store([used("c", "1", day=20)]).outcome.status.tolist() == [1]
    assert book.store([used("d", "400000000000000", day=3)]).outcome.status.tolist() == [4]
    assert lines(book) == [("01-01", "01-15", 0), ("01-15", "02-01", 300)]
    sound(book)
