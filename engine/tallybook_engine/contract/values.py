"""The values of contract trees: rates and amounts as settling reads them, column by column over trees of one form.

A **value** is a rate or an amount of a level, in minor units, prorated where it is by days. Which values the trees of a
form have, its places say; what they are, each tree's own amounts (`contract/form`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.contract.tables import NONE

PartDays = tuple[int, int, int]
"""(first day, day behind the last, days of the whole period), see `calendar/proration`."""

_LARGEST = 2**63 - 1


class ValueRule(NamedTuple):
    """What a value is made of."""

    amount: int
    """Which of the tree's amounts; NONE: it is `constant`."""
    is_money: bool = True
    """Whether it is an amount of money, and not a rate."""
    part: PartDays | None = None
    """The part of it that is meant; None: all of it."""
    is_limit: bool = False
    """Whether what is above the largest amount is that: nothing is above that one either."""
    constant: int = 0


class ValueRules:
    """The values of a form, each once."""

    def __init__(self) -> None:
        self._numbers: dict[ValueRule, int] = {}

    def add(self, rule: ValueRule) -> int:
        """The value's number."""
        return self._numbers.setdefault(rule, len(self._numbers))

    def constant(self, value: int) -> int:
        """The number of a value that is the same in all trees."""
        return self.add(ValueRule(NONE, constant=value))

    @property
    def rules(self) -> tuple[ValueRule, ...]:
        """By number."""
        return tuple(self._numbers)


def amount_columns(amounts: Sequence[Sequence[int]]) -> NDArray[Any]:
    """[trees, amounts] amounts of trees of one form; int64, or Python's integers where one does not fit."""
    try:
        return np.array(amounts, dtype=np.int64).reshape(len(amounts), -1)
    except OverflowError:
        return np.array(amounts, dtype=object).reshape(len(amounts), -1)


def values_of(
    rules: Sequence[ValueRule], amounts: NDArray[Any], minor_unit: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """([trees, values], [trees] whether a tree's fit: fees, minimums and credits are below 2^63 minor units).

    `amounts` are [trees, amounts], scale 12, as `minor_unit` [trees] is; the check has refused what is finer.
    """
    values = np.empty((len(amounts), len(rules)), dtype=np.int64)
    fits = np.ones(len(amounts), dtype=np.bool_)
    for number, rule in enumerate(rules):
        if rule.amount == NONE:
            values[:, number] = rule.constant
            continue
        column = amounts[:, rule.amount]
        if rule.is_money:
            column = column // minor_unit
        if rule.part is not None:
            column = _prorated(column, *rule.part)
        if rule.is_limit:
            column = np.minimum(column, _LARGEST)
        else:
            is_within = (np.abs(column) <= _LARGEST).astype(np.bool_)
            fits &= is_within
            column = np.where(is_within, column, 0)
        values[:, number] = column
    return values, fits


def _prorated(amount: NDArray[Any], first_day: int, end_day: int, day_count: int) -> NDArray[Any]:
    """As `calendar/proration.prorated`, of many amounts in minor units.

    Those that are int64 were so at scale 12, so that the days of any calendar times them are.
    """
    return _ratio(amount * end_day, day_count) - _ratio(amount * first_day, day_count)


def _ratio(dividend: NDArray[Any], divisor: int) -> NDArray[Any]:
    """As `decimals.ratio`, of many dividends."""
    nearest = (2 * np.abs(dividend) + divisor) // (2 * divisor)
    return np.where(dividend < 0, -nearest, nearest)
