"""What a user would pick for the same determinants: pandas, DuckDB, Polars; and SAM's own engine for its tariffs.

Each takes a table of (meter, end of the interval in UTC, value, quality) and answers, of each meter and local month:
the sums of the slices, of UNCOVERED and of all, the maximum, the end of its first interval, and the worst quality. What
they answer is compared bit for bit. Packages that are not installed are `None`: they come with the extra `bench`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Columns = NDArray[np.int64]
"""int64[meters * 12, 10] in order of meter and month: sums of the slices in their order, of UNCOVERED and of all, the
maximum, the end of its first interval in microseconds, the worst quality."""

SLICES = ("PEAK", "OFF_PEAK", "SUMMER_EVENING", "WINTER_EVENING", "NIGHT", "UNCOVERED")
_ANSWER = (*SLICES, "total", "maximum", "first_end", "quality")


def installed(package: str) -> Any | None:
    """The package, or None."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        return None


def by_polars(frame: pl.DataFrame, zone: str, holidays: Sequence[date]) -> Columns:
    """One group-by over expressions of local time."""
    local = (pl.col("end") - pl.duration(minutes=15)).dt.convert_time_zone(zone)
    minute = local.dt.hour().cast(pl.Int32) * 60 + local.dt.minute()
    day = frame.lazy().with_columns(
        local.dt.month().alias("month"),
        minute.alias("minute"),
        local.dt.date().is_in(list(holidays)).alias("holiday"),
        (local.dt.weekday() > 5).alias("weekend"),
        (local.dt.dst_offset() > pl.duration()).alias("dst"),
    )
    at, weekday, value = pl.col("minute"), ~pl.col("holiday") & ~pl.col("weekend"), pl.col("value")
    evening = weekday & (at >= 960) & (at < 1_260)
    peak = weekday & (at >= 420) & (at < 1_380)
    off_peak = (weekday & ~peak) | (pl.col("weekend") & ~pl.col("holiday"))
    night = at < 360
    rules = (peak, off_peak, evening & pl.col("dst"), evening & ~pl.col("dst"), night, ~(peak | off_peak | night))
    grouped = day.group_by("meter", "month").agg(
        *(value.filter(rule).sum().alias(name) for name, rule in zip(SLICES, rules, strict=True)),
        value.sum().alias("total"),
        value.max().alias("maximum"),
        pl.col("end").get(value.arg_max()).dt.epoch("us").alias("first_end"),
        pl.col("quality").max().alias("quality"),
    )
    found = grouped.sort("meter", "month").select(_ANSWER).collect()
    return np.ascontiguousarray(found.cast(pl.Int64).to_numpy())


def by_duckdb(duckdb: Any, zone: str, holidays: Sequence[date], threads: int) -> Callable[[pl.DataFrame], Columns]:
    """One query."""
    dates = ", ".join(f"DATE '{day}'" for day in holidays)
    rules = {
        "PEAK": "workday AND minute >= 420 AND minute < 1380",
        "OFF_PEAK": "(workday AND (minute < 420 OR minute >= 1380)) OR (weekend AND NOT holiday)",
        "SUMMER_EVENING": "workday AND minute >= 960 AND minute < 1260 AND dst",
        "WINTER_EVENING": "workday AND minute >= 960 AND minute < 1260 AND NOT dst",
        "NIGHT": "minute < 360",
        "UNCOVERED": "holiday AND minute >= 360",
    }
    sums = ", ".join(
        f"CAST(coalesce(sum(value) FILTER ({rule}), 0) AS BIGINT) AS {name}" for name, rule in rules.items()
    )
    query = f"""
        WITH local AS (
            SELECT *, timezone('{zone}', "end" - INTERVAL 15 MINUTE) AS t FROM frame
        ), judged AS (
            SELECT meter, value, "end", quality, month(t) AS month, hour(t) * 60 + minute(t) AS minute,
                CAST(t AS DATE) IN ({dates}) AS holiday, isodow(t) > 5 AS weekend,
                epoch(t) - epoch("end") > 3600 AS dst
            FROM local
        ), days AS (SELECT *, NOT holiday AND NOT weekend AS workday FROM judged)
        SELECT {sums}, CAST(sum(value) AS BIGINT) AS total, max(value) AS maximum,
            epoch_us(arg_max("end", ROW(value, -epoch_us("end")))) AS first_end, max(quality) AS quality
        FROM days GROUP BY meter, month ORDER BY meter, month
    """

    def asked(frame: pl.DataFrame) -> Columns:
        with duckdb.connect() as connection:
            connection.execute(f"SET threads = {threads}; SET TimeZone = 'UTC'")
            connection.register("frame", frame.to_arrow())
            found = connection.execute(query).fetchnumpy()
        return np.column_stack([np.asarray(found[name], dtype=np.int64) for name in _ANSWER])

    return asked


def by_pandas(pandas: Any, zone: str, holidays: Sequence[date]) -> Callable[[Any], Columns]:
    """As the rule's text reads: local time, day type, a mask a slice, a sum a mask, the row of the maximum."""

    def asked(table: Any) -> Columns:
        local = (table["end"] - pandas.Timedelta(minutes=15)).dt.tz_convert(zone)
        minute = local.dt.hour * 60 + local.dt.minute
        holiday = local.dt.normalize().dt.tz_localize(None).isin(pandas.to_datetime(list(holidays)))
        weekend = (local.dt.dayofweek >= 5) & ~holiday
        weekday = ~weekend & ~holiday
        wall = local.dt.tz_localize(None) - local.dt.tz_convert("UTC").dt.tz_localize(None)
        dst = wall > pandas.Timedelta(hours=1)
        peak = weekday & (minute >= 420) & (minute < 1_380)
        off_peak = (weekday & ~peak) | weekend
        evening = weekday & (minute >= 960) & (minute < 1_260)
        night = minute < 360
        rules = (peak, off_peak, evening & dst, evening & ~dst, night, ~(peak | off_peak | night))
        keys = [table["meter"], local.dt.month.rename("month")]
        whole = table["value"].groupby(keys)
        answer = {
            name: table["value"].where(rule, 0).groupby(keys).sum() for name, rule in zip(SLICES, rules, strict=True)
        }
        answer |= {"total": whole.sum(), "maximum": whole.max()}
        rows = whole.idxmax()
        ends = table["end"].loc[rows.to_numpy()].to_numpy(dtype="datetime64[us]").astype(np.int64)
        columns = [answer[name].to_numpy() for name in (*SLICES, "total", "maximum")]
        return np.column_stack([*columns, ends, table["quality"].groupby(keys).max().to_numpy()]).astype(np.int64)

    return asked
