"""A contract tree once more under other ids: another customer's tree of the same form."""

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
