"""Events to columns: each fault of a row, and rows and Arrow alike."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.events import PlainEvent, as_rows, as_stream, as_table, by_row

from tallybook_engine.decimals import DecimalFault, format_decimal, parse_decimal
from tallybook_server import limits
from tallybook_server.codec.arrow import decode_events
from tallybook_server.codec.events import decode_rows
from tallybook_server.errors import ErrorCode, Fault

LONG = "x" * 256
NAME_OF_255_BYTES = "é" * 127 + "x"


NUMBER = "meter_values[0].number"
PROPERTY, PROPERTY_VALUE = "meter_properties[0].reference", "meter_properties[0].value"
PROPERTY_VALUE = "meter_properties[0].value"
SECOND_VALUE, LAST_VALUE = "meter_values[1].reference", "meter_values[64].reference"
SECOND_PROPERTY, LAST_PROPERTY = "meter_properties[1].reference", "meter_properties[64].reference"


def decode(events: list[PlainEvent]):
    return decode_rows(as_rows(events), limits.EVENTS_IN_BATCH_MAX)


def pairs(count: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"name{index}", "1") for index in range(count))


FAULTS = [
    # (what is wrong, event, fault, field, text or None where it goes without saying)
    ("no customer", PlainEvent(customer_reference=""), "CUSTOMER_MISSING", "customer_reference", ""),
    ("two customers", PlainEvent(customer_id="a"), "CUSTOMER_AMBIGUOUS", "customer_id", "a"),
    ("no meter", PlainEvent(meter_reference=""), "METER_MISSING", "meter_reference", ""),
    ("two meters", PlainEvent(meter_id="m"), "METER_AMBIGUOUS", "meter_id", "m"),
    ("no reference", PlainEvent(reference=""), "REFERENCE_EMPTY", "reference", ""),
    ("a long reference", PlainEvent(reference=LONG), "REFERENCE_TOO_LONG", "reference", "x" * 64),
    ("a long customer", PlainEvent(customer_reference=LONG), "NAME_TOO_LONG", "customer_reference", "x" * 64),
    ("a long meter", PlainEvent(meter_reference=LONG), "NAME_TOO_LONG", "meter_reference", "x" * 64),
    ("a long contract", PlainEvent(contract_id=LONG), "NAME_TOO_LONG", "contract_id", "x" * 64),
    ("a time before 1970", PlainEvent(time=(-1, 0)), "TIME_OUT_OF_RANGE", "time", "-1 s and 0 ns since 1970"),
    ("the year 1", PlainEvent(time=(-62135596800, 0)), "TIME_OUT_OF_RANGE", "time", None),
    ("the year 10000", PlainEvent(time=(253402300800, 0)), "TIME_OUT_OF_RANGE", "time", None),
    ("the end of int64", PlainEvent(time=(2**63 - 1, 0)), "TIME_OUT_OF_RANGE", "time", None),
    ("negative nanoseconds", PlainEvent(time=(5, -1)), "TIME_OUT_OF_RANGE", "time", "5 s and -1 ns since 1970"),
    ("10^9 nanoseconds", PlainEvent(time=(5, 10**9)), "TIME_OUT_OF_RANGE", "time", None),
    ("a nameless value", PlainEvent(values=(("a", "1"), ("", "1"))), "VALUE_NAME_EMPTY", SECOND_VALUE, ""),
    ("a value twice", PlainEvent(values=(("a", "1"),) * 2), "VALUE_REPEATED", SECOND_VALUE, "a"),
    ("65 values", PlainEvent(values=pairs(65)), "TOO_MANY_VALUES", LAST_VALUE, "name64"),
    ("a long value name", PlainEvent(values=((LONG, "1"),)), "NAME_TOO_LONG", "meter_values[0].reference", "x" * 64),
    ("an empty number", PlainEvent(values=(("a", ""),)), "DECIMAL_EMPTY", NUMBER, ""),
    ("NaN", PlainEvent(values=(("a", "NaN"),)), "DECIMAL_MALFORMED", NUMBER, "NaN"),
    ("an infinity", PlainEvent(values=(("a", "-Infinity"),)), "DECIMAL_MALFORMED", NUMBER, "-Infinity"),
    ("an exponent", PlainEvent(values=(("a", "1e3"),)), "DECIMAL_MALFORMED", NUMBER, "1e3"),
    ("a comma", PlainEvent(values=(("a", "1,5"),)), "DECIMAL_MALFORMED", NUMBER, "1,5"),
    ("a plus sign", PlainEvent(values=(("a", "+1"),)), "DECIMAL_MALFORMED", NUMBER, "+1"),
    ("Arabic digits", PlainEvent(values=(("a", "١٢"),)), "DECIMAL_MALFORMED", NUMBER, "١٢"),
    ("13 decimals", PlainEvent(values=(("a", "0.1234567890123"),)), "DECIMAL_TOO_FINE", NUMBER, "0.1234567890123"),
    ("10^15", PlainEvent(values=(("a", "-1000000000000000"),)), "DECIMAL_OUT_OF_RANGE", NUMBER, None),
    ("10^400", PlainEvent(values=(("a", "1" + "0" * 400),)), "DECIMAL_OUT_OF_RANGE", NUMBER, "1" + "0" * 63),
    ("a nameless property", PlainEvent(properties=(("", "v"),)), "PROPERTY_NAME_EMPTY", PROPERTY, ""),
    ("a property twice", PlainEvent(properties=(("a", "1"), ("a", "2"))), "PROPERTY_REPEATED", SECOND_PROPERTY, "a"),
    ("65 properties", PlainEvent(properties=pairs(65)), "TOO_MANY_PROPERTIES", LAST_PROPERTY, "name64"),
    ("a long property name", PlainEvent(properties=((LONG, "1"),)), "NAME_TOO_LONG", PROPERTY, None),
    ("a long property", PlainEvent(properties=(("a", LONG),)), "PROPERTY_TOO_LONG", PROPERTY_VALUE, "x" * 64),
]  # fmt: skip


@pytest.mark.parametrize(("what", "event", "fault", "field", "text"), FAULTS)
def test_a_fault_is_the_rows_alone_and_names_field_and_text(what, event, fault, field, text):
    # Given a faulty event between two sound ones
    columns = decode([PlainEvent(reference="before"), event, PlainEvent(reference="behind")])
    # Then only its row is faulty, and says where and what
    before, faulty, behind = by_row(columns)
    assert faulty == fault
    assert isinstance(before, dict)
    assert isinstance(behind, dict)
    assert before["reference"] == "before"
    assert behind["reference"] == "behind"
    assert columns.fault_fields.keys() == {1}
    assert columns.fault_fields[1][0] == field
    if text is not None:
        assert columns.fault_fields[1][1] == text


def test_of_several_faults_the_first_in_order_of_precedence_is_answered():
    event = PlainEvent(customer_reference="", reference=LONG, values=(("a", "x"), ("a", "")), properties=(("", ""),))
    steps = [
        (event, "CUSTOMER_MISSING"),
        (event := replace(event, customer_reference="c"), "REFERENCE_TOO_LONG"),
        (event := replace(event, reference="r"), "VALUE_REPEATED"),
        (event := replace(event, values=(("a", "x"), ("b", ""))), "DECIMAL_EMPTY"),
        (event := replace(event, values=(("a", "x"), ("b", "1"))), "DECIMAL_MALFORMED"),
        (event := replace(event, values=(("a", "1"),)), "PROPERTY_NAME_EMPTY"),
    ]
    assert by_row(decode([each for each, _ in steps])) == [fault for _, fault in steps]


@pytest.mark.parametrize(
    "event",
    [
        PlainEvent(customer_reference=NAME_OF_255_BYTES, meter_reference=NAME_OF_255_BYTES),
        PlainEvent(reference=NAME_OF_255_BYTES, contract_id=NAME_OF_255_BYTES),
        PlainEvent(customer_reference="", customer_id="c", meter_reference="", meter_id="m"),
        PlainEvent(values=pairs(64), properties=pairs(64)),
        PlainEvent(values=((NAME_OF_255_BYTES, "1"),), properties=((NAME_OF_255_BYTES, NAME_OF_255_BYTES),)),
        PlainEvent(values=(("a", "999999999999999.999999999999"), ("b", "-999999999999999.999999999999"))),
        PlainEvent(values=(("a", "0.100000000000000000"), ("b", "-0"))),
        PlainEvent(properties=(("a", ""),)),
        PlainEvent(time=(0, 0)),
        PlainEvent(time=(253402300799, 999999999)),
    ],
)
def test_at_the_edge_of_the_limits_all_is_fine(event):
    [row] = by_row(decode([event]))
    assert row == expected_of(event)


def expected_of(event: PlainEvent) -> dict:
    """What a sound event holds, in plain Python."""
    return {
        "customer": (event.customer_id or event.customer_reference, event.customer_id != ""),
        "meter": (event.meter_id or event.meter_reference, event.meter_id != ""),
        "contract": (event.contract_id, True) if event.contract_id else None,
        "reference": event.reference,
        "time_us": None if event.time is None else event.time[0] * 10**6 + event.time[1] // 1000,
        "values": {name: parse_decimal(number) for name, number in event.values},
        "properties": dict(event.properties),
    }


def test_the_number_of_events_is_limited():
    at_the_edge = as_rows([PlainEvent()] * limits.EVENTS_IN_CALL_MAX)
    assert decode_rows(at_the_edge, limits.EVENTS_IN_CALL_MAX).row_count == limits.EVENTS_IN_CALL_MAX
    with pytest.raises(Fault, match="10001 events") as fault:
        decode_rows(at_the_edge + as_rows([PlainEvent()]), limits.EVENTS_IN_CALL_MAX)
    assert fault.value.code is ErrorCode.TOO_MANY_EVENTS


def test_no_event_is_no_row():
    columns = decode([])
    assert (columns.row_count, columns.values, columns.properties) == (0, (), ())


names = st.sampled_from(["a", "b", "käse", "ccccccccc"])
texts = st.sampled_from(["", "Visa", "Single", "日本", "x" * 255])
numbers = st.integers(-(10**27) + 1, 10**27 - 1).map(lambda scaled: format_decimal(scaled, 12))
sound_events = st.builds(
    PlainEvent,
    customer_reference=st.sampled_from(["c1", "c2", "ünï"]),
    meter_reference=names,
    reference=st.text(min_size=1, max_size=20),
    contract_id=st.sampled_from(["", "k"]),
    time=st.none() | st.tuples(st.integers(0, 253402300799), st.integers(0, 999999999)),
    values=st.dictionaries(names, numbers, max_size=3).map(lambda each: tuple(each.items())),
    properties=st.dictionaries(names, texts, max_size=3).map(lambda each: tuple(each.items())),
)
faulty_events = st.sampled_from([event for _, event, *_ in FAULTS])
arrow_faults = [event for _, event, fault, *_ in FAULTS if fault in (
    "CUSTOMER_MISSING", "CUSTOMER_AMBIGUOUS", "METER_MISSING", "METER_AMBIGUOUS", "REFERENCE_EMPTY",
    "REFERENCE_TOO_LONG", "TOO_MANY_VALUES", "TOO_MANY_PROPERTIES", "PROPERTY_TOO_LONG",
) or (fault == "NAME_TOO_LONG" and not event.values and not event.properties) or event.time == (-1, 0)]  # fmt: skip


@given(st.lists(sound_events, max_size=12))
def test_sound_rows_hold_what_was_sent(events):
    assert by_row(decode(events)) == [expected_of(event) for event in events]


@given(st.lists(sound_events | faulty_events, max_size=12), st.randoms())
def test_a_row_does_not_depend_on_its_neighbours(events, random):
    together = dict(zip(events, by_row(decode(events)), strict=True))
    random.shuffle(events)
    cut = random.randint(0, len(events))
    apart = by_row(decode(events[:cut])) + by_row(decode(events[cut:]))
    assert apart == [together[event] for event in events]


@given(
    st.lists(sound_events | st.sampled_from(arrow_faults), max_size=12),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "lz4", "zstd"]),
    st.sampled_from([None, 1, 5]),
)
@example([PlainEvent(reference="")], True, False, None, None)
def test_rows_and_arrow_are_alike(events, dictionaries, large, compression, rows_in_batch):
    stream = as_stream(as_table(events, dictionaries, large), compression, rows_in_batch)
    rows, frame = decode(events), decode_events(stream)
    assert by_row(frame) == by_row(rows)
    assert frame.fault_fields.keys() == rows.fault_fields.keys()
    assert [each.name for each in frame.values] == [each.name for each in rows.values]
    assert [each.name for each in frame.properties] == [each.name for each in rows.properties]
    assert np.array_equal(frame.time_given, rows.time_given)


FAULT_OF_DECIMAL = {
    "EMPTY": "DECIMAL_EMPTY",
    "MALFORMED": "DECIMAL_MALFORMED",
    "TOO_MANY_DECIMALS": "DECIMAL_TOO_FINE",
    "OUT_OF_RANGE": "DECIMAL_OUT_OF_RANGE",
}


@given(st.text(alphabet="0123456789.-+e ", max_size=20))
def test_numbers_are_judged_as_decimals_are(number):
    [row] = by_row(decode([PlainEvent(values=(("a", number),))]))
    expected: dict[str, int] | str
    try:
        expected = {"a": parse_decimal(number)}
    except DecimalFault as fault:
        expected = FAULT_OF_DECIMAL[fault.code.name]
    assert (row if isinstance(row, str) else row["values"]) == expected
