"""Tiers: bands of quantity ``(previous up_to, up_to]``, the last one open.

streamOS writes the same bands as ``[0, 100], [101, 200], ...``; bounds here are decimals, so 100.5 lies in the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.kernels import inlined_kernel
from tallybook_engine.kernels.wide import ONE, ZERO, Limb, Triple, add192, limb_array, lt128, mul128, sub128, umul64

OPEN_END = (1 << 127) - 1
"""`up_to` of an open tier in the tables: no quantity reaches it."""
FEW_TIERS = 4
"""A price has at least so many rows in the tables."""


_FEW = np.uint64(FEW_TIERS)
_TWO = np.uint64(2)


@dataclass(frozen=True, slots=True)
class Tier:
    """A band of quantity and its prices, scale 12."""

    up_to: int | None
    """The last quantity that lies in this tier; None in the last tier, which has no end."""
    unit_price: int = 0
    """Price of one unit."""
    flat_fee: int = 0
    """Due once where the tier is entered (graduated) or reached (volume, stairstep)."""


class TierRow(NamedTuple):
    """A tier as the tables will hold it: a quantity in it costs amount + (quantity - start) x unit price.

    Every model but package prices so; each says in its own file what its tiers mean by it.
    """

    up_to: int
    """`OPEN_END` in the last tier."""
    start: int
    """Where the unit price begins to count."""
    unit_price: int
    amount: int
    """What is due at `start`. Scale 24; the others scale 12."""


TIER_RECORD = np.dtype(
    [("up_to", np.uint64, 2), ("start", np.uint64, 2), ("unit_price", np.uint64, 2), ("amount", np.uint64, 3)],
    align=True,
)
"""A tier in the tables: the limbs of a `TierRow`."""


def filled_up(rows: list[TierRow]) -> list[TierRow]:
    """The rows of one price, at least `FEW_TIERS`: the last, open one stands there again, and is never reached."""
    return rows + [rows[-1]] * (FEW_TIERS - len(rows))


def tier_records(rows: Sequence[TierRow]) -> NDArray[np.void]:
    """Rows as a ``TIER_RECORD[n]`` array."""
    records = np.zeros(len(rows), dtype=TIER_RECORD)
    records["up_to"] = limb_array([row.up_to for row in rows], 2)
    records["start"] = limb_array([row.start for row in rows], 2)
    records["unit_price"] = limb_array([row.unit_price for row in rows], 2)
    records["amount"] = limb_array([row.amount for row in rows], 3)
    return records


def check_tiers(tiers: Sequence[Tier]) -> None:
    """ValueError unless the bounds rise from above 0 and only the last tier is open."""
    bounds = [tier.up_to for tier in tiers]
    if not bounds or bounds[-1] is not None or None in bounds[:-1]:
        raise ValueError("the last tier, and no other, is open")
    closed = [0, *(bound for bound in bounds if bound is not None)]
    if any(upper <= lower for lower, upper in pairwise(closed)):
        raise ValueError("tier bounds do not rise")


def tier_index_at(tiers: Sequence[Tier], quantity: int) -> int:
    """Index of the tier in which a quantity (scale 12, not negative) lies; 0 lies in the first."""
    return next(index for index, tier in enumerate(tiers) if tier.up_to is None or quantity <= tier.up_to)


@inlined_kernel
def _is_above(quantity_lo: Limb, quantity_hi: Limb, tier: np.void) -> Limb:
    """1 where a quantity lies above a tier, 0 elsewhere."""
    up_to = tier["up_to"]
    return np.uint64(lt128(up_to[0], up_to[1], quantity_lo, quantity_hi))


@inlined_kernel
def tier_at(tiers: NDArray[np.void], first: Limb, end: Limb, lo: Limb, hi: Limb) -> Limb:
    """Index, among the tiers [first, end), of the one in which a quantity (not negative) lies; 0 lies in the first."""
    if end - first > _FEW:
        while end - first > ONE:
            middle = (first + end) >> ONE
            if _is_above(lo, hi, tiers[middle - ONE]) != ZERO:
                first = middle
            else:
                end = middle
        return first
    # The tiers below are counted, not searched: a search branches, and half of its branches are guessed wrong.
    below = _is_above(lo, hi, tiers[first]) + _is_above(lo, hi, tiers[first + ONE])
    return first + below + _is_above(lo, hi, tiers[first + _TWO])


@inlined_kernel
def tier_price(tier: np.void, lo: Limb, hi: Limb) -> Triple:
    """Exact price (scale 24) of a quantity that lies in this tier."""
    start, unit_price, amount = tier["start"], tier["unit_price"], tier["amount"]
    slice_lo, slice_hi = sub128(lo, hi, start[0], start[1])
    if (slice_hi | unit_price[1]) == ZERO:
        cost_lo, cost_mid = umul64(slice_lo, unit_price[0])
        return add192(cost_lo, cost_mid, ZERO, amount[0], amount[1], amount[2])
    cost_lo, cost_mid, cost_hi = mul128(slice_lo, slice_hi, unit_price[0], unit_price[1])
    return add192(cost_lo, cost_mid, cost_hi, amount[0], amount[1], amount[2])
