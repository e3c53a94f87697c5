"""Frames become the Arrow schema `events`, exactly, or are refused with the cast that mends them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallybook_client import ColumnMap, FrameError, event_batches
from tallybook_client.costs import Costs, decimal_series

NAMED = {"customer_reference": "c", "meter_reference": "m"}


def one_batch(frame: pl.DataFrame | pa.Table, column_map: ColumnMap) -> pa.RecordBatch:
    [batch] = event_batches(frame, column_map, 1_000)
    return batch


def mapped(frame: pl.DataFrame, **columns: str) -> pa.RecordBatch:
    """One batch with the constants every event needs."""
    targets = {target.replace("__", ":"): source for target, source in columns.items()}
    return one_batch(frame, ColumnMap({"reference": "ref", **targets}, NAMED))


def test_columns_of_the_schema_need_no_mapping():
    frame = pl.DataFrame(
        {
            "reference": ["a"],
            "customer_reference": ["c"],
            "meter_reference": ["m"],
            "value:miles": [3],
            "property:origin": ["JFK"],
            "unrelated": [1.5],
        }
    )
    batch = one_batch(frame, ColumnMap())
    assert batch.schema.names == [
        "reference",
        "customer_reference",
        "meter_reference",
        "value:miles",
        "property:origin",
    ]
    assert batch.to_pylist() == [
        {
            "reference": "a",
            "customer_reference": "c",
            "meter_reference": "m",
            "value:miles": 3,
            "property:origin": "JFK",
        }
    ]


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (pl.Series([1, None], dtype=pl.Int32), pa.int32()),
        (pl.Series([1, None], dtype=pl.UInt64), pa.uint64()),
        (pl.Series([Decimal("1.5"), None], dtype=pl.Decimal(20, 12)), pa.decimal128(20, 12)),
        (pl.Series([None, None]), pa.int64()),
    ],
)
def test_exact_values_pass_with_their_nulls(series, kind):
    batch = mapped(pl.DataFrame({"ref": ["a", "b"], "v": series}), value__v="v")
    assert batch.schema.field("value:v").type == kind
    assert batch.column("value:v").to_pylist() == series.to_list()


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (pl.Series([1.5]), ["column v", "double", "not exact", "pl.col('v').cast(pl.Decimal(38, 12))"]),
        (pl.Series([1.5], dtype=pl.Float32), ["float", "not exact"]),
        (pl.Series(["1.5"]), ["column v", "cast(pl.Decimal(38, 12))"]),
        (pl.Series([Decimal("1")], dtype=pl.Decimal(38, 13)), ["decimal128(38, 13)", "12 places"]),
        (pl.Series([True]), ["bool", "not an integer"]),
    ],
)
def test_inexact_values_are_refused_with_the_cast(series, words):
    with pytest.raises(FrameError) as raised:
        mapped(pl.DataFrame({"ref": ["a"], "v": series}), value__v="v")
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    "series",
    [pl.Series(["JFK", None, "JFK"]), pl.Series(["JFK", None, "JFK"], dtype=pl.Categorical)],
)
def test_names_become_dictionaries_of_utf8(series):
    batch = mapped(pl.DataFrame({"ref": ["a", "b", "c"], "p": series}), property__origin="p")
    column = batch.column("property:origin")
    assert pa.types.is_dictionary(column.type)
    assert column.type.value_type == pa.string()
    assert column.to_pylist() == ["JFK", None, "JFK"]


def test_references_stay_plain_utf8():
    assert mapped(pl.DataFrame({"ref": ["a"]})).schema.field("reference").type == pa.string()


def test_a_text_is_filled_from_columns():
    frame = pl.DataFrame(
        {
            "carrier": ["UA", "DL", None],
            "flight": [1545, 7, 8],
            "at": [datetime(2013, 1, 1, 10, 15, tzinfo=UTC), datetime(2013, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC), None],
            "day": [date(2013, 1, 1)] * 3,
        }
    )
    batch = one_batch(frame, ColumnMap({"reference": "{carrier}-{flight}-{at}/{day}!"}, NAMED))
    assert batch.column("reference").to_pylist() == [
        "UA-1545-2013-01-01T10:15:00Z/2013-01-01!",
        "DL-7-2013-01-01T00:00:00.500000Z/2013-01-01!",
        None,
    ]


@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20),  # noqa: DTZ001
    st.integers(1, 20),
)
def test_a_text_never_depends_on_how_batches_are_cut(instants, batch_rows):
    # A reference that changed with the batch size would store the same event twice.
    frame = pl.DataFrame({"at": pl.Series(instants, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")})
    column_map = ColumnMap({"reference": "{at}"}, NAMED)
    whole = one_batch(frame, column_map).column("reference").to_pylist()
    cut = [text for batch in event_batches(frame, column_map, batch_rows) for text in batch["reference"].to_pylist()]
    assert cut == whole
    assert [datetime.fromisoformat(text) for text in whole] == [each.replace(tzinfo=UTC) for each in instants]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_instants_become_microseconds_in_utc(unit):
    series = pl.Series([datetime(2013, 1, 1, 5, 15)], dtype=pl.Datetime(unit))  # noqa: DTZ001
    zoned = series.dt.replace_time_zone("America/New_York")
    column = mapped(pl.DataFrame({"ref": ["a"], "at": zoned}), time="at").column("time")
    assert column.type == pa.timestamp("us", tz="UTC")
    assert column.to_pylist() == [datetime(2013, 1, 1, 10, 15, tzinfo=UTC)]


def test_finer_digits_than_the_microsecond_are_cut():
    column = pa.table({"ref": ["a"], "at": pa.array([1_999], pa.timestamp("ns", "UTC"))})
    batch = one_batch(column, ColumnMap({"reference": "ref", "time": "at"}, NAMED))
    assert batch.column("time").to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=1)]


def test_times_without_a_zone_need_a_word():
    frame = pl.DataFrame({"ref": ["a"], "at": [datetime(2013, 1, 1)]})  # noqa: DTZ001
    with pytest.raises(FrameError, match="without a zone"):
        mapped(frame, time="at")
    batch = one_batch(frame, ColumnMap({"reference": "ref", "time": "at"}, NAMED, naive_times_are_utc=True))
    assert batch.column("time").to_pylist() == [datetime(2013, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("columns", "constants", "words"),
    [
        ({}, NAMED, "reference is not mapped"),
        ({"reference": "ref"}, {"customer_reference": "c"}, "meter_reference or meter_id is not mapped"),
        ({"reference": "nope"}, NAMED, "there is no column nope; there are ref"),
        ({"reference": "{nope}-1"}, NAMED, "there is no column nope"),
    ],
)
def test_what_is_missing_is_named(columns, constants, words):
    with pytest.raises(FrameError, match=words):
        one_batch(pl.DataFrame({"ref": ["a"]}), ColumnMap(columns, constants))


@pytest.mark.parametrize(
    ("columns", "constants", "words"),
    [
        ({"miles": "m"}, {}, "events have no column miles"),
        ({"reference": "r"}, {"reference": "x"}, "mapped to a column and to a constant"),
        ({}, {"value:miles": "3"}, "cannot be a constant"),
    ],
)
def test_a_map_that_cannot_be_is_refused(columns, constants, words):
    with pytest.raises(FrameError, match=words):
        ColumnMap(columns, constants)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.integers(0, 4))
def test_minor_units_become_decimals_exactly(minor, places):
    series = decimal_series(np.array(minor, dtype=np.int64), places)
    assert series.to_list() == [Decimal(number).scaleb(-places) for number in minor]


def test_costs_of_several_currencies_share_a_frame():
    # Given two batches, one in yen, one in dollars and yen
    def costs(
        rows: list[int], currencies: tuple[str, ...], places: tuple[int, ...], codes: list[int], minor: list[int]
    ):
        amounts, taxes = np.array(minor, dtype=np.int64), np.zeros(len(minor), dtype=np.int64)
        return Costs(
            np.array(rows, dtype=np.int64),
            currencies,
            places,
            np.array(codes, dtype=np.uint32),
            amounts,
            taxes,
            amounts // 2,
            taxes,
        )

    first = costs([0, 2], ("JPY",), (0,), [0, 0], [5, -7])
    second = costs([0, 0, 1], ("USD", "JPY"), (2, 0), [0, 1, 0], [101, 3, 9_000_000_000_000_000_000])

    # When they are put together
    frame = Costs.concatenate([(0, first), (10, second)]).frame()

    # Then rows count on and every amount is exact
    assert frame["row"].to_list() == [0, 2, 10, 10, 11]
    assert frame["currency"].to_list() == ["JPY", "JPY", "USD", "JPY", "USD"]
    assert frame["amount_excluding_tax"].to_list() == [
        Decimal(5), Decimal(-7), Decimal("1.01"), Decimal(3), Decimal("90000000000000000.00"),
    ]  # fmt: skip
    assert frame["net_amount_excluding_tax"].to_list() == [
        Decimal(2), Decimal(-4), Decimal("0.50"), Decimal(1), Decimal("45000000000000000.00"),
    ]  # fmt: skip


def test_no_costs_are_an_empty_frame():
    assert Costs.concatenate([]).frame().height == 0
