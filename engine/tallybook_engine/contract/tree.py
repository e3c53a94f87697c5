"""A contract tree as it is settled: its levels in a row, parents before children, with their calendars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from tallybook_engine.catalog.model import Catalog, Contract, FixedFee, Frequency, Tax
from tallybook_engine.contract.terms import term_frequency
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import QUANTITY_SCALE


@dataclass(frozen=True, slots=True)
class Level:
    """One contract of a tree."""

    contract: Contract
    path: tuple[str, ...]
    """Ids from the root down to it."""
    parent: int
    """Place of the contract above it; -1: it is the root."""
    frequency: Frequency
    """How often it is billed."""
    anchor: date
    """The day that anchors its periods."""
    end_date: date | None
    """First day after; None: no end."""

    def fee_calendar(self, fee: FixedFee) -> tuple[Frequency, date]:
        """How often one of its fees is due, and the day that anchors that."""
        if fee.per_term and self.contract.end_date is not None:
            return term_frequency(self.contract.start_date, self.contract.end_date), self.contract.start_date
        return fee.frequency or self.frequency, self.anchor


@dataclass(frozen=True)
class Tree:
    """A contract tree under one version of the catalogue."""

    levels: tuple[Level, ...]
    """Parents before children; the root first."""
    numbers: Mapping[str, int]
    """Contract id -> place in `levels`."""
    currency: str
    """ISO 4217 code; empty where the tree has neither plans nor a currency."""
    tax: Tax | None
    """What lines are taxed by that stand for no product."""

    @property
    def root(self) -> Contract:
        """The contract of the whole tree."""
        return self.levels[0].contract

    @property
    def minor_digits(self) -> int:
        """Decimals of the currency."""
        return minor_digits(self.currency) if self.currency else 0

    def without_terms(self, currency: str) -> Tree:
        """The same levels with nothing but their charge lines, in another currency."""
        levels = tuple(replace(level, contract=_without_terms(level.contract)) for level in self.levels)
        return replace(self, levels=levels, currency=currency)

    def term_ids(self) -> list[str]:
        """Ids of the fees, shares and credits, level by level, in the order of the catalogue."""
        found: list[str] = []
        for level in self.levels:
            contract = level.contract
            found += (each.id for each in contract.fixed_fees)
            found += (each.id for each in contract.revenue_shares)
            found += (each.id for each in contract.credits)
        return found

    def level_of(self, contract_path: Sequence[str]) -> int:
        """The level of a product contract; the nearest one above where the tree no longer has it."""
        for name in reversed(contract_path[:-1]):
            if name in self.numbers:
                return self.numbers[name]
        return 0

    @property
    def minor_unit(self) -> int:
        """The currency's smallest unit, scale 12; the catalogue has no amount that is finer."""
        return int(10 ** (QUANTITY_SCALE - self.minor_digits))


def _without_terms(contract: Contract) -> Contract:
    return replace(contract, fixed_fees=(), revenue_shares=(), credits=(), discount=None, cap=None, minimum=None)


def has_terms(contract: Contract) -> bool:
    """Whether a contract has fees, shares, discount, cap, minimum or credits of its own."""
    return bool(
        contract.fixed_fees
        or contract.revenue_shares
        or contract.credits
        or contract.discount is not None
        or contract.cap is not None
        or contract.minimum is not None
    )


def tree_has_terms(root: Contract) -> bool:
    """Whether any level of a tree has terms."""
    return has_terms(root) or (bool(root.sub_contracts) and any(has_terms(path[-1]) for path in root.levels()))


def tree_of(catalog: Catalog, root: Contract) -> Tree:
    """A root contract of a checked catalogue, with all that lies below it."""
    return tree_in(root, currency_of(catalog, root), tax_of_terms(catalog, root))


def currency_of(catalog: Catalog, root: Contract) -> str:
    """The currency of a root contract's tree; empty where it has neither plans nor one of its own."""
    if root.currency:
        return root.currency
    plans = (each.plan for path in root.levels() for each in path[-1].product_contracts)
    return next((catalog.plans[plan].currency for plan in plans), "")


def tax_of_terms(catalog: Catalog, root: Contract) -> Tax | None:
    """What lines of a tree are taxed by that stand for no product."""
    country = catalog.customers[root.customer].country_code
    return next((each for each in catalog.taxes.values() if each.country_code == country), None)


def tree_in(root: Contract, currency: str, tax: Tax | None) -> Tree:
    """A root contract with all that lies below it, its currency and tax being known."""
    levels: list[Level] = []
    numbers: dict[str, int] = {}
    for contract, parent, billed in levels_in(root):
        numbers[contract.id] = len(levels)
        levels.append(
            Level(
                contract,
                (*levels[parent].path, contract.id) if parent >= 0 else (contract.id,),
                parent,
                billed.billing_frequency,
                billed.start_date,
                contract.ends_on,
            )
        )
    return Tree(tuple(levels), numbers, currency, tax)


def levels_in(root: Contract) -> list[tuple[Contract, int, Contract]]:
    """The levels of a tree, parents before children: (contract, place of the one above it or -1, the contract that says
    when it is billed, see `catalog.model.billed_as`).
    """
    found: list[tuple[Contract, int, Contract]] = []
    due = [(root, -1)]
    while due:
        contract, parent = due.pop()
        # From the level above, for whole paths are as long as the tree is deep.
        above = found[parent][2] if parent >= 0 else contract
        if contract.sub_contracts:
            number = len(found)
            due += [(each, number) for each in reversed(contract.sub_contracts)]
        found.append((contract, parent, above if above.override_underlying else contract))
    return found
