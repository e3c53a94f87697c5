"""References: one event a customer and reference, for ever; a payload is the same however it is written."""

from __future__ import annotations

import pytest
from tests.support.ledger_view import lines_of
from tests.support.small_catalogue import catalogue, per_unit, used

from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import Match, Status

TWO_VALUES = [{"reference": "units", "number": "1.5"}, {"reference": "more", "number": "2"}]
TWO_PROPERTIES = [{"reference": "kind", "value": "a"}, {"reference": "size", "value": "b"}]
EVENT = used("a", meter_values=TWO_VALUES, meter_properties=TWO_PROPERTIES)


def put(**more) -> dict:
    made = catalogue(per_unit("1"), **more)
    made["customers"] = [{"id": "ann", "reference": "Ann", "country_code": "NL"}, {"id": "bob", "reference": "Bob"}]
    made["meters"][0] |= {"reference": "Meter", "values": ["units", "more"], "properties": ["kind", "size"]}
    return made


def event(**changes) -> dict:
    """The event with other fields; None takes one out."""
    changed = {**EVENT, "customer_reference": "Ann", "meter_reference": "Meter", **changes}
    return {name: value for name, value in changed.items() if value is not None}


def told(outcome) -> list[tuple[str, int]]:
    return [
        (Status(int(status)).name, int(generation))
        for status, generation in zip(outcome.status, outcome.generations, strict=True)
    ]


def total(book) -> int:
    return sum(line.amount for line in lines_of(book.state).values())


SAME = {
    "as it was": {},
    "another number of zeros": {"meter_values": [{"reference": "units", "number": "1.500"}, TWO_VALUES[1]]},
    "another order": {"meter_values": TWO_VALUES[::-1], "meter_properties": TWO_PROPERTIES[::-1]},
    "the customer by id": {"customer_reference": None, "customer_id": "ann"},
    "the meter by id": {"meter_reference": None, "meter_id": "meter"},
    "digits finer than a microsecond": {"time": "2024-01-01T00:00:00.000000999Z"},
}
OTHER = {
    "another number": {"meter_values": [{"reference": "units", "number": "1.6"}, TWO_VALUES[1]]},
    "a value less": {"meter_values": TWO_VALUES[:1]},
    "values swapped": {
        "meter_values": [{"reference": "units", "number": "2"}, {"reference": "more", "number": "1.5"}],
    },
    "another property": {"meter_properties": [TWO_PROPERTIES[0], {"reference": "size", "value": "c"}]},
    "a property less": {"meter_properties": TWO_PROPERTIES[:1]},
    "an empty property": {"meter_properties": [*TWO_PROPERTIES[:1], {"reference": "size", "value": ""}]},
    "another time": {"time": "2024-01-01T00:00:00.000001Z"},
    "no time": {"time": None},
    "a pinned contract": {"contract_id": "charge0"},
    "another meter": {"meter_reference": "strange"},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
@pytest.mark.parametrize("together", [True, False], ids=["in one message", "later"])
def test_the_same_payload_is_a_duplicate(open_book, changes, together):
    book = open_book(put())
    if together:
        outcome = book.store([event(), event(**changes)]).outcome
        answers, ids = told(outcome), outcome.event_ids.tolist()
    else:
        outcomes = [book.store([event()]).outcome, book.store([event(**changes)]).outcome]
        answers, ids = [told(each)[0] for each in outcomes], [int(each.event_ids[0]) for each in outcomes]
    assert answers == [("STORED", 1), ("DUPLICATE", 1)]
    assert ids[0] == ids[1]
    assert total(book) == 150


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER.keys())
@pytest.mark.parametrize("together", [True, False], ids=["in one message", "later"])
def test_another_payload_is_a_conflict(open_book, changes, together):
    book = open_book(put())
    messages = [[event(), event(**changes)]] if together else [[event()], [event(**changes)]]
    answers = [each for message in messages for each in told(book.store(message).outcome)]
    assert answers == [("STORED", 1), ("CONFLICT", 1)]
    assert total(book) == 150


def test_customers_have_references_of_their_own(open_book):
    book = open_book(put())
    assert told(book.store([event(), event(customer_reference="Bob")]).outcome) == [("STORED", 1), ("STORED", 1)]


def test_an_absent_time_stays_absent(open_book):
    """The receipt is not part of the payload: sent again later it is the same event."""
    book = open_book(put())
    book.store([event(time=None)])
    book.now_us += 10**9
    assert told(book.store([event(time=None)]).outcome) == [("DUPLICATE", 1)]


