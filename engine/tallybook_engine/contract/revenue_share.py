"""Revenue share: a percentage of what other charges come to in a billing period, of their rounded lines, rounded once.

A share may be of other shares of its level; no chain of them leads back to itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tallybook_engine.catalog.model import RevenueShare
from tallybook_engine.contract.percentage import percentage_of
from tallybook_engine.kernels import kernel
from tallybook_engine.kernels.wide import Limb, narrow


@kernel
def share_of(lo: Limb, hi: Limb, rate: np.int64) -> tuple[bool, np.int64]:
    """(fits, the share of a sum of rounded lines); minor units, the sum two limbs, the rate of scale 12.

    It fits where the sum and the share are below 2^63.
    """
    fits, amount = narrow(lo, hi)
    if not fits:
        return False, np.int64(0)
    return percentage_of(amount, rate)


def cycle(shares: Sequence[RevenueShare]) -> tuple[str, ...]:
    """Ids along a chain of a level's shares that leads back to its first one, named twice; empty where none does."""
    below = {each.id: [name for name in each.charges if any(name == other.id for other in shares)] for each in shares}
    done: set[str] = set()
    for first in below:
        chain, due = [first], [iter(below[first])]
        while due:
            following = next(due[-1], None)
            if following is None:
                due.pop()
                done.add(chain.pop())
            elif following in chain:
                return (*chain[chain.index(following) :], following)
            elif following not in done:
                chain.append(following)
                due.append(iter(below[following]))
    return ()


def in_order(shares: Sequence[RevenueShare]) -> list[RevenueShare]:
    """A level's shares, each behind those it is of; otherwise as they were. There is no cycle."""
    left, ordered = list(shares), list[RevenueShare]()
    while left:
        waiting = {each.id for each in left}
        ready = [each for each in left if waiting.isdisjoint(each.charges)]
        ordered += ready
        left = [each for each in left if each not in ready]
    return ordered
