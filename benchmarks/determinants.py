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
- polars: a group-by for each month's sum and maximum, over a frame that already knows the month; no slices, no first
  row

Not timed: making the readings, compilation. The hash covers everything that was answered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
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
    meter_count, interval_count = matrix.values.shape
    months = np.repeat(np.arange(12), np.diff(period_frame(ZONE, START_US, END_US).cell_bounds) // QUARTER_US)
    frame = pl.DataFrame(
        {
            "meter": np.repeat(np.arange(meter_count), interval_count),
            "month": np.tile(months, meter_count),
            "value": matrix.values.reshape(-1),
        }
    )
    with ThreadPoolExecutor(THREADS) as executor:
        cases = _cases(matrix, frame, executor)
        runs: dict[str, list[Figures]] = {name: [] for name in cases}
        for run in range(RUNS[size] + 1):
            for name, work in cases.items():
                begun = time.perf_counter()
                answers = work()
                seconds = time.perf_counter() - begun
                if run:  # The first one compiles, or loads what was compiled.
                    rate = meter_count * interval_count / seconds
                    digest = hash_of(*(_bytes_of(answer) for answer in answers))
                    runs[name].append({"case": name, "intervals_per_second": rate, "hash": digest})
    lines = [median(each) for each in runs.values()]
    for line in lines:
        line["of_limit"] = significant(line["intervals_per_second"] / lines[0]["intervals_per_second"])
    return lines


def _cases(
    matrix: MeterMatrix, frame: pl.DataFrame, executor: ThreadPoolExecutor
) -> dict[str, Callable[[], list[Answer]]]:
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

    def polars() -> list[Answer]:
        grouped = frame.group_by("meter", "month").agg(
            pl.col("value").sum().alias("sum"), pl.col("value").max().alias("max")
        )
        return [np.sort(grouped[name].to_numpy()) for name in ("sum", "max")]

    return {"limit": limit, "pmax": pmax, "rule": rule, "results": results, "polars": polars}


def _bytes_of(answer: Answer) -> bytes:
    return answer.tobytes() if isinstance(answer, np.ndarray) else repr(answer).encode()


def main() -> None:
    """Prints the figures."""
    run_command("determinants", __doc__ or "", measure)


if __name__ == "__main__":
    main()
