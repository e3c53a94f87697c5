"""Readings as they are sent, by columns and by Arrow: what is taken, and what is refused by name."""

import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tallybook.v1 import determinants_pb2
from tallybook_engine.determinants.configuration import ChannelClassifier, ChannelKind
from tallybook_engine.determinants.readings import ListedTimes, Readings, RegularTimes
from tallybook_engine.determinants.request import BillingConfiguration
from tallybook_server import limits
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.readings import COLUMNS, read_readings
from tallybook_server.errors import Fault

START = datetime(2026, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
QUARTER_US = 900_000_000
CONFIGURATION = BillingConfiguration(
    {
        "load": ChannelClassifier("ACTIVE", "kWh", 3, interval_us=QUARTER_US),
        "any": ChannelClassifier("ANY", "kWh", 3),
        "read": ChannelClassifier("READ", "kWh", 3, kind=ChannelKind.REGISTER),
    }
)
DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/arrow.md").read_text(encoding="utf-8")


def readings(**fields: Any) -> determinants_pb2.ChannelReadings:
    """Four quarter hours, measured, with some fields set otherwise; None clears a field."""
    message = determinants_pb2.ChannelReadings(
        channel="load", decimal_places=3, values=[250, 260, 240, 255], statuses=["measured"]
    )
    message.regular_times.first_time.FromDatetime(START)
    message.regular_times.interval.FromTimedelta(timedelta(minutes=15))
    for name, value in fields.items():
        message.ClearField(name)  # type: ignore[arg-type]  # the name of a field
        if isinstance(value, list):
            getattr(message, name).extend(value)
        elif isinstance(value, determinants_pb2.RegularTimes | determinants_pb2.ListedTimes):
            getattr(message, name).CopyFrom(value)
        elif value is not None:
            setattr(message, name, value)
    return message


def listed(*minutes: int, interval: int | None = 15, each: tuple[int, ...] = ()) -> determinants_pb2.ListedTimes:
    """Times so many minutes after the start."""
    message = determinants_pb2.ListedTimes(
        times_us=[START_US + minute * 60_000_000 for minute in minutes], intervals_us=each
    )
    if interval is not None:
        message.interval.FromTimedelta(timedelta(minutes=interval))
    return message


def regular(start: datetime = START, interval: timedelta = timedelta(minutes=15)) -> determinants_pb2.RegularTimes:
    message = determinants_pb2.RegularTimes()
    message.first_time.FromDatetime(start)
    message.interval.FromTimedelta(interval)
    return message


def decoded(*each: determinants_pb2.ChannelReadings, arrow: bytes = b"") -> dict[str, Readings]:
    request = determinants_pb2.CalculateDeterminantsRequest(readings=each, arrow=arrow)
    return read_readings(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()), CONFIGURATION)


def refused(read: Callable[[], object]) -> tuple[str, str]:
    """(code, message) of a fault."""
    with pytest.raises(Fault) as failure:
        read()
    return failure.value.code.name, failure.value.message


def test_a_grid_of_readings():
    found = decoded(readings())["load"]
    assert found.times == RegularTimes(START_US, QUARTER_US, 4)
    assert found.values.tolist() == [250, 260, 240, 255]
    assert found.quality.tolist() == [0, 0, 0, 0]


def test_codes_index_the_messages_own_statuses():
    statuses = ["estimated", "measured"]
    found = decoded(readings(statuses=statuses, quality_codes=b"\x00\x01\x01\x00"))["load"]
    assert found.quality.tolist() == [3, 0, 0, 3]


def test_fewer_decimals_are_scaled_up():
    assert decoded(readings(decimal_places=1))["load"].values.tolist() == [25_000, 26_000, 24_000, 25_500]


def test_readings_without_quality_are_left_out():
    found = decoded(readings(statuses=["measured", ""], quality_codes=b"\x00\x01\x00\x00"))["load"]
    assert isinstance(found.times, ListedTimes)
    assert found.times.labels_us.tolist() == [START_US, START_US + 2 * QUARTER_US, START_US + 3 * QUARTER_US]
    assert found.values.tolist() == [250, 240, 255]


def test_lengths_one_by_one():
    times = listed(5, 20, 80, 85, interval=None, each=(300_000_000, 900_000_000, 3_600_000_000, 300_000_000))
    found = decoded(readings(channel="any", listed_times=times))["any"]
    assert isinstance(found.times.interval_us, np.ndarray)
    assert found.times.interval_us.tolist() == [300_000_000, 900_000_000, 3_600_000_000, 300_000_000]


