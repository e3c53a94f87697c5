"""The reader of serialised events, held against Protobuf's own."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from tallybook.v1.ingest_pb2 import Event, EventRows
from tallybook_engine.ledger import pivot
from tallybook_server.codec import wire

TEXTS = {
    pivot.CUSTOMER_ID: "customer_id",
    pivot.CUSTOMER_REFERENCE: "customer_reference",
    pivot.METER_ID: "meter_id",
    pivot.METER_REFERENCE: "meter_reference",
    pivot.REFERENCE: "reference",
    pivot.CONTRACT_ID: "contract_id",
}

texts = st.one_of(st.sampled_from(["", "a", "card_type", "Visa", "ünïcödé", "日本", "𝔘𝔫𝔦"]), st.text(max_size=40))
pairs = st.lists(st.tuples(texts, texts), max_size=4)
times = st.none() | st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
events = st.fixed_dictionaries(
    {**dict.fromkeys(TEXTS.values(), texts), "time": times, "values": pairs, "properties": pairs}
)


def as_message(event: dict) -> Event:
    message = Event(**{name: event[name] for name in TEXTS.values()})
    if event["time"] is not None:
        message.time.seconds, message.time.nanos = event["time"]
    for reference, number in event["values"]:
        message.meter_values.add(reference=reference, number=number)
    for reference, value in event["properties"]:
        message.meter_properties.add(reference=reference, value=value)
    return message


def as_events(serialised: bytes) -> list[dict]:
    """What the reader makes of bytes, in the shape of `events`."""
    data = np.frombuffer(serialised, dtype=np.uint8)
    spans = wire.read_events(data, wire.count_events(data))

    def text(span) -> str:
        start, length = (int(each) for each in span)
        return serialised[start : start + length].decode()

    def pairs_of(starts, spans_of_pairs, row) -> list[tuple[str, str]]:
        return [(text(pair[:2]), text(pair[2:])) for pair in spans_of_pairs[starts[row] : starts[row + 1]]]

    return [
        {
            **{name: text(spans.texts[row, index]) for index, name in TEXTS.items()},
            "time": (int(spans.seconds[row]), int(spans.nanoseconds[row])) if spans.time_given[row] else None,
            "values": pairs_of(spans.value_starts, spans.values, row),
            "properties": pairs_of(spans.property_starts, spans.properties, row),
        }
        for row in range(len(spans.seconds))
    ]


def by_protobuf(serialised: bytes) -> list[dict] | None:
    """What Protobuf makes of the same bytes; None where it refuses them."""
    try:
        rows = EventRows.FromString(serialised)
    except DecodeError:
        return None
    return [
        {
            **{name: getattr(event, name) for name in TEXTS.values()},
            "time": (event.time.seconds, event.time.nanos) if event.HasField("time") else None,
            "values": [(each.reference, each.number) for each in event.meter_values],
            "properties": [(each.reference, each.value) for each in event.meter_properties],
        }
        for event in rows.events
    ]


@given(st.lists(events, max_size=5))
def test_reads_what_protobuf_writes(sent):
    serialised = EventRows(events=[as_message(event) for event in sent]).SerializeToString()
    assert as_events(serialised) == sent


@given(
    st.lists(events, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    st.integers(0, 10**6) | st.none(),
)
def test_takes_and_refuses_mutilated_bytes_as_protobuf_does(sent, changes, cut):
    # Given a message with bytes overwritten and its end cut off
    serialised = bytearray(EventRows(events=[as_message(event) for event in sent]).SerializeToString())
    for position, byte in changes:
        serialised[position % len(serialised)] = byte
    if cut is not None:
        del serialised[cut % len(serialised) :]
    # When both read it
    agree_or_refuse_a_group(bytes(serialised))


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x0a\x00")
@example(b"\x0a\xff\xff\xff\xff\x07")
@example(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@example(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
def test_takes_and_refuses_any_bytes_as_protobuf_does(serialised):
    agree_or_refuse_a_group(serialised)


def agree_or_refuse_a_group(serialised: bytes) -> None:
    expected = by_protobuf(serialised)
    try:
        read = as_events(serialised)
    except wire.BrokenMessage:
        read = None
    if read is None and expected is not None:
        assert has_group_tag(serialised), "refused, and Protobuf takes it"
    else:
        assert read == expected


def has_group_tag(serialised: bytes) -> bool:
    """Groups are the one thing that Protobuf takes and the reader refuses."""
    return any(byte & 7 in (3, 4) for byte in serialised)


@pytest.mark.parametrize(
    ("case", "field", "expected"),
    [
        ("an unknown varint", b"\xa0\x06\x01", True),
        ("an unknown text", b"\xa2\x06\x02hi", True),
        ("an unknown fixed32", b"\xa5\x06abcd", True),
        ("an unknown fixed64", b"\xa1\x06abcdefgh", True),
        ("a group", b"\xa3\x06\xa4\x06", False),
        ("field number 0", b"\x02\x00", False),
        ("wire type 7", b"\x0f", False),
        ("a text that is not UTF-8", b"\x2a\x02\xff\xfe", False),
        ("a surrogate in UTF-8", b"\x2a\x03\xed\xa0\x80", False),
        ("an overlong encoding", b"\x2a\x02\xc0\x80", False),
        ("a text beyond its event", b"\x2a\x05abc", False),
        ("the reference as a varint: unknown", b"\x28\x01", True),
    ],
)
def test_fields_of_an_event(case, field, expected):
    serialised = b"\x0a" + bytes([len(field)]) + field
    try:
        read = as_events(serialised)
    except wire.BrokenMessage:
        read = None
    assert (read is not None) == expected
    if expected:
        assert read == [as_expected({})]


def as_expected(given: dict) -> dict:
    return {**dict.fromkeys(TEXTS.values(), ""), "time": None, "values": [], "properties": [], **given}


def test_the_last_of_a_repeated_text_wins_and_times_merge():
    parts = [Event(reference="a"), Event(reference="b", time=Timestamp(seconds=5)), Event(time=Timestamp(nanos=7))]
    content = b"".join(part.SerializeToString() for part in parts)
    assert as_events(b"\x0a" + bytes([len(content)]) + content) == [as_expected({"reference": "b", "time": (5, 7)})]


def test_says_where_a_message_breaks():
    sound = EventRows(events=[Event(reference="a")]).SerializeToString()
    with pytest.raises(wire.BrokenMessage, match=f"byte {len(sound)}$"):
        wire.count_events(np.frombuffer(sound + b"\x0a\x05ab", dtype=np.uint8))
