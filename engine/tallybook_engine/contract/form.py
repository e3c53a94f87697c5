"""The form of a contract tree: all that its settling depends on but names, rates and amounts, so that trees of one form
are compiled once.

Thousands of customers mostly have the same few contracts, some at amounts of their own. Two trees of one form differ in
ids only, of contracts, of product contracts, fees, shares and credits, and in what their terms come to; they have these
in the same places. Rates and amounts are columns (`contract/values`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from tallybook_engine.catalog.model import Contract, FixedFee, Frequency
from tallybook_engine.contract.tree import Tree

Form = Hashable
Charge = tuple[str, int, int]
"""(list that it stands in, level, place in the list)."""


FormLevel = tuple[Contract, int, Frequency, date]
"""(contract, place of the one above it, how often it is billed, the day that anchors that)."""


def form_of(tree: Tree) -> tuple[Form, list[int]]:
    """(the form of a tree, its rates and amounts, scale 12, level by level as `amounts_of` has them)."""
    form, amounts = form_of_levels([(each.contract, each.parent, each.frequency, each.anchor) for each in tree.levels])
    return (form, tree.tax), amounts


def form_of_levels(levels: Sequence[FormLevel]) -> tuple[Form, list[int]]:
    """The same of a tree's levels, parents before children, whatever it is taxed by."""
    charges: Mapping[str, Charge] = {}
    for contract, *_ in levels:
        if contract.revenue_shares:
            charges = _charges(levels)
            break
    form: list[Hashable] = []
    amounts: list[int] = []
    for contract, parent, frequency, anchor in levels:
        billed = _frequency(frequency), anchor, contract.ends_on, contract.start_date, contract.time_zone
        form.append((parent, billed, _terms(contract, charges)))
        amounts += amounts_of(contract)
    return tuple(form), amounts


def amounts_of(contract: Contract) -> list[int]:
    """What a level has of these, scale 12: the discount's rate and threshold, cap, minimum, fees, rates of shares,
    credits.
    """
    found: list[int] = []
    if contract.discount is not None:
        found += contract.discount.rate, contract.discount.threshold
    if contract.cap is not None:
        found.append(contract.cap)
    if contract.minimum is not None:
        found.append(contract.minimum)
    if contract.fixed_fees:
        found += [each.amount for each in contract.fixed_fees]
    if contract.revenue_shares:
        found += [each.rate for each in contract.revenue_shares]
    if contract.credits:
        found += [each.amount for each in contract.credits]
    return found


class AmountNumbers(NamedTuple):
    """Where a level's are among its tree's; of those that it does not have, where they would be."""

    discount_rate: int
    discount_threshold: int
    cap: int
    minimum: int
    first_fee: int
    first_share: int
    first_credit: int
    end: int


def amount_numbers(contract: Contract, first: int) -> AmountNumbers:
    """Those of a level whose amounts begin at `first`."""
    cap = first + (0 if contract.discount is None else 2)
    minimum = cap + (contract.cap is not None)
    fee = minimum + (contract.minimum is not None)
    share = fee + len(contract.fixed_fees)
    credit = share + len(contract.revenue_shares)
    return AmountNumbers(first, first + 1, cap, minimum, fee, share, credit, credit + len(contract.credits))


def _frequency(frequency: Frequency | None) -> Hashable:
    # There is one object of each basis and unit, which it takes less time to look at than to compare.
    return None if frequency is None else (id(frequency.basis), frequency.interval, id(frequency.unit))


def _terms(contract: Contract, charges: Mapping[str, Charge]) -> Hashable:
    fees, shares, paying = contract.fixed_fees, contract.revenue_shares, contract.credits
    return (
        None if contract.discount is None else id(contract.discount.mode),
        contract.cap is not None,
        contract.minimum is not None,
        contract.prorate,
        # Most levels have none of these, and there are thousands.
        tuple([_fee(contract, each) for each in fees]) if fees else (),
        tuple([tuple([charges[name] for name in each.charges]) for each in shares]) if shares else (),
        tuple([(each.start_date, each.end_date) for each in paying]) if paying else (),
    )


def _fee(contract: Contract, fee: FixedFee) -> Hashable:
    when = id(fee.timing), fee.once, _frequency(fee.frequency), fee.start_date, fee.end_date, fee.prorate, fee.per_term
    # The first term says how long terms are, and a level's own end may be none.
    return (*when, contract.end_date if fee.per_term else None)


def _charges(levels: Sequence[FormLevel]) -> dict[str, Charge]:
    """Where each charge of a tree stands, by its id."""
    found: dict[str, Charge] = {}
    for number, (contract, *_) in enumerate(levels):
        for at, product_contract in enumerate(contract.product_contracts):
            found[product_contract.id] = "product contracts", number, at
        for at, fee in enumerate(contract.fixed_fees):
            found[fee.id] = "fees", number, at
        for at, share in enumerate(contract.revenue_shares):
            found[share.id] = "shares", number, at
    return found
