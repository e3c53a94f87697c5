"""The form of a contract tree: all that its settling depends on but names, so that trees of one form are compiled once.

Thousands of customers mostly have the same few contracts. Two trees of one form differ in ids only, of contracts, of
product contracts, fees, shares and credits, and have these in the same places.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from tallybook_engine.catalog.model import Contract
from tallybook_engine.contract.tree import Tree

Form = Hashable
Charge = tuple[str, int, int]
"""(list that it stands in, level, place in the list)."""


def form_of(tree: Tree) -> Form:
    """The form of a tree."""
    shared = any(level.contract.revenue_shares for level in tree.levels)
    charges = _charges(tree) if shared else {}
    levels = [
        (
            level.parent,
            level.frequency,
            level.anchor,
            level.end_date,
            level.contract.start_date,
            level.contract.time_zone,
            _terms(level.contract, charges),
        )
        for level in tree.levels
    ]
    return tree.minor_digits, tree.tax, tuple(levels)


def _terms(contract: Contract, charges: Mapping[str, Charge]) -> Hashable:
    return (
        contract.discount,
        contract.cap,
        contract.minimum,
        contract.prorate,
        tuple(
            (
                *(each.amount, each.timing, each.once, each.frequency, each.start_date, each.end_date, each.prorate),
                # The first term says how long terms are, and a level's own end may be none.
                contract.end_date if each.per_term else None,
            )
            for each in contract.fixed_fees
        ),
        tuple((each.rate, tuple(charges[name] for name in each.charges)) for each in contract.revenue_shares),
        tuple((each.amount, each.start_date, each.end_date) for each in contract.credits),
    )


def _charges(tree: Tree) -> dict[str, Charge]:
    """Where each charge of a tree stands, by its id."""
    found: dict[str, Charge] = {}
    for number, level in enumerate(tree.levels):
        contract = level.contract
        found.update((each.id, ("product contracts", number, at)) for at, each in enumerate(contract.product_contracts))
        found.update((each.id, ("fees", number, at)) for at, each in enumerate(contract.fixed_fees))
        found.update((each.id, ("shares", number, at)) for at, each in enumerate(contract.revenue_shares))
    return found