def test_a_register_needs_no_length():
    found = decoded(readings(channel="read", listed_times=listed(0, 60, 61, 99, interval=None)))["read"]
    assert found.times.count == 4


def test_a_column_in_several_chunks_is_one_column():
    # Protobuf allows a packed field to come in pieces, as joined messages have it.
    request = determinants_pb2.CalculateDeterminantsRequest(readings=[readings()]).readings[0]
    more = determinants_pb2.ChannelReadings(values=[1, 2])
    joined = request.SerializeToString() + more.SerializeToString()
    envelope = CalculateDeterminantsEnvelope()
    envelope.readings.add().MergeFromString(joined)
    assert read_readings(envelope, CONFIGURATION)["load"].values.tolist() == [250, 260, 240, 255, 1, 2]


def test_a_column_that_is_not_packed_is_refused():
    # Field 6 of wire type 1: one fixed64, as proto2 writes it.
    envelope = CalculateDeterminantsEnvelope()
    envelope.readings.add().MergeFromString(readings(values=None).SerializeToString() + b"\x31" + bytes(8))
    assert refused(lambda: read_readings(envelope, CONFIGURATION)) == (
        "FIELD_INVALID",
        "readings[0].values: is not packed, as the contract has it",
    )


def test_a_number_that_is_cut_off_is_refused():
    envelope = CalculateDeterminantsEnvelope()
    envelope.readings.add().MergeFromString(readings(values=None).SerializeToString() + b"\x32\x07" + bytes(7))
    assert refused(lambda: read_readings(envelope, CONFIGURATION))[1] == "readings[0].values: ends within a number"


@pytest.mark.parametrize(
    ("fields", "path", "found"),
    [
        ({"channel": "other"}, ".channel", 'no channel "other"'),
        ({"unit": "MWh"}, ".unit", '"MWh" where the classifier has "kWh"'),
        ({"decimal_places": 4}, ".decimal_places", "is 4; the channel is kept with 3"),
        ({"decimal_places": -1}, ".decimal_places", "is -1"),
        ({"statuses": ["guessed"]}, ".statuses[0]", 'no status "guessed"'),
        ({"statuses": ["measured"] * 257}, ".statuses", "has 257 entries; at most 256"),
        ({"statuses": ["measured", "estimated"]}, ".quality_codes", "only where statuses has one entry"),
        ({"statuses": []}, ".quality_codes", "only where statuses has one entry"),
        ({"quality_codes": b"\0\0\0"}, ".quality_codes", "has 3 codes beside 4 values"),
        ({"quality_codes": b"\0\0\1\0"}, ".quality_codes", "row 2 has code 1; statuses has 1 entries"),
        ({"regular_times": None}, "", "give regular_times or listed_times"),
        ({"listed_times": listed(0, 15, 30)}, "", "has 3 timestamps beside 4 values"),
        ({"listed_times": listed(0, 30, 15, 45)}, ".listed_times", "not sorted: row 2"),
        ({"listed_times": listed(0, 15, 15, 45)}, ".listed_times", "stands twice, at row 2"),
        ({"channel": "any", "listed_times": listed(0, 1, 2, 3, interval=None)}, ".interval", "is required"),
        ({"channel": "any", "listed_times": listed(0, 1, 2, 3, interval=0)}, ".interval", "above 0"),
        ({"listed_times": listed(0, 1, 2, 3, each=(1, 1, 1, 1))}, ".intervals_us", "stands beside interval"),
        (
            {"channel": "any", "listed_times": listed(0, 1, 2, 3, interval=None, each=(1, 2))},
            ".listed_times",
            "lengths are int64[n] beside n labels",
        ),
        (
            {"channel": "any", "listed_times": listed(0, 1, 2, 3, interval=None, each=(1, 1, 0, 1))},
            ".intervals_us",
            "above 0",
        ),
        (
            {"listed_times": listed(0, 30, 60, 90, interval=30)},
            ".interval",
            "the classifier has intervals of 900000000",
        ),
        ({"regular_times": regular(interval=timedelta(minutes=5))}, ".interval", "the classifier has intervals"),
        ({"channel": "any", "regular_times": regular(interval=timedelta(days=367))}, ".interval", "at most 366 days"),
        ({"regular_times": regular(datetime(1899, 12, 31, tzinfo=UTC))}, ".first_time", "from 1900-01-01"),
        ({"regular_times": regular(datetime(2999, 12, 31, 23, 30, tzinfo=UTC))}, "", "a timestamp is not from 1900"),
        (
            {"channel": "any", "values": [1] * 20_000, "regular_times": regular(interval=timedelta(days=366))},
            ".regular_times",
            "timestamps",
        ),
        ({"decimal_places": 0, "values": [2**62] * 4}, ".values", "does not fit 64 bits"),
        ({"decimal_places": 0, "values": [-(2**62)] * 4}, ".values", "does not fit 64 bits"),
    ],
)
def test_what_is_no_reading_is_refused_by_name(fields, path, found):
    code, message = refused(lambda: decoded(readings(**fields)))
    assert code == "FIELD_INVALID"
    assert message.startswith("readings[0]")
    assert f"{path}: " in message or not path
    assert found in message


