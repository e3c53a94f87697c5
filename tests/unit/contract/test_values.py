"""Rates and amounts of many trees, column by column, are what each is by itself."""

import random

import numpy as np
import pytest

from tallybook_engine.calendar.proration import prorated
from tallybook_engine.contract.tables import NONE
from tallybook_engine.contract.values import ValueRule, ValueRules, amount_columns, values_of
from tallybook_engine.decimals import UNIT

LARGEST = 2**63 - 1
CENT, TENTH_OF_MILL = UNIT // 100, UNIT // 10**4


def alone(rule, amount, unit):
    """A value of one tree; None where it does not fit."""
    if rule.amount == NONE:
        return rule.constant
    value = amount // unit if rule.is_money else amount
    if rule.part is not None:
        value = prorated(value, *rule.part)
    if rule.is_limit:
        return min(value, LARGEST)
    return value if abs(value) <= LARGEST else None


@pytest.mark.parametrize("largest", [10**6, 9 * 10**8, 2**62, LARGEST, 10**19])
def test_values_of_many_trees_are_those_of_each(largest):
    # Given trees with amounts up to some size in minor units, of which some have other currencies
    chance = random.Random(largest)
    units = [chance.choice([CENT, TENTH_OF_MILL]) for _ in range(50)]
    amounts = [
        # A rate, an amount, a limit, which is never below 0, and another amount
        [chance.randint(0, UNIT), *(chance.randint(low, largest) * unit for low in (-largest, 0, -largest))]
        for unit in units
    ]
    amounts[0][1:] = [largest * units[0]] * 3
    days = [(0, 5, 31), (30, 31, 31), (0, 365, 366), (7, 3_000_000, 3_652_059), (3, 3, 10)]
    rules = [
        ValueRule(NONE, constant=-(2**63)),
        ValueRule(0, is_money=False),
        ValueRule(1),
        ValueRule(2, is_limit=True),
        *(ValueRule(at, part=part, is_limit=at == 2) for at, part in zip((1, 2, 3, 2, 1), days, strict=True)),
    ]
    # When their values are found together
    values, fits = values_of(rules, amount_columns(amounts), np.array(units))
    # Then they are what each tree's are, and trees that do not fit are told from the others
    assert values.dtype == np.int64
    for tree, (unit, mine) in enumerate(zip(units, amounts, strict=True)):
        wanted = [alone(rule, mine[rule.amount], unit) for rule in rules]
        assert fits[tree] == (None not in wanted)
        assert [found for found, value in zip(values[tree].tolist(), wanted, strict=True) if value is not None] == [
            value for value in wanted if value is not None
        ]
    assert fits.all() == (largest <= LARGEST)


def test_the_same_value_is_kept_once():
    rules = ValueRules()
    numbers = rules.add(ValueRule(0)), rules.constant(0), rules.add(ValueRule(0)), rules.add(ValueRule(1))
    assert numbers == (0, 1, 0, 2)
    assert rules.rules == (ValueRule(0), ValueRule(NONE, constant=0), ValueRule(1))


def test_a_form_without_amounts_has_no_columns():
    values, fits = values_of([ValueRule(NONE, constant=7)], amount_columns([[], []]), np.array([CENT, CENT]))
    assert (values.tolist(), fits.tolist()) == ([[7], [7]], [True, True])
