"""Streams of strangers: every type that docs/arrow.md names, and bytes that are no sound stream."""

import random
import re
import struct
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.events import PlainEvent, as_stream, as_table, by_row

from tallybook_server import limits
from tallybook_server.codec.arrow import decode_events
from tallybook_server.codec.arrow_size import decompressed_sizes
from tallybook_server.errors import ErrorCode, Fault

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/arrow.md").read_text(encoding="utf-8")
EVENT = PlainEvent(time=(1_700_000_000, 0), values=(("v", "1.5"),), properties=(("p", "Visa"),))
SEED = 20_250_701


def tables() -> list[list[list[str]]]:
    """The tables of the document, as rows of cells without their heads."""
    found: list[list[list[str]]] = []
    previous = ""
    for line in DOCUMENT.splitlines():
        if line.startswith("|---"):
            found.append([])
        elif line.startswith("| ") and previous.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("| ").split(" | ")])
        previous = line
    return found


COLUMNS, _, TAKEN, REFUSED, *_OTHERS = tables()
TYPE_OF_COLUMN = {cells[0].strip("`"): cells[1] for cells in COLUMNS}


def arrow_types(table: list[list[str]], kind: str) -> list[str]:
    return re.findall(r"`([^`]+)`", next(cells[1] for cells in table if cells[0] == kind))


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


def named_column(column: str) -> str:
    return column.replace("<reference>", "x")


OTHER_CHOICE = {
    "customer_id": "customer_reference",
    "customer_reference": "customer_id",
    "meter_id": "meter_reference",
    "meter_reference": "meter_id",
}


def table_with(column: str, array: pa.Array) -> pa.Table:
    """One event, with this column in the place of its own and of the other choice."""
    name = named_column(column)
    table = as_table([EVENT])
    replaced = [each for each in (name, OTHER_CHOICE.get(name)) if each in table.column_names]
    return table.drop_columns(replaced).append_column(name, array)


SAMPLES = [None, "a", b"a", 1, Decimal(100), datetime(2023, 1, 1, tzinfo=UTC), date(2023, 1, 1), True]


