"""Where an accumulated quantity passes a tier's bound."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


def crossings(quantities: pl.Series, period: NDArray[np.int64], threshold: int) -> NDArray[np.int64]:
    """Rows at which the quantity accumulated within a period comes to be above the threshold.

    `quantities` [n] are whole numbers from 0, an absent one adds nothing; `period` [n] numbers the period of each row
    and never falls.
    """
    added = quantities.fill_null(0).cast(pl.Int64).to_numpy()
    total = np.cumsum(added)
    first_rows = np.flatnonzero(np.diff(period, prepend=period[:1] - 1))
    before_period = np.repeat(total[first_rows] - added[first_rows], np.diff(first_rows, append=len(added)))
    accumulated = total - before_period
    return np.flatnonzero((accumulated > threshold) & (accumulated - added <= threshold))
