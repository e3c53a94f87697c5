"""Usage to simulate, rows or one Arrow stream of the schema `usage` (docs/arrow.md), as the engine's columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog.faults import CatalogFault
from tallybook_engine.catalog.limits import DATE_MAX, DATE_MIN
from tallybook_engine.decimals import QUANTITY_SCALE, WHOLE_DIGITS, DecimalFault, parse_decimal
from tallybook_engine.kernels.wide import limb_array
from tallybook_engine.simulation.usage import FAULTS_MAX, UsageFrame, UsageProperty
from tallybook_server import limits
from tallybook_server.codec.arrow_stream import (
    array_of,
    column_fault,
    fixed_width,
    number_mend,
    present,
    read_table,
    text_mend,
    time_mend,
)
from tallybook_server.codec.instants import TIME_END_US, TIME_MIN_US, instant_us, parse_date
from tallybook_server.codec.metering import check_name, fields_within_answer
from tallybook_server.errors import ErrorCode, Fault, field_invalid

TEXT_COLUMNS = ("contract_id", "product_id")
QUANTITY_COLUMN = "quantity"
DATE_COLUMN = "date"
TIME_COLUMN = "time"
PROPERTY_PREFIX = "property:"

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_FIRST_DAY = DATE_MIN.toordinal() - _EPOCH_ORDINAL
_LAST_DAY = DATE_MAX.toordinal() - _EPOCH_ORDINAL
_QUANTITY = pa.decimal128(WHOLE_DIGITS + QUANTITY_SCALE, QUANTITY_SCALE)
_WIDEST = pa.decimal128(38, QUANTITY_SCALE)


def read_usage(request: wire.RunSimulationRequest, go_on: GoOn = unasked) -> UsageFrame:
    """The usage that a request brings. USAGE_INVALID with every row that is wrong in itself."""
    match request.WhichOneof("usage"):
        case "rows":
            return _from_rows(request.rows, go_on)
        case "arrow":
            return read_usage_stream(request.arrow, go_on)
    raise field_invalid("usage", "give rows, arrow, recorded, determinants or usage_frame_id")


def read_usage_stream(stream: bytes, go_on: GoOn = unasked) -> UsageFrame:
    """One Arrow stream. USAGE_INVALID with everything that is wrong with it in itself."""
    go_on()
    return _from_table(read_table(stream, _check_schema, check_row_count), go_on)


def usage_invalid(faults: list[CatalogFault], fault_count: int) -> Fault:
    """USAGE_INVALID with every fault, or the first ones and how many more there are."""
    count = f"{fault_count} faults, the first one: " if fault_count > 1 else ""
    fields = fields_within_answer(faults)
    return Fault(ErrorCode.USAGE_INVALID, f"{count}{faults[0]}", {"fault_count": str(fault_count)}, fields)


def check_row_count(row_count: int) -> None:
    """SIMULATION_TOO_LARGE above the limit."""
    if row_count > limits.USAGE_ROWS_MAX:
        raise Fault(
            ErrorCode.SIMULATION_TOO_LARGE,
            f"{row_count} rows of usage; at most {limits.USAGE_ROWS_MAX}.",
            {"usage_rows_max": str(limits.USAGE_ROWS_MAX)},
        )


def check_properties(names: Collection[str], row_count: int) -> None:
    """TOO_MANY_NAMES where the columns of so many properties would be too large, FIELD_INVALID for what is no name."""
    if len(names) * row_count > limits.USAGE_CELLS_MAX:
        raise Fault(
            ErrorCode.TOO_MANY_NAMES,
            f"{len(names)} distinct properties over {row_count} rows of usage; one times the other may be "
            f"{limits.USAGE_CELLS_MAX}: split it by product.",
            {"cells_max": str(limits.USAGE_CELLS_MAX)},
        )
    for name in names:
        check_name(name, "properties")


class _Faults:
    """Faults of rows, as many as are named."""

    def __init__(self) -> None:
        self.found: list[CatalogFault] = []
        self.count = 0

    def add(self, path: str, message: str) -> None:
        self.count += 1
        if len(self.found) < FAULTS_MAX:
            self.found.append(CatalogFault(path, message))

    def refuse(self) -> None:
        """Raises where there are any."""
        if self.count:
            raise usage_invalid(self.found, self.count)


def _from_rows(usage: wire.UsageRows, go_on: GoOn) -> UsageFrame:
    rows = usage.rows
    check_row_count(len(rows))
    check_properties({name for row in rows for name in row.properties}, len(rows))
    faults = _Faults()
    days, times_us = np.zeros(len(rows), dtype=np.int32), np.zeros(len(rows), dtype=np.int64)
    time_given = np.zeros(len(rows), dtype=np.bool_)
    quantities = [0] * len(rows)
    contracts: dict[str, int] = {}
    products: dict[str, int] = {}
    codes = np.zeros((2, len(rows)), dtype=np.int32)
    properties: dict[str, dict[str, int]] = {}
    property_codes: dict[str, NDArray[np.int32]] = {}
    for number, row in enumerate(asking(rows, go_on)):
        codes[0, number] = contracts.setdefault(row.contract_id, len(contracts))
        codes[1, number] = products.setdefault(row.product_id, len(products))
        try:
            quantities[number] = parse_decimal(row.quantity)
        except DecimalFault as fault:
            faults.add(f"rows[{number}].quantity", f"{row.quantity[:40]!r}: {fault.code.name}")
        if row.HasField("time"):
            time_given[number] = True
            try:
                times_us[number] = instant_us(row.time, f"rows[{number}].time")
            except Fault as fault:
                faults.add(*fault.message.split(": ", 1))
        else:
            try:
                day = parse_date(row.date).toordinal() - _EPOCH_ORDINAL
                if not _FIRST_DAY <= day <= _LAST_DAY:
                    faults.add(f"rows[{number}].date", f"{row.date} is not from {DATE_MIN} to {DATE_MAX}")
                days[number] = day
            except ValueError as error:
                faults.add(f"rows[{number}].date", str(error))
        for name, text in row.properties.items():
            if name not in properties:
                properties[name] = {}
                property_codes[name] = np.full(len(rows), -1, dtype=np.int32)
            property_codes[name][number] = properties[name].setdefault(text, len(properties[name]))
    faults.refuse()
    return UsageFrame(
        tuple(contracts),
        codes[0],
        tuple(products),
        codes[1],
        days,
        times_us,
        time_given,
        limb_array(quantities, 2),
        tuple(UsageProperty(name, property_codes[name], tuple(texts)) for name, texts in properties.items()),
    )


def _check_schema(schema: pa.Schema) -> None:
    known = (*TEXT_COLUMNS, QUANTITY_COLUMN, DATE_COLUMN, TIME_COLUMN)
    for each in schema:
        name, kind = each.name, each.type
        if name == QUANTITY_COLUMN:
            mend = number_mend(kind, QUANTITY_SCALE)
        elif name == DATE_COLUMN:
            mend = "" if pa.types.is_date32(kind) else "cast it to date32"
        elif name == TIME_COLUMN:
            mend = time_mend(kind)
        elif name in TEXT_COLUMNS or name.startswith(PROPERTY_PREFIX):
            mend = text_mend(kind)
        else:
            shown = ", ".join((*known, "property:<reference>"))
            column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, name, f"not of the schema; its columns are {shown}")
        if mend and not (pa.types.is_null(kind) and name in (DATE_COLUMN, TIME_COLUMN)):
            column_fault(ErrorCode.ARROW_COLUMN_TYPE, name, f"{kind}; {mend}")
    for name in (*TEXT_COLUMNS, QUANTITY_COLUMN):
        if name not in schema.names:
            column_fault(ErrorCode.ARROW_COLUMN_MISSING, name, "missing")
    if not {DATE_COLUMN, TIME_COLUMN} & set(schema.names):
        column_fault(ErrorCode.ARROW_COLUMN_MISSING, DATE_COLUMN, "missing; give date or time")


def _from_table(table: pa.Table, go_on: GoOn) -> UsageFrame:
    faults = _Faults()
    columns = {name: array_of(table.column(name)) for name in table.column_names}
    properties = [name for name in columns if name.startswith(PROPERTY_PREFIX)]
    check_properties([name.removeprefix(PROPERTY_PREFIX) for name in properties], table.num_rows)
    for name in (*TEXT_COLUMNS, *properties):
        if pa.types.is_dictionary(columns[name].type) and not _is_distinct(columns[name].dictionary):
            columns[name] = columns[name].cast(pa.string())
    for name in (*TEXT_COLUMNS, QUANTITY_COLUMN):
        if columns[name].null_count:
            row = int(np.flatnonzero(~present(columns[name]))[0])
            faults.add(name, f"{columns[name].null_count} rows have none, the first is row {row}, counted from 0")
    count = table.num_rows
    dates, times = columns.get(DATE_COLUMN), columns.get(TIME_COLUMN)
    days, dated = _integers(dates, np.int32, count)
    times_us, timed = _integers(times, np.int64, count)
    undated = ~dated & ~timed
    if undated.any():
        first = f"the first is row {_at(undated)}, counted from 0"
        faults.add(DATE_COLUMN, f"{int(undated.sum())} rows have no date and no time, {first}")
    outside = dated & ~timed & ((days < _FIRST_DAY) | (days > _LAST_DAY))
    if outside.any():
        faults.add(DATE_COLUMN, f"row {_at(outside)} is not from {DATE_MIN} to {DATE_MAX}")
    outside = timed & ((times_us < TIME_MIN_US) | (times_us >= TIME_END_US))
    if outside.any():
        faults.add(TIME_COLUMN, f"row {_at(outside)} is no instant from 1900-01-01 to 2999-12-31")
    quantities = np.zeros((count, 2), dtype=np.uint64)
    go_on()
    try:
        narrow = columns[QUANTITY_COLUMN].cast(_WIDEST).cast(_QUANTITY)
        quantities = fixed_width(narrow, np.uint64, 2).reshape(-1, 2)
    except pa.ArrowInvalid:
        row = _first_too_large(columns[QUANTITY_COLUMN])
        faults.add(QUANTITY_COLUMN, f"row {row}, counted from 0, is not below 10^{WHOLE_DIGITS} in size")
    faults.refuse()
    go_on()
    contract_codes, contracts = _coded(columns["contract_id"])
    go_on()
    product_codes, products = _coded(columns["product_id"])
    return UsageFrame(
        contracts,
        contract_codes,
        products,
        product_codes,
        days,
        times_us,
        timed,
        np.ascontiguousarray(quantities),
        tuple(_properties(columns, properties, go_on)),
    )


def _is_distinct(texts: pa.Array) -> bool:
    """Whether a dictionary says nothing twice, and holds no nulls of its own, which its column does not count."""
    return not texts.null_count and pc.count_distinct(texts).as_py() == len(texts)


def _properties(columns: dict[str, pa.Array], names: Sequence[str], go_on: GoOn) -> Iterator[UsageProperty]:
    for name in names:
        go_on()
        yield UsageProperty(name.removeprefix(PROPERTY_PREFIX), *_coded(columns[name]))


def _first_too_large(quantities: pa.Array) -> int:
    """The first row that is not below the limit; there is one."""
    limit = 10**WHOLE_DIGITS
    return next(row for row, each in enumerate(quantities) if each.is_valid and abs(each.as_py()) >= limit)


def _at(rows: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(rows)[0])


def _integers(array: pa.Array | None, dtype: Any, count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values and which there are; those that are not are 0."""
    if array is None or pa.types.is_null(array.type):
        return np.zeros(count, dtype=dtype), np.zeros(count, dtype=np.bool_)
    given = present(array)
    return np.where(given, fixed_width(array, dtype), dtype(0)), given


def _coded(array: pa.Array) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Code of each row, -1 where it has no text, and the distinct texts.

    The column is utf8, or a dictionary of it that is distinct.
    """
    encoded = pc.dictionary_encode(array)
    codes = encoded.indices.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(codes), tuple(encoded.dictionary.to_pylist())
