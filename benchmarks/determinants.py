"""Billing determinants from memory: a year of quarter hours of many meters, on all cores.

    python -m benchmarks.determinants            # 1,000 meters, 35 million intervals
    python -m benchmarks.determinants --smoke    # a size for the tests

Values are int64 at scale 3, qualities one byte; one reading in a hundred is estimated, in runs of a few hours. Timed,
the median of the runs, one after the other in turn so that a busy machine hits all alike:

- limit: the integer maximum of the same bytes, values and qualities, on as many threads; what the memory gives
- pmax: each month's maximum of each meter with its first row, how often it occurs, exact sums, and rows by status
- rule: five slices that overlap, UNCOVERED and the total, of each month and of the period, sums, maxima with first
  row, rows by status; the calendar laid out anew in each run
- results: the rule as `calculate_matrix` answers it, a Python object a determinant, of the whole period

Then, of 100 of these meters, what a user would pick for the rule of each month (five slices, UNCOVERED, total, maximum
with its first interval, worst quality), beside ours; all answer the same bits, or the run fails (see `rivals`):

- tallybook: the same readings as above
- polars, duckdb: one group-by, one query, over a table in memory, on as many threads; local time is in them
- pandas: as the rule's text reads, a mask a slice; on one thread, as it is

And SAM's commercial demand tariff on its own load, a year of hours:

- tallybook_bill: `calculate` of energy by period, peaks by demand period, and the charges by month out of them
- pysam: Utilityrate5 of nrel-pysam, which makes a bill with and without a system; its charges are held against ours

Not timed: making the readings and tables, compilation. The hash covers everything that was answered. Rivals come with
the extra `bench`; the line of one that is not installed says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from benchmarks import rivals, sam
from benchmarks.measuring import Figures, Size, hash_of, median, run_command, significant
from numpy.typing import NDArray

from tallybook_engine.calendar.zones import midnight
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Days,
    HolidayCalendar,
    Label,
    TimesliceGroup,
    TimesliceInterval,
)
from tallybook_engine.determinants.interval import period_frame
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.matrix import MeterMatrix, calculate_matrix, matrix_totals, whole_period
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.readings import RegularTimes
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, ChannelRequest
from tallybook_engine.determinants.result import Cancellation, Result
from tallybook_engine.determinants.timeslice import slice_runs
from tallybook_engine.kernels import kernel

Answer = NDArray[Any] | Result | Cancellation

SEED = 20250101
ZONE = "Europe/Amsterdam"
QUARTER_US = 900_000_000
METERS = {Size.SMOKE: 8, Size.FULL: 1_000}
RUNS = {Size.SMOKE: 1, Size.FULL: 9}
RIVALS_METERS = {Size.SMOKE: 2, Size.FULL: 100}
RIVALS_RUNS = {Size.SMOKE: 1, Size.FULL: 3}
THREADS = os.cpu_count() or 1
START_US, END_US = midnight(ZONE, date(2025, 1, 1)), midnight(ZONE, date(2026, 1, 1))
HOLIDAYS = HolidayCalendar(
    "holidays", 1, frozenset(date(2025, 1, 1) + timedelta(days=each) for each in (0, 107, 110, 115, 358, 359))
)
GROUP = TimesliceGroup(
    "rule",
    (
        TimesliceInterval("PEAK", Days.WEEKDAYS, 420, 1_380),
        TimesliceInterval("OFF_PEAK", Days.WEEKDAYS, 1_380, 420),
        TimesliceInterval("OFF_PEAK", Days.WEEKEND, 0, 1_440),
        TimesliceInterval("SUMMER_EVENING", Days.WEEKDAYS, 960, 1_260, is_dst=True),
        TimesliceInterval("WINTER_EVENING", Days.WEEKDAYS, 960, 1_260, is_dst=False),
        TimesliceInterval("NIGHT", Days.DAILY, 0, 360),
    ),
)
CONFIGURATION = BillingConfiguration(
    {"load": ChannelClassifier("load", "kWh", 3, interval_us=QUARTER_US)}, {"rule": GROUP}, HOLIDAYS
)
REQUEST = BillingRequest(
    "",
    START_US,
    END_US,
    ZONE,
    (
        ChannelRequest("load", Kind.INTERVAL),
        ChannelRequest("load", Kind.TIMESLICE, "rule"),
        ChannelRequest("load", Kind.PMAX, as_power=True),
    ),
)


@kernel
def _maximum(
    values: NDArray[np.int64], words: NDArray[np.int64], first: int, last: int, found: NDArray[np.int64]
) -> None:
    for meter in range(first, last):
        largest = np.int64(0)
        for row in range(values.shape[1]):
            largest = max(largest, values[meter, row])
        for word in range(words.shape[1]):
            largest = max(largest, words[meter, word])
        found[meter] = largest


def made(meter_count: int) -> MeterMatrix:
    """The same readings every time."""
    random = np.random.default_rng(SEED)
    count = (END_US - START_US) // QUARTER_US
    values = random.integers(0, 2_000_000, (meter_count, count), dtype=np.int64)
    quality = np.zeros((meter_count, count), dtype=np.uint8)
    estimated = DEFAULT_QUALITY.code("estimated")
    for meter in range(meter_count):
        for first in random.integers(0, count, 22):
            quality[meter, first : first + 16] = estimated
    return MeterMatrix(RegularTimes(START_US + QUARTER_US, QUARTER_US, count), values, quality)


def measure(size: Size) -> list[Figures]:
    """One line a case."""
    matrix = made(METERS[size])
    with ThreadPoolExecutor(THREADS) as executor:
        lines = _turns(_cases(matrix, executor), matrix.values.size, RUNS[size])
        for line in lines:
            line["of_limit"] = significant(line["intervals_per_second"] / lines[0]["intervals_per_second"])
        some = MeterMatrix(matrix.times, matrix.values[: RIVALS_METERS[size]], matrix.quality[: RIVALS_METERS[size]])
        rivals = _turns(_rivals(some, executor), some.values.size, RIVALS_RUNS[size])
    return [
        *lines,
        *_compared(rivals, "intervals_per_second"),
        *_compared(sam.measure(RIVALS_RUNS[size]), "years_per_second"),
    ]


def _turns(cases: Mapping[str, Callable[[], list[Answer]] | None], count: int, run_count: int) -> list[Figures]:
    """The median of each case; they take turns. One without work is not installed."""
    runs: dict[str, list[Figures]] = {name: [] for name in cases}
    for run in range(run_count + 1):
        for name, work in cases.items():
            if work is None:
                continue
            begun = time.perf_counter()
            answers = work()
            seconds = time.perf_counter() - begun
            if run:  # The first one compiles, or loads what was compiled.
                digest = hash_of(*(_bytes_of(answer) for answer in answers))
                runs[name].append({"case": name, "intervals_per_second": count / seconds, "hash": digest})
    nothing = {"intervals_per_second": "not installed", "hash": ""}
    return [median(each) if each else {"case": name, **nothing} for name, each in runs.items()]


def _compared(lines: list[Figures], figure: str) -> list[Figures]:
    """With how many times as fast as each rival the first line is; all have one hash."""
    if len({line["hash"] for line in lines if line["hash"]}) > 1:
        raise ValueError(f"the answers differ: {[(line['case'], line['hash']) for line in lines]}")
    for line in lines:
        rate = line[figure]
        line["times_slower"] = rate if isinstance(rate, str) else significant(lines[0][figure] / rate)
    return lines


def _rivals(matrix: MeterMatrix, executor: ThreadPoolExecutor) -> dict[str, Callable[[], list[Answer]] | None]:
    meter_count, interval_count = matrix.values.shape
    ends = START_US + QUARTER_US * np.arange(1, interval_count + 1)
    table = pl.DataFrame(
        {
            "meter": np.repeat(np.arange(meter_count, dtype=np.int32), interval_count),
            "end": pl.Series(np.tile(ends, meter_count)).cast(pl.Datetime("us", "UTC")),
            "value": matrix.values.reshape(-1),
            "quality": matrix.quality.reshape(-1),
        }
    )
    dates = sorted(HOLIDAYS.dates)

    def tallybook() -> list[Answer]:
        slice_runs.cache_clear()
        period_frame.cache_clear()
        laid_out = period_frame(ZONE, START_US, END_US, GROUP, HOLIDAYS)
        totals = matrix_totals(laid_out, matrix, Label.END, DEFAULT_QUALITY, spread=executor.map)
        names = [*(laid_out.columns.index(name) for name in rivals.SLICES), -1]
        first_ends = START_US + QUARTER_US * (totals.best_row[:, :, -1] + 1)
        status_count = totals.row_count.shape[-1]
        worst = status_count - 1 - np.argmax(totals.row_count[:, :, -1, ::-1] > 0, axis=2)
        last = np.stack([totals.best_value[:, :, -1], first_ends, worst], axis=2)
        answer = np.concatenate([totals.sum_low[:, :, names].view(np.int64), last], axis=2)
        return [np.ascontiguousarray(answer.reshape(-1, answer.shape[2]))]

    pandas, duckdb = rivals.installed("pandas"), rivals.installed("duckdb")
    cases: dict[str, Callable[[], list[Answer]] | None] = {
        "tallybook": tallybook,
        "polars": lambda: [rivals.by_polars(table, ZONE, dates)],
        "duckdb": None,
        "pandas": None,
    }
    if duckdb is not None:
        query = rivals.by_duckdb(duckdb, ZONE, dates, THREADS)
        cases["duckdb"] = lambda: [query(table)]
    if pandas is not None:
        rule, frame = rivals.by_pandas(pandas, ZONE, dates), pandas.DataFrame(table.to_dict(as_series=False))
        cases["pandas"] = lambda: [rule(frame)]
    return cases


def _cases(matrix: MeterMatrix, executor: ThreadPoolExecutor) -> dict[str, Callable[[], list[Answer]] | None]:
    meter_count = len(matrix.values)
    words = matrix.quality.view(np.int64)
    edges = np.linspace(0, meter_count, THREADS + 1).astype(int).tolist()
    plain = period_frame(ZONE, START_US, END_US)

    def limit() -> list[Answer]:
        found = np.zeros(meter_count, np.int64)
        for _ in executor.map(
            lambda at: _maximum(matrix.values, words, edges[at], edges[at + 1], found), range(THREADS)
        ):
            pass
        return [found]

    def pmax() -> list[Answer]:
        return list(matrix_totals(plain, matrix, Label.END, DEFAULT_QUALITY, spread=executor.map))

    def rule() -> list[Answer]:
        slice_runs.cache_clear()
        period_frame.cache_clear()
        laid_out = period_frame(ZONE, START_US, END_US, GROUP, HOLIDAYS)
        totals = matrix_totals(laid_out, matrix, Label.END, DEFAULT_QUALITY, spread=executor.map)
        return [*totals, *whole_period(totals)]

    def results() -> list[Answer]:
        names = [str(meter) for meter in range(meter_count)]
        answers = calculate_matrix(REQUEST, names, {"load": matrix}, CONFIGURATION, spread=executor.map)
        return list(answers)

    return {"limit": limit, "pmax": pmax, "rule": rule, "results": results}


def _bytes_of(answer: Answer) -> bytes:
    return answer.tobytes() if isinstance(answer, np.ndarray) else repr(answer).encode()


def main() -> None:
    """Prints the figures."""
    run_command("determinants", __doc__ or "", measure)


if __name__ == "__main__":
    main()
