"""Revenue share: a percentage of what other charges come to in a billing period, of their rounded lines, rounded once.

A share may be of other shares of its level; no chain of them leads back to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallybook_engine.catalog.model import RevenueShare
from tallybook_engine.decimals import UNIT, ratio


def share_of(amounts: Iterable[int], rate: int) -> int:
    """The share of rounded lines; minor units, the rate of scale 12."""
    return ratio(sum(amounts) * rate, UNIT)


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
