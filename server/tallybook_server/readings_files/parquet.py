"""Parquet: a row a reading, with the columns of CSV (docs/readings.md); values are integers, decimals or texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from tallybook_engine.decimals import DecimalFaultCode
from tallybook_engine.determinants.readings import MAX_DECIMAL_PLACES
from tallybook_server.readings_files.csv import coded
from tallybook_server.readings_files.model import Format, ReadFile, ReadOptions, Source
from tallybook_server.readings_files.moments import Moments
from tallybook_server.readings_files.numbers import Numbers, parse_texts
from tallybook_server.readings_files.table import TEXTS, TIMES, Table, column_names, read_table

_WORDS_A_DECIMAL = 2
_MAGNITUDE_LIMIT = 10**18


def read(source: Source, options: ReadOptions) -> ReadFile:
    """Every channel. A report's line is the row, from 1 on. Raises ReadingsFileFault."""
    try:
        file = pa.parquet.ParquetFile(pa.BufferReader(source.content))
        names = file.schema_arrow.names
        found = column_names(source, names, options)
        frame = file.read(columns=[names[index] for index in found.values()], use_threads=False)
        # Damaged bytes may decode all the same, to indices and texts that are none.
        frame.validate(full=True)
    except (pa.ArrowException, OSError) as cause:
        raise source.fault(None, f"not Parquet: {str(cause).splitlines()[0]}", "fetch it again") from None
    columns = {ours: frame.column(names[index]).combine_chunks() for ours, index in found.items()}
    time_column = next(name for name in TIMES if name in columns)
    times, values = columns[time_column], columns["value"]
    moments = _moments(source, times)
    table = Table(
        time_column,
        moments,
        lambda row: str(np.datetime64(int(moments.times_us[row]), "us")) if times[row].is_valid else "",
        _numbers(source, values),
        lambda row: str(values[row].as_py()),
        {name: coded(_texts(source, name, columns[name])) for name in TEXTS if name in columns},
        np.arange(1, frame.num_rows + 1, dtype=np.int64),
    )
    return read_table(source, Format.PARQUET, table, options)


def _moments(source: Source, column: pa.Array) -> Moments:
    if not pa.types.is_timestamp(column.type):
        raise source.fault(None, f"a column of times of type {column.type}", "cast it to timestamp[us, UTC]")
    try:
        exact = column.cast(pa.timestamp("us", column.type.tz))
    except pa.ArrowInvalid:
        raise source.fault(None, "times finer than a microsecond", "round them where they are made") from None
    missing = column.is_null().to_numpy(zero_copy_only=False)
    times = pc.fill_null(exact.view(pa.int64()), 0).to_numpy(zero_copy_only=False).copy()
    return Moments(times, np.full(len(times), column.type.tz is None), missing)


def _numbers(source: Source, column: pa.Array) -> Numbers:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    faults = np.where(missing, np.uint8(DecimalFaultCode.EMPTY), np.uint8(0))
    if pa.types.is_floating(column.type):
        mend = "cast it where it is made, as decimal128(18, 3): the decimals that the meter has"
        raise source.fault(None, f"values of type {column.type}, which are not exact", mend)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return parse_texts(pc.fill_null(column, "").to_pylist())
    if pa.types.is_integer(column.type):
        try:
            wide = pc.fill_null(column, 0).cast(pa.int64())
        except pa.ArrowInvalid:
            raise source.fault(None, "values beyond 64 bits", "cast them to int64 or decimal128") from None
        return _limited(wide.to_numpy(zero_copy_only=False), 0, faults)
    if not pa.types.is_decimal(column.type) or not 0 <= column.type.scale <= MAX_DECIMAL_PLACES:
        what = f"values of type {column.type}"
        raise source.fault(None, what, f"cast them to int64, or decimal128 of scale 0 to {MAX_DECIMAL_PLACES}")
    scale = column.type.scale
    try:
        exact = column.cast(pa.decimal128(38, scale))
    except pa.ArrowInvalid:
        raise source.fault(None, "values beyond 38 digits", "cast them to decimal128(18, 3)") from None
    words = np.frombuffer(exact.buffers()[1], dtype=np.int64).reshape(-1, _WORDS_A_DECIMAL)
    words = words[exact.offset : exact.offset + len(exact)]
    low = np.where(missing, 0, words[:, 0])
    # One that fits into the low word has a high word of its sign only.
    beyond = ~missing & (words[:, 1] != low >> 63)
    faults[beyond] = DecimalFaultCode.OUT_OF_RANGE
    return _limited(np.where(beyond, 0, low), scale, faults)


def _limited(mantissas: NDArray[np.int64], scale: int, faults: NDArray[np.uint8]) -> Numbers:
    beyond = (mantissas >= _MAGNITUDE_LIMIT) | (mantissas <= -_MAGNITUDE_LIMIT)
    faults[beyond & (faults == 0)] = DecimalFaultCode.OUT_OF_RANGE
    return Numbers(np.where(beyond, 0, mantissas), np.full(len(mantissas), scale, dtype=np.uint8), faults)


def _texts(source: Source, name: str, column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise source.fault(None, f"a column {name} of type {column.type}", "cast it to text") from None
