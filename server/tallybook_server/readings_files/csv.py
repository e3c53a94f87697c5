"""CSV: a header, then a row a reading (docs/readings.md has the columns)."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from tallybook_server.readings_files.model import Format, ReadFile, ReadOptions, SkipReason, Source
from tallybook_server.readings_files.moments import parse_moments
from tallybook_server.readings_files.numbers import parse_spans
from tallybook_server.readings_files.table import TEXTS, TIMES, Coded, Table, column_names, read_table

_DELIMITERS = ",;\t|"


def read(source: Source, options: ReadOptions) -> ReadFile:
    """Every channel. Raises ReadingsFileFault."""
    _refuse_other_encodings(source)
    header = source.content.split(b"\n", 1)[0].decode().rstrip("\r")
    delimiter = max(_DELIMITERS, key=header.count)
    broken: list[int] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        broken.append(row.number)
        if row.text.strip():
            what = f"{row.actual_columns} columns where the header has {row.expected_columns}"
            source.skip(
                row.number, 1, SkipReason.ROW_MALFORMED, what, "write all of them, texts with a delimiter in quotes"
            )
        return "skip"

    names = [name.strip().strip('"') for name in header.split(delimiter)]
    found = column_names(source, names, options)
    try:
        frame = pa.csv.read_csv(
            io.BytesIO(source.content),
            read_options=pa.csv.ReadOptions(
                use_threads=False,
                column_names=[str(index) for index in range(len(names))],
                skip_rows=1,
                block_size=max(1 << 20, len(source.content) + 1),
            ),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(
                column_types={str(index): pa.string() for index in range(len(names))},
                strings_can_be_null=False,
                include_columns=[str(index) for index in sorted(set(found.values()))],
            ),
        )
    except pa.ArrowInvalid as cause:
        raise source.fault(None, f"not CSV: {str(cause).splitlines()[0]}", "write a header and rows alike") from None
    frame = frame.append_column("line", pa.array(_lines(frame.num_rows, broken)))
    frame = frame.filter(_is_written(frame)).combine_chunks()
    columns = {ours: frame.column(str(index)).combine_chunks() for ours, index in found.items()}
    time_column = next(name for name in TIMES if name in columns)
    times, values = _spans(columns[time_column]), _spans(columns["value"])
    table = Table(
        time_column,
        parse_moments(*times),
        _text_at(*times),
        parse_spans(*values),
        _text_at(*values),
        {name: coded(columns[name]) for name in TEXTS if name in columns},
        frame.column("line").to_numpy(),
    )
    return read_table(source, Format.CSV, table, options)


def _refuse_other_encodings(source: Source) -> None:
    try:
        source.content.decode()
    except UnicodeDecodeError as cause:
        line = source.content.count(b"\n", 0, cause.start) + 1
        raise source.fault(line, "not UTF-8", "write the file in UTF-8") from None


def coded(column: pa.Array) -> Coded:
    """A column of texts by its distinct ones; null is ""."""
    encoded = pc.dictionary_encode(pc.fill_null(column, ""))
    return Coded(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32), tuple(encoded.dictionary.to_pylist()))


def _spans(column: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """(bytes, starts, ends) of a column of texts."""
    _, offsets, data = column.buffers()
    if not len(column):
        return np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    return np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, np.uint8), bounds[:-1], bounds[1:]


def _text_at(data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Callable[[int], str]:
    return lambda row: data[starts[row] : ends[row]].tobytes().decode()


def _is_written(frame: pa.Table) -> pa.ChunkedArray:
    """Which rows are not empty lines, which read as rows of empty texts."""
    written = [pc.not_equal(frame.column(name), "") for name in frame.column_names if name != "line"]
    return functools.reduce(pc.or_, written)


def _lines(row_count: int, broken: list[int]) -> NDArray[np.int64]:
    """Line of each row: those behind the header that are not broken."""
    lines = np.arange(2, row_count + len(broken) + 2, dtype=np.int64)
    return lines[~np.isin(lines, broken)]
