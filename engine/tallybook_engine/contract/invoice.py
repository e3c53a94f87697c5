"""What settling takes and makes: charge lines in, invoices with their lines and levels out.

All amounts are in minor units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum

from tallybook_engine.catalog.model import Tax


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge line, rounded and taxed: what a product contract comes to in one of its billing periods."""

    contract_path: tuple[str, ...]
    """Ids from the root contract down to the product contract."""
    start_us: int
    end_us: int
    """Of its billing period."""
    currency: str
    amount: int
    """As priced: it contains the tax where that is inclusive."""
    tax_amount: int
    tax: Tax | None


class LineKind(Enum):
    """What a line of an invoice is."""

    CHARGE = "CHARGE"
    FIXED_FEE = "FIXED_FEE"
    REVENUE_SHARE = "REVENUE_SHARE"
    DISCOUNT = "DISCOUNT"
    CAP = "CAP"
    MINIMUM = "MINIMUM"
    CREDIT = "CREDIT"


LINE_KINDS = (
    LineKind.CHARGE,
    LineKind.FIXED_FEE,
    LineKind.REVENUE_SHARE,
    LineKind.DISCOUNT,
    LineKind.CAP,
    LineKind.MINIMUM,
    LineKind.CREDIT,
)
"""By their numbers in `contract/tables`."""


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line of an invoice."""

    kind: LineKind
    contract_path: tuple[str, ...]
    """Ids from the root down to the level; of a CHARGE, down to the product contract."""
    id: str
    """Of the fee, share or credit; of a CHARGE the product contract's; empty for the rest."""
    start_us: int
    end_us: int
    """What it is for; a fee that is due once has only a beginning."""
    amount: int
    """As priced: it contains the tax where that is inclusive."""
    tax_amount: int
    tax: Tax | None
    due_date: date
    charge: int = -1
    """Of a CHARGE, its place among those given; -1: it is none of them."""

    @property
    def amount_excluding_tax(self) -> int:
        """Without its tax."""
        return self.amount - self.tax_amount if is_inclusive(self.tax) else self.amount


@dataclass(frozen=True, slots=True)
class InvoiceLevel:
    """What one level came to in one of its billing periods."""

    contract_path: tuple[str, ...]
    start_us: int
    end_us: int
    subtotal: int
    """Its own lines and all below, before its modifiers."""
    total: int
    """After them; as priced, like the lines."""


@dataclass(frozen=True, slots=True)
class TaxTotal:
    """The lines of an invoice that one tax is owed on."""

    tax: Tax | None
    base_amount: int
    """Without tax."""
    tax_amount: int


@dataclass(frozen=True)
class Invoice:
    """What a root contract comes to in one billing period, in one currency."""

    contract_id: str
    customer_id: str
    currency: str
    start_date: date
    end_date: date
    """First day after."""
    start_us: int
    end_us: int
    issue_date: date
    due_date: date
    lines: tuple[InvoiceLine, ...]
    """Level by level from the leaves up, each level's charges and fees before its modifiers."""
    levels: tuple[InvoiceLevel, ...]
    """Those that anything came to, from the leaves up."""
    taxes: tuple[TaxTotal, ...]

    def with_charges_at(self, places: Sequence[int]) -> Invoice:
        """The same, its charges counted in a longer list: `places` says where each is there."""
        lines = tuple(replace(each, charge=places[each.charge]) if each.charge >= 0 else each for each in self.lines)
        return replace(self, lines=lines)

    @property
    def amount_excluding_tax(self) -> int:
        """All lines without tax."""
        return sum(each.base_amount for each in self.taxes)

    @property
    def tax_amount(self) -> int:
        """Tax of all lines."""
        return sum(each.tax_amount for each in self.taxes)


def is_inclusive(tax: Tax | None) -> bool:
    """Whether amounts contain a tax."""
    return tax is not None and tax.mode.value == "INCLUSIVE"