def one_of(kind: pa.DataType) -> pa.Array:
    """A column of one value."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    for sample in SAMPLES[:1] if pa.types.is_null(kind) else SAMPLES[1:]:
        with suppress(pa.ArrowException, TypeError):
            array = pa.array([sample], values)
            if pa.types.is_dictionary(kind):
                return pa.DictionaryArray.from_arrays(pa.array([0], kind.index_type), array)
            return array
    raise AssertionError(f"no sample of {kind}")


@pytest.mark.parametrize(
    ("column", "kind"),
    [(column, kind) for column, type_ in TYPE_OF_COLUMN.items() for kind in arrow_types(TAKEN, type_)],
)
def test_documented_types_are_taken(column, kind):
    # Given an event whose column has the type
    [row] = by_row(decode_events(as_stream(table_with(column, one_of(BY_NAME[kind])))))
    # Then it is read; a column of nulls is as if it were not there
    name = named_column(column)
    field = {"time": "time_us", "reference": "reference", "contract_id": "contract"}.get(name) or {
        "c": "customer",
        "m": "meter",
        "v": "values",
        "p": "properties",
    }[name[0]]
    if kind != "null":
        assert isinstance(row, dict)
        assert "x" in row[field] if name.endswith(":x") else row[field]
    elif column in ("reference", *OTHER_CHOICE):
        assert row in ("REFERENCE_EMPTY", "CUSTOMER_MISSING", "METER_MISSING")
    else:
        assert isinstance(row, dict)
        assert "x" not in row[field] if name.endswith(":x") else row[field] is None


@pytest.mark.parametrize(
    ("column", "kind"),
    [(column, kind) for column, type_ in TYPE_OF_COLUMN.items() for kind in arrow_types(REFUSED, type_)],
)
def test_documented_refusals_name_column_and_mend(column, kind):
    with pytest.raises(Fault, match="cast it") as fault:
        decode_events(as_stream(table_with(column, one_of(BY_NAME[kind]))))
    assert fault.value.code is ErrorCode.ARROW_COLUMN_TYPE
    assert repr(named_column(column)) in fault.value.message


def test_the_document_names_every_column():
    assert set(TYPE_OF_COLUMN) == {
        *("reference", "customer_id", "customer_reference", "meter_id", "meter_reference", "contract_id", "time"),
        *("value:<reference>", "property:<reference>"),
    }


@pytest.mark.parametrize("limit", ["65,536 rows", "1,024 record batches", "64 MiB", "4,194,304"])
def test_the_document_states_the_limits(limit):
    assert limit in DOCUMENT
    assert (limits.EVENTS_IN_BATCH_MAX, limits.ARROW_BATCHES_MAX) == (65_536, 1_024)
    assert (limits.ARROW_BYTES_MAX, limits.CELLS_IN_MESSAGE_MAX) == (64 * 2**20, 4_194_304)


@pytest.mark.parametrize(
    ("numbers", "kind", "expected"),
    [
        ([-1, 127], pa.int8(), [-1, 127]),
        ([-(2**63), 2**63 - 1], pa.int64(), "DECIMAL_OUT_OF_RANGE"),
        ([2**64 - 1, 1], pa.uint64(), ["DECIMAL_OUT_OF_RANGE", 1]),
        ([999_999_999_999_999, -999_999_999_999_999], pa.int64(), [999_999_999_999_999, -999_999_999_999_999]),
        ([10**15, -(10**15)], pa.int64(), "DECIMAL_OUT_OF_RANGE"),
        ([Decimal("-0.07"), Decimal("1.10")], pa.decimal32(9, 2), [Decimal("-0.07"), Decimal("1.1")]),
        ([Decimal("999999999999999.999999999999"), Decimal(10**15)], pa.decimal128(38, 12),
         [Decimal("999999999999999.999999999999"), "DECIMAL_OUT_OF_RANGE"]),
        ([Decimal(10**37), Decimal(-(10**37))], pa.decimal128(38, 0), "DECIMAL_OUT_OF_RANGE"),
    ],
)  # fmt: skip
def test_numbers_are_exact_whatever_their_type(numbers, kind, expected):
    table = as_table([PlainEvent(), PlainEvent()]).append_column("value:v", pa.array(numbers, kind))
    rows = by_row(decode_events(as_stream(table)))
    found = [row if isinstance(row, str) else Decimal(row["values"]["v"]).scaleb(-12) for row in rows]
    assert found == ([expected] * 2 if isinstance(expected, str) else expected)


def without(*columns: str) -> pa.Table:
    return as_table([EVENT]).drop_columns(list(columns))


def with_column(name: str) -> pa.Table:
    return as_table([EVENT]).append_column(name, pa.array([1]))


@pytest.mark.parametrize(
    ("what", "table", "code", "named"),
    [
        ("no reference", without("reference"), "ARROW_COLUMN_MISSING", "reference"),
        ("no customer", without("customer_id", "customer_reference"), "ARROW_COLUMN_MISSING", "customer_reference"),
        ("no meter", without("meter_id", "meter_reference"), "ARROW_COLUMN_MISSING", "meter_reference"),
        ("a stranger", with_column("quantity"), "ARROW_COLUMN_UNKNOWN", "quantity"),
        ("a nameless value", with_column("value:"), "ARROW_COLUMN_UNKNOWN", "value:"),
        ("a long name", with_column("value:" + "x" * 256), "ARROW_COLUMN_UNKNOWN", "value:x"),
        ("a column twice", with_column("value:v"), "ARROW_COLUMN_UNKNOWN", "value:v"),
    ],
)
def test_columns_that_are_not_the_schemas(what, table, code, named):
    with pytest.raises(Fault) as fault:
        decode_events(as_stream(table))
    assert fault.value.code.name == code
    assert named in fault.value.message


def test_an_empty_stream_is_no_event():
    assert decode_events(as_stream(as_table([EVENT])[:0])).row_count == 0
    schema_only = as_table([EVENT])[:0]
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, schema_only.schema).close()
    assert decode_events(bytes(sink.getvalue())).row_count == 0


# --- Limits ---------------------------------------------------------------------------------------------------------


def repeated(count: int) -> pa.Table:
    return as_table([PlainEvent(customer_reference="c", meter_reference="m", reference="r")], dictionaries=True).take(
        pa.array([0] * count)
    )


def test_rows_are_limited():
    assert decode_events(as_stream(repeated(limits.EVENTS_IN_BATCH_MAX))).row_count == limits.EVENTS_IN_BATCH_MAX
    with pytest.raises(Fault) as fault:
        decode_events(as_stream(repeated(limits.EVENTS_IN_BATCH_MAX + 1)))
    assert fault.value.code is ErrorCode.TOO_MANY_EVENTS


def test_batches_are_limited():
    # A dictionary goes before the batches of each of the six texts.
    plain = as_table([PlainEvent()] * (limits.ARROW_BATCHES_MAX + 1))
    assert decode_events(as_stream(plain[:-1], rows_in_batch=1)).row_count == limits.ARROW_BATCHES_MAX
    with pytest.raises(Fault, match="combine them") as fault:
        decode_events(as_stream(plain, rows_in_batch=1))
    assert fault.value.code is ErrorCode.ARROW_TOO_LARGE


@pytest.mark.parametrize("kind", ["value", "property"])
def test_names_are_limited(kind):
    rows = 2**15
    names_max = limits.CELLS_IN_MESSAGE_MAX // rows
    table = repeated(rows)
    column = pa.array([1] * rows, pa.int8()) if kind == "value" else pa.array(["x"] * rows).dictionary_encode()
    # Given as many columns as the limit has room for, of which no row may have more than 64
    for index in range(names_max):
        table = table.append_column(f"{kind}:{index}", column)
    faults = decode_events(as_stream(table)).faults
    assert (faults == (faults[0])).all()
    # Then one column more is too many
    with pytest.raises(Fault) as fault:
        decode_events(as_stream(table.append_column(f"{kind}:one", column)))
    assert fault.value.code is ErrorCode.TOO_MANY_NAMES


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_stream_that_grows_when_decompressed_is_refused_before_it_does(compression):
    # Given 256 MiB of the same byte in a stream of far less
    rows = 256
    long_texts = (
        as_table([EVENT]).take(pa.array([0] * rows)).append_column("property:x", pa.array(["x" * 2**20] * rows))
    )
    bomb = as_stream(long_texts, compression=compression)
    assert len(bomb) < 2 * 2**20
    assert sum(decompressed_sizes(bomb)) > 256 * 2**20
    # Then nothing is allocated for it
    allocated = pa.total_allocated_bytes()
    with pytest.raises(Fault) as fault:
        decode_events(bomb)
    assert fault.value.code is ErrorCode.ARROW_TOO_LARGE
    assert pa.total_allocated_bytes() - allocated < 2**20


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_the_size_is_that_of_the_buffers(compression):
    table = as_table([EVENT] * 100, dictionaries=True)
    plain = sum(decompressed_sizes(as_stream(table)))
    assert 0 < plain <= sum(decompressed_sizes(as_stream(table, compression))) + 64 * 60
    assert sum(decompressed_sizes(as_stream(table, compression))) <= plain


# --- Broken bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [b"", b"x", b"\xff" * 8, b"ARROW1\0\0", b"\xff\xff\xff\xff\x10\0\0\0", b"\0" * 100])
def test_bytes_that_are_no_stream(stream):
    with pytest.raises(Fault) as fault:
        decode_events(stream)
    assert fault.value.code is ErrorCode.ARROW_MALFORMED


@pytest.mark.parametrize("dictionaries", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_mutilated_streams_are_faults_or_events_and_never_more(dictionaries, compression):
    """Cut anywhere, and with bytes and words overwritten: a clear fault, or columns that can be read to the end."""
    random_ = random.Random(SEED)
    whole = as_stream(as_table([EVENT] * 20, dictionaries), compression, rows_in_batch=7)
    outcomes = set()
    for _ in range(400):
        stream = bytearray(whole)
        for _ in range(random_.randint(0, 3)):
            position = random_.randrange(len(stream) - 8)
            if random_.random() < 0.5:
                stream[position] = random_.randrange(256)
            else:
                extreme = random_.choice([-1, -(2**63), 2**63 - 1, 2**31, 2**40, 0])
                struct.pack_into("<q", stream, position, extreme)
        if random_.random() < 0.3:
            del stream[random_.randrange(len(stream)) :]
        try:
            by_row(decode_events(bytes(stream)))
            outcomes.add("events")
        except Fault as fault:
            outcomes.add(fault.code.name)
            assert fault.code.status.name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    print(f"seed {SEED}: {sorted(outcomes)}")
    assert {"events", "ARROW_MALFORMED"} <= outcomes
