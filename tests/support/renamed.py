"""A contract tree once more under other ids, or at other amounts: another customer's tree of the same form."""

from __future__ import annotations

from dataclasses import replace

from tallybook_engine.catalog.model import Contract


def renamed(contract: Contract, customer: str, ending: str) -> Contract:
    """The tree for another customer, every id with an ending."""

    def other(name: str) -> str:
        return f"{name}{ending}"

    return replace(
        contract,
        id=other(contract.id),
        customer=customer,
        product_contracts=tuple(replace(each, id=other(each.id)) for each in contract.product_contracts),
        fixed_fees=tuple(replace(each, id=other(each.id)) for each in contract.fixed_fees),
        revenue_shares=tuple(
            replace(each, id=other(each.id), charges=tuple(map(other, each.charges)))
            for each in contract.revenue_shares
        ),
        credits=tuple(replace(each, id=other(each.id)) for each in contract.credits),
        sub_contracts=tuple(renamed(each, customer, ending) for each in contract.sub_contracts),
    )


def at_other_amounts(contract: Contract, factor: int) -> Contract:
    """The tree at so many times its amounts, and at so small a part of its rates: a tree of the same form."""

    def times(amount: int | None) -> int | None:
        return None if amount is None else amount * factor

    discount = contract.discount
    return replace(
        contract,
        fixed_fees=tuple(replace(each, amount=each.amount * factor) for each in contract.fixed_fees),
        revenue_shares=tuple(replace(each, rate=each.rate // factor) for each in contract.revenue_shares),
        credits=tuple(replace(each, amount=each.amount * factor) for each in contract.credits),
        discount=discount and replace(discount, rate=discount.rate // factor, threshold=discount.threshold * factor),
        cap=times(contract.cap),
        minimum=times(contract.minimum),
        sub_contracts=tuple(at_other_amounts(each, factor) for each in contract.sub_contracts),
    )
