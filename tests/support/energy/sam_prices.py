"""NREL SAM's tables of energy and demand prices as graduated prices.

How each tariff becomes graduated prices is stated here, for whoever writes it as a catalogue:

- tiers of kWh a period are graduated as they are;
- tiers of kWh a day hold a month of them, and are shared among the periods by their energy: a period's bound is the
  tier's, times days, times the period's share of the month's energy;
- tiers of kWh per kW hold billing demand times their size; the tiers of kWh that follow the first of them divide it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

OPEN = 10**37
"""Sizes from here on have no end."""
KWH, KWH_PER_KW, KWH_DAILY = 0, 1, 2

Bounds = list[tuple[Fraction | None, Fraction]]
"""(up to, unit price); None is open."""


def rows_by_period(matrix: Sequence[Sequence[float]]) -> dict[str, list[Sequence[float]]]:
    rows = defaultdict(list)
    for row in matrix:
        rows[str(int(row[0]))].append(row)
    return rows


def bounds_of(rows: Sequence[Sequence[float]], days: int, share: Fraction, demand: Fraction | None) -> Bounds:
    """The tiers of one period in one month."""
    bounds: Bounds = []
    first_block: Fraction | None = None
    for row in rows:
        size, unit, unit_price = row[2], int(row[3]), Fraction(str(row[4]))
        if unit == KWH_PER_KW and first_block is None:
            # Its own price is not used: the tiers of kWh that follow divide it.
            assert demand is not None
            first_block = Fraction(str(size)) * demand
            continue
        up_to: Fraction | None = None if size >= OPEN else Fraction(str(size))
        if up_to is None and unit == KWH:
            up_to = first_block
        elif up_to is not None and unit == KWH and first_block is not None:
            up_to = min(up_to, first_block)
        elif up_to is not None and unit == KWH_PER_KW:
            assert demand is not None
            up_to *= demand
        elif up_to is not None and unit == KWH_DAILY:
            up_to *= days * share
        if not bounds or up_to is None or bounds[-1][0] is None or up_to > bounds[-1][0]:
            bounds.append((up_to, unit_price))
    return bounds