def test_an_interval_may_have_366_days():
    found = decoded(readings(channel="any", regular_times=regular(interval=timedelta(days=366))))["any"]
    assert found.times.interval_us == 366 * 86_400_000_000


def test_a_channel_has_readings_once():
    assert "has readings already" in refused(lambda: decoded(readings(), readings()))[1]


def test_the_limit_of_readings_counts_all_channels():
    half = limits.READINGS_IN_REQUEST_MAX // 2
    first = readings(values=[1] * half)
    second = readings(channel="any", values=[1] * half)
    assert sum(len(each.values) for each in decoded(first, second).values()) == 2 * half
    second.values.append(1)
    assert refused(lambda: decoded(first, second))[0] == "TOO_MANY_READINGS"


# Arrow


@dataclass(frozen=True)
class Rows:
    """Two channels, mixed."""

    channel: Any = ("load", "any", "load", "any")
    minute: Any = (15, 15, 30, 20)
    value: Any = (Decimal("0.25"), Decimal("1.5"), Decimal("0.26"), Decimal("2.125"))
    quality: Any = ("measured", "measured", "estimated", "measured")
    interval_s: Any = (None, None, None, None)


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def table(rows: Rows = Rows(), **columns: Any) -> pa.Table:
    made = {
        "channel": pa.array(rows.channel, pa.string()),
        "time": pa.array([START + timedelta(minutes=minute) for minute in rows.minute], pa.timestamp("us", "UTC")),
        "value": pa.array(rows.value, pa.decimal128(38, 12)),
        "quality": pa.array(rows.quality, pa.string()),
    }
    made.update(columns)
    return pa.table({name: column for name, column in made.items() if column is not None})


MINUTES = pa.array([timedelta(minutes=15), timedelta(minutes=10), timedelta(minutes=15), timedelta(minutes=5)])
INTERVALS = MINUTES.cast(pa.duration("us"))


def test_arrow_rows_of_several_channels():
    found = decoded(arrow=stream(table(interval=INTERVALS)))
    load, other = found["load"], found["any"]
    assert load.values.tolist() == [250, 260]
    assert load.quality.tolist() == [0, 3]
    assert [load.label(0), load.label(1)] == [START_US + QUARTER_US, START_US + 2 * QUARTER_US]
    assert load.times.interval_us == QUARTER_US
    assert other.values.tolist() == [1_500, 2_125]
    assert other.times.interval_us.tolist() == [600_000_000, 300_000_000]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint32(), pa.int64(), pa.decimal64(18, 3), pa.decimal128(20, 0)])
def test_arrow_and_columns_are_alike(kind):
    arrow = table(
        Rows(channel=["load"] * 4, minute=(0, 15, 30, 45), quality=["measured"] * 4),
        value=pa.array([1, 2, 3, 4]).cast(pa.decimal128(22, 3)).cast(kind),
        channel=pa.array(["load"] * 4).dictionary_encode(),
    )
    by_arrow, by_column = decoded(arrow=stream(arrow))["load"], decoded(readings(decimal_places=0, values=[1, 2, 3, 4]))
    assert by_arrow.values.tolist() == by_column["load"].values.tolist()
    assert by_arrow.quality.tolist() == by_column["load"].quality.tolist()


def test_arrow_readings_without_quality_are_left_out():
    rows = Rows(channel=["load"] * 4, minute=(0, 15, 30, 45), quality=("measured", None, "", "missing"))
    found = decoded(arrow=stream(table(rows, value=pa.array([Decimal(1), None, None, None], pa.decimal128(9, 3)))))
    assert found["load"].values.tolist() == [1_000, 0]
    assert found["load"].quality.tolist() == [0, 6]


def test_an_empty_stream_has_no_readings():
    assert decoded(arrow=stream(table().slice(0, 0))) == {}


