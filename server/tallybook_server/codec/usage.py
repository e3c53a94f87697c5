"""Usage to simulate, rows or one Arrow stream of the schema `usage` (docs/arrow.md), as the engine's columns."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from decimal import Decimal
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
from tallybook_engine.simulation.references import References, Repeated
from tallybook_engine.simulation.usage import FAULTS_MAX, Flaws, UsageFault, UsageFrame, UsageProperty
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
REFERENCE_COLUMN = "reference"
EVENT_COUNT_COLUMN = "event_count"
PROPERTY_PREFIX = "property:"
EVENT_COUNT_MAX = 10**WHOLE_DIGITS - 1
"""Events that a row may stand for: the largest whole quantity."""

_NUMBER = f"write a number of at most {QUANTITY_SCALE} decimals below 10^{WHOLE_DIGITS}, such as 12.5"
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_FIRST_DAY = DATE_MIN.toordinal() - _EPOCH_ORDINAL
_LAST_DAY = DATE_MAX.toordinal() - _EPOCH_ORDINAL
_QUANTITY = pa.decimal128(WHOLE_DIGITS + QUANTITY_SCALE, QUANTITY_SCALE)
_WIDEST = pa.decimal128(38, QUANTITY_SCALE)
_ANY_NUMBER = pa.decimal256(76, QUANTITY_SCALE)
_TOO_LARGE, _TOO_SMALL = (pa.scalar(Decimal(sign * 10**WHOLE_DIGITS), _ANY_NUMBER) for sign in (1, -1))


def read_usage(request: wire.RunSimulationRequest, go_on: GoOn = unasked) -> UsageFrame:
    """The usage that a request brings, with the flaws that it has in itself."""
    match request.WhichOneof("usage"):
        case "rows":
            return _from_rows(request.rows, go_on)
        case "arrow":
            return read_usage_stream(request.arrow, new_references(), go_on)
    raise field_invalid("usage", "give rows, arrow, recorded, determinants or usage_frame_id")


def read_usage_stream(stream: bytes, references: References, go_on: GoOn = unasked) -> UsageFrame:
    """One Arrow stream of several, whose `references` follow one another; with the flaws that it has in itself."""
    go_on()
    return _from_table(read_table(stream, _check_schema, check_row_count), references, go_on)


def new_references() -> References:
    """Of no rows yet, under a secret of their own, so that nobody can choose references that collide."""
    return References(secrets.token_bytes(16))


def usage_invalid(usage_faults: Sequence[UsageFault], fault_count: int) -> Fault:
    """USAGE_INVALID with every fault, or the first ones and how many more there are."""
    faults = [CatalogFault(each.field, each.message) for each in usage_faults]
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


class _Flaws:
    """What is wrong with n rows in themselves; as many faults as are named."""

    def __init__(self, row_count: int) -> None:
        self._named: list[UsageFault] = []
        self._count = 0
        self.is_undated = np.zeros(row_count, dtype=np.bool_)
        """[n] rows whose date and time cannot be read."""

    def add(self, path: str, message: str) -> None:
        """One more fault."""
        self._count += 1
        if len(self._named) < FAULTS_MAX:
            self._named.append(UsageFault(path, message))

    def add_rows(self, column: str, rows: NDArray[np.bool_], words: str) -> None:
        """One fault for all of some rows of a column, where there are any."""
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            self.add(column, f"{int(rows.sum())} rows {words}, the first is row {first}, counted from 0")

    def add_repeated(self, repeated: Repeated, fault_of: Callable[[int, int], tuple[str, str]]) -> None:
        """One fault for each repeated reference; `fault_of` a row and the one that has it already is path and words."""
        for row, earlier in zip(*(each[:FAULTS_MAX].tolist() for each in repeated), strict=True):
            path, words = fault_of(row, earlier)
            self.add(path, f"{words}: a reference names one row of a product contract, leave one of them out")
        self._count += max(len(repeated.rows) - FAULTS_MAX, 0)

    def found(self) -> Flaws | None:
        """All of them."""
        return Flaws(tuple(self._named), self._count, self.is_undated) if self._count else None


def _from_rows(usage: wire.UsageRows, go_on: GoOn) -> UsageFrame:
    rows = usage.rows
    check_row_count(len(rows))
    check_properties({name for row in rows for name in row.properties}, len(rows))
    flaws = _Flaws(len(rows))
    days, times_us = np.zeros(len(rows), dtype=np.int32), np.zeros(len(rows), dtype=np.int64)
    time_given = np.zeros(len(rows), dtype=np.bool_)
    quantities = [0] * len(rows)
    event_counts = np.zeros(len(rows), dtype=np.int64)
    references = [""] * len(rows)
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
            flaws.add(f"rows[{number}].quantity", f"{row.quantity[:40]!r} is {fault.code.name}; {_NUMBER}")
        if row.HasField("time"):
            time_given[number] = True
            try:
                times_us[number] = instant_us(row.time, f"rows[{number}].time")
            except Fault as fault:
                flaws.add(*fault.message.split(": ", 1))
                flaws.is_undated[number] = True
        else:
            try:
                days[number] = _day(row.date)
            except ValueError as error:
                flaws.add(f"rows[{number}].date", str(error))
                flaws.is_undated[number] = True
        if row.HasField("event_count"):
            if 1 <= row.event_count <= EVENT_COUNT_MAX:
                event_counts[number] = row.event_count
            else:
                flaws.add(f"rows[{number}].event_count", f"{row.event_count} is not from 1 to {EVENT_COUNT_MAX}")
        references[number] = row.reference
        if len(row.reference.encode()) > limits.NAME_BYTES_MAX:
            flaws.add(f"rows[{number}].reference", f"has at most {limits.NAME_BYTES_MAX} bytes")
        for name, text in row.properties.items():
            if name not in properties:
                properties[name] = {}
                property_codes[name] = np.full(len(rows), -1, dtype=np.int32)
            property_codes[name][number] = properties[name].setdefault(text, len(properties[name]))
    if any(references):

        def fault_of(at: int, earlier: int) -> tuple[str, str]:
            under = f'under "{rows[at].contract_id[:40]}"'
            return f"rows[{at}].reference", f'"{references[at][:40]}" is that of rows[{earlier}] too, {under}'

        texts = pa.array(references, pa.string())
        flaws.add_repeated(new_references().add(tuple(contracts), codes[0], texts, go_on), fault_of)
    return UsageFrame(
        tuple(contracts),
        codes[0],
        tuple(products),
        codes[1],
        days,
        times_us,
        time_given,
        limb_array(quantities, 2),
        tuple(UsageProperty(name, property_codes[name], tuple(found)) for name, found in properties.items()),
        event_counts if event_counts.any() else None,
        flaws=flaws.found(),
    )


def _day(text: str) -> int:
    """Days since 1970-01-01. ValueError for what is no date that contracts may have."""
    day = parse_date(text).toordinal() - _EPOCH_ORDINAL
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise ValueError(f"{text} is not from {DATE_MIN} to {DATE_MAX}")
    return day


def _check_schema(schema: pa.Schema) -> None:
    known = (*TEXT_COLUMNS, QUANTITY_COLUMN, DATE_COLUMN, TIME_COLUMN, REFERENCE_COLUMN, EVENT_COUNT_COLUMN)
    for each in schema:
        name, kind = each.name, each.type
        if name == QUANTITY_COLUMN:
            mend = number_mend(kind, QUANTITY_SCALE)
        elif name == DATE_COLUMN:
            mend = "" if pa.types.is_date32(kind) else "cast it to date32"
        elif name == TIME_COLUMN:
            mend = time_mend(kind)
        elif name == EVENT_COUNT_COLUMN:
            mend = "" if pa.types.is_integer(kind) else "cast it to int64"
        elif name in (*TEXT_COLUMNS, REFERENCE_COLUMN) or name.startswith(PROPERTY_PREFIX):
            mend = text_mend(kind)
        else:
            shown = ", ".join((*known, "property:<reference>"))
            column_fault(ErrorCode.ARROW_COLUMN_UNKNOWN, name, f"not of the schema; its columns are {shown}")
        if mend and not (pa.types.is_null(kind) and name not in (*TEXT_COLUMNS, QUANTITY_COLUMN)):
            column_fault(ErrorCode.ARROW_COLUMN_TYPE, name, f"{kind}; {mend}")
    for name in (*TEXT_COLUMNS, QUANTITY_COLUMN):
        if name not in schema.names:
            column_fault(ErrorCode.ARROW_COLUMN_MISSING, name, "missing")
    if not {DATE_COLUMN, TIME_COLUMN} & set(schema.names):
        column_fault(ErrorCode.ARROW_COLUMN_MISSING, DATE_COLUMN, "missing; give date or time")


def _from_table(table: pa.Table, references: References, go_on: GoOn) -> UsageFrame:
    count = table.num_rows
    flaws = _Flaws(count)
    columns = {name: array_of(table.column(name)) for name in table.column_names}
    properties = [name for name in columns if name.startswith(PROPERTY_PREFIX)]
    check_properties([name.removeprefix(PROPERTY_PREFIX) for name in properties], count)
    for name in (REFERENCE_COLUMN, *properties):
        if name in columns and pa.types.is_null(columns[name].type):
            columns[name] = columns[name].cast(pa.string())
    for name in (*TEXT_COLUMNS, *properties):
        if pa.types.is_dictionary(columns[name].type) and not _is_distinct(columns[name].dictionary):
            columns[name] = _made_distinct(columns[name])
    for name in (*TEXT_COLUMNS, QUANTITY_COLUMN):
        flaws.add_rows(name, ~present(columns[name]), "have none")
    dates, times = columns.get(DATE_COLUMN), columns.get(TIME_COLUMN)
    days, dated = _integers(dates, np.int32, count)
    times_us, timed = _integers(times, np.int64, count)
    undated = ~dated & ~timed
    beyond = dated & ~timed & ((days < _FIRST_DAY) | (days > _LAST_DAY))
    out_of_time = timed & ((times_us < TIME_MIN_US) | (times_us >= TIME_END_US))
    flaws.add_rows(DATE_COLUMN, undated, "have no date and no time")
    flaws.add_rows(DATE_COLUMN, beyond, f"are not from {DATE_MIN} to {DATE_MAX}")
    flaws.add_rows(TIME_COLUMN, out_of_time, "are no instants from 1900-01-01 to 2999-12-31")
    flaws.is_undated |= undated | beyond | out_of_time
    go_on()
    quantities = _quantities(columns[QUANTITY_COLUMN], flaws)
    go_on()
    contract_codes, contracts = _coded(columns["contract_id"])
    go_on()
    product_codes, products = _coded(columns["product_id"])
    event_counts = _event_counts(columns.get(EVENT_COUNT_COLUMN), flaws)
    _judge_references(columns.get(REFERENCE_COLUMN), contracts, contract_codes, references, flaws, go_on)
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
        event_counts,
        flaws=flaws.found(),
    )


def _quantities(column: pa.Array, flaws: _Flaws) -> NDArray[np.uint64]:
    """[n, 2] scale 12; 0 where there is none."""
    try:
        narrow = column.cast(_WIDEST).cast(_QUANTITY)
    except pa.ArrowInvalid:
        wide = column.cast(_ANY_NUMBER)
        fits = pc.and_(pc.less(wide, _TOO_LARGE), pc.greater(wide, _TOO_SMALL))
        too_large = ~fits.fill_null(True).to_numpy(zero_copy_only=False)
        flaws.add_rows(QUANTITY_COLUMN, too_large, f"are not below 10^{WHOLE_DIGITS} in size")
        narrow = pc.if_else(fits, wide, None).cast(_QUANTITY)
    narrow = narrow.fill_null(Decimal(0)) if narrow.null_count else narrow
    return fixed_width(narrow, np.uint64, 2).reshape(-1, 2)


def _event_counts(column: pa.Array | None, flaws: _Flaws) -> NDArray[np.int64] | None:
    """[n] 0 where there is none; None where no row has one."""
    if column is None or column.null_count == len(column):
        return None
    # What is beyond 64 bits becomes negative.
    counts = np.array(column.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False))
    wrong = present(column) & ((counts < 1) | (counts > EVENT_COUNT_MAX))
    flaws.add_rows(EVENT_COUNT_COLUMN, wrong, f"are not from 1 to {EVENT_COUNT_MAX}")
    counts[wrong] = 0
    return counts


def _judge_references(
    column: pa.Array | None,
    contracts: Sequence[str],
    contract_codes: NDArray[np.int32],
    references: References,
    flaws: _Flaws,
    go_on: GoOn,
) -> None:
    """Notes references that are too long, and those that an earlier row of their product contract has."""
    if column is None:
        references.row_count += len(contract_codes)
        return
    texts, too_long = _without_long_texts(column)
    flaws.add_rows(REFERENCE_COLUMN, too_long, f"have more than {limits.NAME_BYTES_MAX} bytes")
    base = references.row_count

    def fault_of(row: int, earlier: int) -> tuple[str, str]:
        there = f"row {earlier - base}" if earlier >= base else f"row {earlier} of all requests together"
        of = f'"{texts[row].as_py()[:40]}" as {there} under "{contracts[contract_codes[row]][:40]}"'
        return REFERENCE_COLUMN, f"row {row}, counted from 0, has {of}"

    flaws.add_repeated(references.add(contracts, contract_codes, texts, go_on), fault_of)


def _without_long_texts(column: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """(a column of names, null where one is too long; [n] where one is)."""
    if pa.types.is_dictionary(column.type):
        names, is_long = _without_long_texts(column.dictionary)
        codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        # The last one is what -1 reads.
        return pa.DictionaryArray.from_arrays(column.indices, names), np.append(is_long, False)[codes]
    is_long = pc.greater(pc.binary_length(column), limits.NAME_BYTES_MAX).fill_null(False)
    return pc.if_else(is_long, None, column), is_long.to_numpy(zero_copy_only=False)


def _is_distinct(texts: pa.Array) -> bool:
    """Whether a dictionary says nothing twice, and holds no nulls of its own, which its column does not count."""
    return not texts.null_count and pc.count_distinct(texts).as_py() == len(texts)


def _made_distinct(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same texts, each once in the dictionary; laid out row by row they could be without bound."""
    encoded = pc.dictionary_encode(column.dictionary)
    return pa.DictionaryArray.from_arrays(pc.take(encoded.indices, column.indices), encoded.dictionary)


def _properties(columns: dict[str, pa.Array], names: Sequence[str], go_on: GoOn) -> Iterator[UsageProperty]:
    for name in names:
        go_on()
        yield UsageProperty(name.removeprefix(PROPERTY_PREFIX), *_coded(columns[name]))


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
