"""What the demo is made of: tier crossings, and a picture that can be drawn of any data."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image

from tallybook_cli.picture import AirlineCost, _spread, draw
from tallybook_cli.tier_crossings import crossings


@pytest.mark.parametrize(
    ("quantities", "period", "threshold", "rows"),
    [
        # The bound belongs to the lower tier: 10 is not above 10.
        ([4, 6, 1], [0, 0, 0], 10, [2]),
        ([4, 6, 1], [0, 0, 0], 9, [1]),
        ([11], [0], 10, [0]),
        # Each period counts from 0.
        ([8, 8, 8, 8], [1, 1, 2, 2], 10, [1, 3]),
        # An absent quantity adds nothing, and a row of 0 crosses nothing.
        ([None, 11, None, 0, 5], [3] * 5, 10, [1]),
        ([1, 2], [0, 0], 10, []),
        ([], [], 10, []),
    ],
)
def test_a_crossing_is_the_row_that_passes_the_bound(quantities, period, threshold, rows):
    found = crossings(pl.Series(quantities, dtype=pl.Int32), np.array(period, dtype=np.int64), threshold)
    assert found.tolist() == rows


@given(st.lists(st.floats(0, 40), min_size=1, max_size=16), st.floats(0.1, 3))
def test_labels_never_overlap_and_stay_in_order(ends, gap):
    heights = sorted(ends, reverse=True)
    spread = _spread(heights, gap)
    assert len(spread) == len(heights)
    for upper, lower in pairwise(spread):
        assert upper - lower >= gap * (1 - 1e-9)


def test_labels_that_do_not_overlap_stay_where_they_are():
    assert _spread([30.0, 20.0, 10.0], 2.0) == [30.0, 20.0, 10.0]
    assert _spread([30.0, 10.5, 9.5], 2.0) == [30.0, 11.0, 9.0]


@pytest.mark.parametrize("crossing", [[], [2]])
def test_a_picture_can_be_drawn_with_and_without_crossings(tmp_path, crossing):
    # Given a few events of more airlines than there are colours
    times = np.array(["2013-01-01", "2013-01-02", "2013-02-01", "2013-12-30"], dtype="datetime64[us]")
    airlines = [
        AirlineCost(
            f"A{index}",
            f"Airline {index} Inc.",
            times,
            np.array([1_000_000, 2_000_000, -500_000, 700_000]) * (index + 1),
            np.array(crossing, dtype=np.int64),
            np.array([1], dtype=np.int64),
        )
        for index in range(14)
    ]

    # When they are drawn
    file = tmp_path / "picture.png"
    draw(airlines, 56, file)

    # Then there is a picture, and it is not blank
    pixels = image.imread(file)
    assert pixels.shape[:2] == (1300, 1690)
    assert pixels.std() > 0.05
