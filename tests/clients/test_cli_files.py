"""Files of events are read exactly: no number becomes a float, and every bad row is named by its line."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallybook_cli.errors import CommandError
from tallybook_cli.files import FileFormat, format_of, open_events
from tallybook_client import ColumnMap

MAP = ColumnMap(
    {"reference": "id", "value:miles": "miles", "time": "at", "property:origin": "origin"},
    {"customer_reference": "c", "meter_reference": "m"},
)


def rows_of(events):
    """Every row of every batch as dictionaries."""
    return [row for batch in events.batches for row in batch.to_pylist()]


def written(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_csv_numbers_and_times_are_exact(tmp_path):
    # Given numbers that no float holds, an absent one, and times in two zones
    file = written(
        tmp_path,
        "usage.csv",
        "id,miles,at,origin\n"
        "a,0.123456789012,2013-01-01T05:15:00-05:00,JFK\n"
        'b,999999999999999.999999999999,2013-01-01T10:15:00.000001Z,"L,GA"\n'
        "c,,,\n",
    )

    # When they are read in batches of two
    events = open_events(file, FileFormat.CSV, MAP, 2)
    rows = rows_of(events)

    # Then nothing is lost, and absent is not 0
    assert [row["value:miles"] for row in rows] == [
        Decimal("0.123456789012"),
        Decimal("999999999999999.999999999999"),
        None,
    ]
    assert [row["time"] for row in rows] == [
        datetime(2013, 1, 1, 10, 15, tzinfo=UTC),
        datetime(2013, 1, 1, 10, 15, 0, 1, tzinfo=UTC),
        None,
    ]
    assert [row["property:origin"] for row in rows] == ["JFK", "L,GA", None]
    assert [events.line_of(row) for row in range(3)] == [2, 3, 4]
    assert events.bad_rows == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,5", "DECIMAL_MALFORMED"),
        ("1e3", "DECIMAL_MALFORMED"),
        ("NaN", "DECIMAL_MALFORMED"),
        ("+1", "DECIMAL_MALFORMED"),
        (".5", "DECIMAL_MALFORMED"),
        ("1.", "DECIMAL_MALFORMED"),
        (" 1", "DECIMAL_MALFORMED"),
        ("0.1234567890123", "DECIMAL_TOO_FINE"),
        ("1000000000000000", "DECIMAL_OUT_OF_RANGE"),
        ("1" + "0" * 400, "DECIMAL_OUT_OF_RANGE"),
    ],
)
def test_a_bad_number_is_named_and_the_others_go_on(tmp_path, text, reason):
    file = tmp_path / "usage.csv"
    pl.DataFrame({"id": ["a", "b", "c"], "miles": ["1", text, "3"], "at": "", "origin": ""}).write_csv(file)
    events = open_events(file, FileFormat.CSV, MAP, 10)
    assert [(row["reference"], row["value:miles"]) for row in rows_of(events)] == [("a", 1), ("c", 3)]
    assert [(bad.line, bad.reason) for bad in events.bad_rows] == [(3, reason)]
    assert [events.line_of(row) for row in range(2)] == [2, 4]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**14), max_value=10**14))
def test_every_decimal_comes_through(number):
    table = pa.table({"id": ["a"], "miles": [format(number, "f") + "000"]})
    batches = _exact_batches(table)
    assert batches[0].column("value:miles").to_pylist() == [number]


def _exact_batches(table):
    """What a CSV file of this text would give, without the file."""
    from pathlib import Path

    import numpy as np

    from tallybook_cli.files import EventFile, _frames

    column_map = ColumnMap({"reference": "id", "value:miles": "miles"}, dict(MAP.constants))
    events = EventFile(Path("usage.csv"), None, iter(()))
    return list(_frames(events, iter([(np.arange(table.num_rows), table)]), column_map, 100))


def test_a_time_without_a_zone_stops_the_file(tmp_path):
    file = written(tmp_path, "usage.csv", "id,miles,at,origin\na,1,2013-01-01T05:15:00,JFK\n")
    with pytest.raises(CommandError, match=r"usage\.csv:2: column at: .*no time zone"):
        rows_of(open_events(file, FileFormat.CSV, MAP, 10))
    utc = ColumnMap(MAP.columns, MAP.constants, naive_times_are_utc=True)
    [row] = rows_of(open_events(file, FileFormat.CSV, utc, 10))
    assert row["time"] == datetime(2013, 1, 1, 5, 15, tzinfo=UTC)


def test_a_malformed_time_is_a_bad_row(tmp_path):
    file = written(tmp_path, "usage.csv", "id,miles,at,origin\na,1,yesterday,JFK\nb,1,,JFK\n")
    events = open_events(file, FileFormat.CSV, MAP, 10)
    assert [row["reference"] for row in rows_of(events)] == ["b"]
    assert [(bad.line, bad.reason, bad.text) for bad in events.bad_rows] == [
        (2, "TIME_MALFORMED", "column at: 'yesterday'")
    ]


def test_flat_json_keeps_the_text_of_its_numbers(tmp_path):
    file = written(
        tmp_path,
        "usage.ndjson",
        '{"id": "a", "miles": 0.1, "at": "2013-01-01T00:00:00Z"}\n\n'
        '{"id": 7, "miles": 99999999999999.000000000001, "origin": "JFK"}\n',
    )
    events = open_events(file, FileFormat.NDJSON, MAP, 10)
    rows = rows_of(events)
    assert [(row["reference"], row["value:miles"], row["property:origin"]) for row in rows] == [
        ("a", Decimal("0.1"), None),
        ("7", Decimal("99999999999999.000000000001"), "JFK"),
    ]
    assert [events.line_of(row) for row in range(2)] == [1, 3]


def test_json_events_are_the_contracts_own(tmp_path):
    event = {
        "meter_reference": "card_issuing",
        "customer_reference": "Customer_GUID",
        "reference": "event-ingestion-17-04-2023",
        "time": "2023-04-17T00:00:00+02:00",
        "meter_values": [{"reference": "card_count", "number": "1"}],
    }
    lines = [json.dumps(event), '{"reference": "x", "meter_valeus": []}', "[1]".replace("[1]", "{}")]
    file = written(tmp_path, "events.ndjson", "\n".join(lines))
    events = open_events(file, FileFormat.NDJSON, ColumnMap(), 10)
    [batch] = list(events.batches)
    event_message: Any = next(iter(batch))
    assert event_message.meter_values[0].number == "1"
    assert event_message.time.ToJsonString() == "2023-04-16T22:00:00Z"
    assert [(bad.line, bad.reason) for bad in events.bad_rows] == [(2, "EVENT_MALFORMED")]
    assert "meter_valeus" in events.bad_rows[0].text


def test_parquet_floats_are_refused_with_the_cast(tmp_path):
    file = tmp_path / "usage.parquet"
    pl.DataFrame({"id": ["a"], "miles": [1.5], "at": [None], "origin": ["JFK"]}).write_parquet(file)
    with pytest.raises(CommandError, match=r"usage\.parquet: column miles is double.*pl\.col\('miles'\)\.cast"):
        rows_of(open_events(file, FileFormat.PARQUET, MAP, 10))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("usage.csv", "", "there is no header"),
        ("usage.csv", "id,miles,at,origin\na,1\n", r"usage.csv:2: 2 cells where the header has 4"),
        ("usage.csv", 'id,miles,at,origin\n"a', r"not CSV"),
        ("usage.csv", "id,at,origin\na,,\n", "there is no column miles"),
        ("usage.ndjson", '{"id": \n', r"usage.ndjson:1: not one JSON object a line"),
        ("usage.ndjson", "[1]\n", r"usage.ndjson:1: not a JSON object"),
        ("usage.ndjson", '{"id": "a", "miles": [1]}\n', "field miles is neither text nor a number"),
        ("usage.parquet", "PAR1", "not a Parquet file"),
    ],
)
def test_what_is_no_such_file_says_so(tmp_path, name, content, words):
    file = written(tmp_path, name, content)
    with pytest.raises(CommandError, match=words):
        rows_of(open_events(file, format_of(file), MAP, 10))


def test_an_unknown_suffix_wants_a_format(tmp_path):
    with pytest.raises(CommandError, match="--format"):
        format_of(tmp_path / "usage.txt")
