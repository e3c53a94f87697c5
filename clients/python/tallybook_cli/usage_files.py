"""Parquet and CSV files as usage to simulate: text becomes exact numbers, dates and instants here, never floats."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tallybook_cli.errors import CommandError
from tallybook_cli.files import DECIMAL_FITS, check_csv

FAULTS_SHOWN = 20
"""Cells that cannot be read that are named; the others are counted."""

_QUANTITY = pl.Decimal(38, 12)
_EVENT_COUNT = r"^[0-9]{1,15}$"
"""Text of a number of events; how many a row may stand for, the server says."""
_HEADER_LINES = 1


def read_usage(file: Path) -> pl.DataFrame:
    """The columns of a file. CommandError where it is no such file, and where a text is not what its column is of."""
    suffix = file.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise CommandError(f"{file}: usage is a file that ends in .parquet or .csv, and comes before the scenarios")
    try:
        if suffix == ".parquet":
            return _exact(pl.read_parquet(file), file, ": row ", 1)
        return _exact(pl.read_csv(file, infer_schema=False), file, ":", 1 + _HEADER_LINES)
    except (pl.exceptions.PolarsError, OSError) as error:
        if suffix == ".csv":
            check_csv(file)
        raise CommandError(f"{file}: cannot be read: {str(error).partition(chr(10))[0]}") from None


def _exact(frame: pl.DataFrame, file: Path, place: str, first: int) -> pl.DataFrame:
    """Columns of text as what they are of; `first` is the number of the first row behind `place`."""
    if any("\0" in name for name in frame.columns):
        # Such a name ends the whole process in Polars, on its way to Arrow.
        raise CommandError(f"{file}: cannot be read: its header is no text")
    faults: list[tuple[int, str]] = []
    for name, dtype in frame.schema.items():
        if dtype != pl.String:
            continue
        texts = frame[name]
        if name == "quantity":
            sound = pl.when(texts.str.contains(DECIMAL_FITS)).then(texts)
            read = pl.select(sound.cast(_QUANTITY).alias(name)).to_series()
            wanted = "is no number of at most 12 decimals below 10^15, such as 12.5"
        elif name == "event_count":
            read = pl.select(
                pl.when(texts.str.contains(_EVENT_COUNT)).then(texts).cast(pl.Int64).alias(name)
            ).to_series()
            wanted = "is no number of events, such as 12"
        elif name == "date":
            read = texts.str.to_date("%Y-%m-%d", strict=False)
            wanted = "is no date; write 2026-01-31"
        elif name == "time":
            read = pl.Series(name, _instants(texts), pl.Datetime("us", "UTC"))
            wanted = "is no time with a zone; write 2026-01-31T12:00:00Z"
        else:
            continue
        faults += _unread(texts, read, name, wanted)
        frame = frame.with_columns(read)
    if faults:
        named = [f"{file}{place}{first + row}: {words}" for row, words in sorted(faults)[:FAULTS_SHOWN]]
        if len(faults) > len(named):
            named.append(f"and {len(faults) - len(named):,} more")
        raise CommandError("\n  ".join(named))
    return frame


def _unread(texts: pl.Series, read: pl.Series, name: str, wanted: str) -> Iterable[tuple[int, str]]:
    """(row, what is wrong) of each text that became nothing."""
    rows = (texts.is_not_null() & read.is_null()).arg_true().to_list()
    return [(row, f"column {name}: {texts[row]!r} {wanted}") for row in rows]


def _instants(texts: pl.Series) -> list[datetime | None]:
    """ISO 8601 texts as instants; None where one is not, or has no zone."""
    return [None if text is None else _instant(text) for text in texts]


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.astimezone(UTC) if instant.tzinfo else None