def test_a_deleted_reference_is_free_for_any_payload_and_counts_its_generations(open_book):
    book = open_book(put())
    book.store([event()])
    for generation in (2, 3):
        book.delete_references("Ann", "a", generation=generation - 1)
        units = [{"reference": "units", "number": str(generation)}]
        answers = told(book.store([event(meter_values=units), event(meter_values=units), event()]).outcome)
        assert answers == [("STORED", generation), ("DUPLICATE", generation), ("CONFLICT", generation)]
        book.restart()
    assert total(book) == 300
    # Earlier generations stay deleted
    again = book.delete_references("Ann", "a", generation=1)
    assert [each.status.name for each in again] == ["ALREADY_DELETED"]
    assert total(book) == 300


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_stored_is_a_duplicate_also_when_the_catalogue_refuses_it_by_now(open_book, restarted):
    made = put(allow_negative=True)
    book = open_book(made)
    negative = [{"reference": "units", "number": "-1"}]
    book.store([event(), event(reference="b", meter_values=negative)])
    meter = {**made["meters"][0], "properties": ["kind"], "allow_negative": False}
    book.apply({"meters": [meter]})
    if restarted:
        book.restart()
    outcome = book.store(
        [
            event(),
            event(reference="b", meter_values=negative),
            event(meter_properties=[{"reference": "size", "value": "c"}]),
            event(reference="c"),
            event(reference="d", meter_values=negative, meter_properties=[]),
        ]
    ).outcome
    assert told(outcome) == [("DUPLICATE", 1), ("DUPLICATE", 1), ("INVALID", 0), ("INVALID", 0), ("INVALID", 0)]
    assert [RowFault(int(fault)).name for fault in outcome.faults] == [
        "NONE",
        "NONE",
        "PROPERTY_UNKNOWN",
        "PROPERTY_UNKNOWN",
        "QUANTITY_NEGATIVE",
    ]
    assert sorted(outcome.fault_fields) == [2, 3, 4]
    assert total(book) == 50


@pytest.mark.parametrize("restarted", [False, True])
def test_a_customers_id_means_its_reference_for_ever(open_book, restarted):
    made = put()
    book = open_book(made)
    book.store([event(customer_reference=None, customer_id="bob")])
    book.apply({}, {"customers": ["bob"]})
    book.apply({"customers": [{"id": "eve"}]})
    if restarted:
        book.restart()
    again = [event(customer_reference=None, customer_id="bob"), event(customer_reference="Bob")]
    assert told(book.store(again).outcome) == [("DUPLICATE", 1), ("DUPLICATE", 1)]


def test_a_dry_run_of_a_catalogue_leaves_no_customer_behind(open_book):
    book = open_book(put())
    eve = {"customers": [{"id": "eve", "reference": "Eve"}]}
    book.apply(eve, validate_only=True)
    book.store([event(customer_reference=None, customer_id="eve")])
    book.restart()
    assert told(book.store([event(customer_reference=None, customer_id="eve")]).outcome) == [("DUPLICATE", 1)]
    assert told(book.store([event(customer_reference="Eve")]).outcome) == [("STORED", 1)]


@pytest.mark.parametrize("together", [True, False], ids=["in one message", "later"])
def test_a_duplicate_is_answered_what_the_stored_event_matched_and_why_it_has_no_price(open_book, together):
    book = open_book(put())
    dear = [{"reference": "units", "number": "999999999999999"}]
    events = [event(), event(reference="b", customer_reference="Nobody"), event(reference="c", meter_values=dear)]
    answers = [book.store(events * 2).outcome] if together else [book.store(events).outcome for _ in range(2)]
    told_twice = [
        (Match(int(match)).name, RowFault(int(fault)).name)
        for outcome in answers
        for match, fault in zip(outcome.match, outcome.faults, strict=True)
    ]
    assert told_twice[3:] == told_twice[:3]
    assert told_twice[:3] == [("MATCHED", "NONE"), ("NO_CUSTOMER", "NONE"), ("MATCHED", "QUANTITY_OVERFLOW")]
    # Another payload is answered nothing of the stored one
    other = book.store([event(reference="b", customer_reference="Nobody", meter_values=dear)]).outcome
    assert (Match(int(other.match[0])).name, told(other)) == ("NOT_STORED", [("CONFLICT", 1)])