NANS = pa.array([1.0, float("nan"), 2.0, 3.0])


@pytest.mark.parametrize(
    ("columns", "code", "found"),
    [
        ({"value": NANS}, "ARROW_COLUMN_TYPE", "'value' is double; floating-point numbers are not exact"),
        (
            {"time": pa.array([START.replace(tzinfo=None)] * 4, pa.timestamp("us"))},
            "ARROW_COLUMN_TYPE",
            "'time' is timestamp[us]; cast it",
        ),
        ({"interval": pa.array([900] * 4)}, "ARROW_COLUMN_TYPE", "'interval' is int64; cast it to duration"),
        ({"quality": pa.array([1] * 4)}, "ARROW_COLUMN_TYPE", "'quality' is int64"),
        ({"quality": None}, "ARROW_COLUMN_MISSING", "'quality' is missing"),
        ({"kwh": pa.array([1] * 4)}, "ARROW_COLUMN_UNKNOWN", "'kwh' is not of the schema"),
        ({"channel": pa.array(["load", None, "load", "load"])}, "ARROW_COLUMN_TYPE", "'channel' is null in a row"),
        ({"channel": pa.array(["load", "x", "load", "x"])}, "FIELD_INVALID", 'no channel "x"'),
        ({"quality": pa.array(["guessed"] * 4)}, "FIELD_INVALID", 'no status "guessed"'),
        ({"value": pa.array([None] * 4, pa.int64())}, "FIELD_INVALID", 'row 0 is null, and its status "measured"'),
        (
            {"value": pa.array([Decimal("0.0001")] * 4, pa.decimal128(38, 12)), "interval": INTERVALS},
            "FIELD_INVALID",
            "row 0: 0.000100000000 has more than the channel's 3 decimals",
        ),
        (
            {
                "value": pa.array([Decimal(1), Decimal(1), Decimal("0.0001"), Decimal(1)], pa.decimal128(38, 12)),
                "interval": INTERVALS,
            },
            "FIELD_INVALID",
            "channel 'load'.value: row 2: 0.000100000000 has more",
        ),
        (
            {"value": pa.array([2**62] * 4, pa.int64()), "interval": INTERVALS},
            "FIELD_INVALID",
            "does not fit 64 bits",
        ),
        ({}, "FIELD_INVALID", "channel 'any'.interval: is required"),
        ({"interval": pa.array([None, 1, None, None], pa.duration("us"))}, "FIELD_INVALID", "null in some rows"),
    ],
)
def test_arrow_that_is_no_readings_is_refused_by_name(columns, code, found):
    assert refused(lambda: decoded(arrow=stream(table(**columns))))[0] == code
    assert found in refused(lambda: decoded(arrow=stream(table(**columns))))[1]


@pytest.mark.parametrize(("minutes", "found"), [((30, 1, 15, 2), "not sorted"), ((15, 1, 15, 2), "stands twice")])
def test_arrow_rows_rise_in_time_by_channel(minutes, found):
    assert found in refused(lambda: decoded(arrow=stream(table(Rows(minute=minutes), interval=INTERVALS))))[1]


def test_arrow_beside_columns_is_refused():
    assert "stands beside readings" in refused(lambda: decoded(readings(), arrow=b"x"))[1]


def test_the_limit_of_readings_holds_for_arrow():
    count = limits.READINGS_IN_REQUEST_MAX
    many = pa.table(
        {
            "channel": pa.array(["load"]).dictionary_encode().take(pa.array(np.zeros(count + 1, np.int32))),
            "time": pa.array(np.arange(count + 1, dtype=np.int64)).cast(pa.timestamp("us", "UTC")),
            "value": pa.array(np.ones(count + 1, np.int32)),
            "quality": pa.array(["measured"]).dictionary_encode().take(pa.array(np.zeros(count + 1, np.int32))),
        }
    )
    assert decoded(arrow=stream(many.slice(0, count)))["load"].times.count == count
    assert refused(lambda: decoded(arrow=stream(many)))[0] == "TOO_MANY_READINGS"


def test_the_document_has_the_columns_of_the_schema():
    section = DOCUMENT.split("## Schema `readings`")[1].split("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == COLUMNS


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_are_refused_or_read_and_nothing_else(seed):
    source = random.Random(seed)
    whole = bytearray(stream(table(interval=INTERVALS)))
    for _ in range(source.randint(1, 8)):
        whole[source.randrange(len(whole))] = source.randrange(256)
    with suppress(Fault):
        decoded(arrow=bytes(whole))
