"""Usage to simulate, as rows and as Arrow: every column that docs/arrow.md names, and what is wrong with rows."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.simulation.usage import UsageFrame
from tallybook_server.codec.usage import read_usage
from tallybook_server.errors import ErrorCode, Fault

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/arrow.md").read_text(encoding="utf-8")
TAKEN, REFUSED = re.findall(r"^\| type \| Arrow types \|\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
(COLUMNS,) = re.findall(r"^\| column of usage \|.*\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
TYPE_OF_COLUMN = dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", COLUMNS, re.MULTILINE))
VALUES: dict[str, Any] = {
    "text": "a",
    "number": 2,
    "count": 2,
    "date": date(2024, 1, 2),
    "time": datetime(2024, 1, 2, 3, tzinfo=UTC),
}
BY_NAME = {
    str(kind): kind
    for kind in (
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.null(), pa.bool_(), pa.date32()),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
        *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.uint8(), pa.string())),
        pa.dictionary(pa.int32(), pa.int64()),
        *(pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
        pa.timestamp("us", "Europe/Amsterdam"),
        *(pa.decimal32(9, 2), pa.decimal64(18, 12), pa.decimal128(38, 12), pa.decimal128(38, 0)),
        *(pa.decimal128(38, 13), pa.decimal128(38, -2), pa.decimal256(76, 12)),
    )
}
ONE = {
    "contract_id": pa.array(["c"]),
    "product_id": pa.array(["p"]),
    "quantity": pa.array([2]),
    "date": pa.array([date(2024, 1, 2)]),
}
"""A row of the columns that are always there."""


def documented(table: str, kind: str) -> list[str]:
    (cell,) = re.findall(rf"^\| {kind} \| (.*) \|$", table, re.MULTILINE)
    return re.findall(r"`([^`]+)`", cell)


def arrow_of(columns: dict[str, pa.Array]) -> wire.RunSimulationRequest:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return wire.RunSimulationRequest(arrow=sink.getvalue().to_pybytes())


def rows_of(*rows: dict[str, Any]) -> wire.RunSimulationRequest:
    usual = {"contract_id": "c", "product_id": "p", "quantity": "2", "date": "2024-01-02"}
    return wire.RunSimulationRequest(rows=wire.UsageRows(rows=[wire.UsageRow(**{**usual, **each}) for each in rows]))


def value_of(name: str, frame: UsageFrame) -> Any:
    """What a frame of one row has in a column; None: nothing."""
    match name:
        case "contract_id":
            return frame.contracts[frame.contract_codes[0]]
        case "product_id":
            return frame.products[frame.product_codes[0]]
        case "quantity":
            return Decimal(from_limbs(*frame.quantities[0])).scaleb(-12)
        case "date":
            return None if frame.time_given[0] else date(1970, 1, 1).fromordinal(719163 + int(frame.days[0]))
        case "time":
            return datetime.fromtimestamp(int(frame.times_us[0]) // 1_000_000, UTC) if frame.time_given[0] else None
        case "event_count":
            return None if frame.event_counts is None else int(frame.event_counts[0])
        case "property:<reference>":
            (found,) = frame.properties
            return found.texts[found.codes[0]] if found.codes[0] >= 0 else None
    raise AssertionError(name)


def named(column: str) -> str:
    return column.replace("<reference>", "color")


@pytest.mark.parametrize(
    ("column", "kind"),
    [(column, kind) for column, type_ in TYPE_OF_COLUMN.items() for kind in documented(TAKEN, type_)],
)
def test_a_documented_type_is_read(column, kind):
    value = None if kind == "null" else VALUES[TYPE_OF_COLUMN[column]]
    columns = {**ONE, named(column): pa.array([value], BY_NAME[kind])}
    # Where there is no date there must be a time, and the other way round
    if column == "date" and value is None:
        columns["time"] = pa.array([VALUES["time"]], pa.timestamp("us", "UTC"))
    if value is None and column in ("contract_id", "product_id", "quantity"):
        # What is never null is no column of nulls
        with pytest.raises(Fault, match="cast it"):
            read_usage(arrow_of(columns))
        return
    frame = read_usage(arrow_of(columns))
    assert frame.flaws is None
    if column != "reference":
        assert value_of(column, frame) == value


@pytest.mark.parametrize(
    ("column", "kind"),
    [(column, kind) for column, type_ in TYPE_OF_COLUMN.items() for kind in documented(REFUSED, type_)],
)
def test_a_documented_refusal_names_column_and_mend(column, kind):
    with pytest.raises(Fault, match="cast it") as fault:
        read_usage(arrow_of({**ONE, named(column): pa.array([None], BY_NAME[kind])}))
    assert fault.value.code is ErrorCode.ARROW_COLUMN_TYPE
    assert repr(named(column)) in fault.value.message


def test_the_document_names_every_column():
    with pytest.raises(Fault, match="its columns are") as fault:
        read_usage(arrow_of({**ONE, "colour": pa.array(["red"])}))
    assert fault.value.code is ErrorCode.ARROW_COLUMN_UNKNOWN
    told = re.findall(r"its columns are (.*)\.$", fault.value.message)[0].split(", ")
    assert set(told) == set(TYPE_OF_COLUMN)


# --- What is wrong with rows ------------------------------------------------------------------------------------------

NUMBER = "write a number of at most 12 decimals below 10^15, such as 12.5"


def flaws_of(request: wire.RunSimulationRequest) -> list[str]:
    flaws = read_usage(request).flaws
    assert flaws is not None
    assert flaws.fault_count == len(flaws.faults)
    return [str(each) for each in flaws.faults]


def test_everything_that_is_wrong_with_rows_is_told_at_once():
    # Given rows of which each is wrong in its own way, and the last in three
    rows = rows_of(
        {},
        {"quantity": "1e3"},
        {"date": "2024-13-01"},
        {"event_count": 0},
        {"event_count": 10**15},
        {"reference": "x" * 256},
        {"quantity": "", "date": "", "event_count": -1},
    )
    # Then all of it is told
    assert flaws_of(rows) == [
        f"rows[1].quantity: '1e3' is MALFORMED; {NUMBER}",
        'rows[2].date: "2024-13-01" is no date like "2026-12-25"',
        "rows[3].event_count: 0 is not from 1 to 999999999999999",
        "rows[4].event_count: 1000000000000000 is not from 1 to 999999999999999",
        "rows[5].reference: has at most 255 bytes",
        f"rows[6].quantity: '' is EMPTY; {NUMBER}",
        'rows[6].date: "" is no date like "2026-12-25"',
        "rows[6].event_count: -1 is not from 1 to 999999999999999",
    ]
    # And what cannot be read is nothing, or undated
    found = read_usage(rows)
    assert found.flaws is not None
    assert np.flatnonzero(found.flaws.is_undated).tolist() == [2, 6]
    assert [from_limbs(*each) // 10**12 for each in found.quantities] == [2, 0, 2, 2, 2, 2, 0]
    assert found.event_counts is None
    assert read_usage(rows_of({"event_count": 1}, {"event_count": 10**15 - 1}, {"reference": "x" * 255})).flaws is None


def test_everything_that_is_wrong_with_a_stream_is_told_at_once():
    # Given the same in columns
    instants = pa.timestamp("us", "UTC")
    columns = {
        "contract_id": pa.array(["c", None, "c", "c", "c", "c"]),
        "product_id": pa.array(["p", "p", None, "p", "p", None]),
        "quantity": pa.array([None, Decimal(10**15), Decimal(-(10**15)), 1, 1, 1], pa.decimal128(38, 0)),
        "date": pa.array([None, date(1899, 1, 1), date(3000, 1, 1), None, None, date(2024, 1, 1)]),
        "time": pa.array([None, None, None, datetime(3000, 1, 1, tzinfo=UTC), None, None], instants),
        "event_count": pa.array([2**64 - 1, 0, None, 10**15, 3, 10**15 - 1], pa.uint64()),
        "reference": pa.array(["x" * 256, "x" * 255, None, "", "y", "y"]),
    }
    assert flaws_of(arrow_of(columns)) == [
        "contract_id: 1 rows have none, the first is row 1, counted from 0",
        "product_id: 2 rows have none, the first is row 2, counted from 0",
        "quantity: 1 rows have none, the first is row 0, counted from 0",
        "date: 2 rows have no date and no time, the first is row 0, counted from 0",
        "date: 2 rows are not from 1900-01-01 to 2999-12-31, the first is row 1, counted from 0",
        "time: 1 rows are no instants from 1900-01-01 to 2999-12-31, the first is row 3, counted from 0",
        "quantity: 2 rows are not below 10^15 in size, the first is row 1, counted from 0",
        "event_count: 3 rows are not from 1 to 999999999999999, the first is row 0, counted from 0",
        "reference: 1 rows have more than 255 bytes, the first is row 0, counted from 0",
        'reference: row 5, counted from 0, has "y" as row 4 under "c": '
        "a reference names one row of a product contract, leave one of them out",
    ]
    found = read_usage(arrow_of(columns))
    assert found.flaws is not None
    assert np.flatnonzero(found.flaws.is_undated).tolist() == [0, 1, 2, 3, 4]
    assert [from_limbs(*each) // 10**12 for each in found.quantities] == [0, 0, 0, 1, 1, 1]
    assert found.event_counts is not None
    assert found.event_counts.tolist() == [0, 0, 0, 0, 3, 10**15 - 1]


# Row by row: product contract and reference; and which rows are there before, under the same product contract
REFERENCES = [("c", "a"), ("c", ""), ("d", "a"), ("c", "b"), ("c", ""), ("c", "a"), ("d", "b"), ("c", "a"), ("ca", "")]
REPEATED = {5: 0, 7: 0}


def test_a_reference_is_once_under_a_product_contract():
    rows = rows_of(*({"contract_id": contract, "reference": reference} for contract, reference in REFERENCES))
    assert flaws_of(rows) == [
        f'rows[{row}].reference: "a" is that of rows[{earlier}] too, under "c": '
        "a reference names one row of a product contract, leave one of them out"
        for row, earlier in REPEATED.items()
    ]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), "a dictionary that repeats"]
)
def test_references_of_any_type_are_compared_as_texts(kind, monkeypatch):
    # Given few rows that are laid out at once
    monkeypatch.setattr("tallybook_engine.simulation.references.LAID_ROWS_MAX", 2)
    references = [reference or None for _, reference in REFERENCES]
    if isinstance(kind, str):
        codes = pa.array([None if each is None else number for number, each in enumerate(references)], pa.int32())
        column = pa.DictionaryArray.from_arrays(codes, pa.array([each or "z" for each in references]))
    else:
        column = pa.array(references).cast(kind)
    count = len(REFERENCES)
    columns = {
        "contract_id": pa.array([contract for contract, _ in REFERENCES]),
        "product_id": pa.array(["p"] * count),
        "quantity": pa.array([1] * count),
        "date": pa.array([date(2024, 1, 1)] * count),
        "reference": column,
    }
    assert flaws_of(arrow_of(columns)) == [
        f'reference: row {row}, counted from 0, has "a" as row {earlier} under "c": '
        "a reference names one row of a product contract, leave one of them out"
        for row, earlier in REPEATED.items()
    ]


def test_a_dictionary_that_says_a_long_text_often_is_not_laid_out():
    # Given two texts of a megabyte that are the same, in a dictionary of many rows
    count = 100_000
    codes = pa.array(np.arange(count, dtype=np.int32) % 2)
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 2**20] * 2))
    columns = {
        "contract_id": pa.array(["c"] * count).dictionary_encode(),
        "product_id": pa.array(["p"] * count).dictionary_encode(),
        "quantity": pa.array(np.ones(count, dtype=np.int8)),
        "date": pa.array([date(2024, 1, 1)] * count),
        "property:color": texts,
        "reference": texts,
    }
    # Then as a property it is one text, and as a reference too long
    frame = read_usage(arrow_of(columns))
    assert [len(each.texts) for each in frame.properties] == [1]
    assert frame.flaws is not None
    assert [each.field for each in frame.flaws.faults] == ["reference"]


def test_faults_beyond_those_that_are_named_are_counted():
    flaws = read_usage(rows_of(*[{"quantity": "x"}] * 1_001)).flaws
    assert flaws is not None
    assert (len(flaws.faults), flaws.fault_count) == (1_000, 1_001)
