"""Prices as flat arrays, the form in which kernels read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.decimals import UNIT
from tallybook_engine.kernels.wide import divisor_array, limb_array
from tallybook_engine.pricing.graduated import Graduated, graduated_rows
from tallybook_engine.pricing.included_quantity import IncludedMode, with_free_first_tier
from tallybook_engine.pricing.model import NoPrice, Package, PerUnit, Price, Tier, TieredModel
from tallybook_engine.pricing.none import none_rows
from tallybook_engine.pricing.package import rounding_addend
from tallybook_engine.pricing.per_unit import per_unit_rows
from tallybook_engine.pricing.stairstep import Stairstep, stairstep_rows
from tallybook_engine.pricing.tiers import TierRow, check_tiers, filled_up, tier_records
from tallybook_engine.pricing.unit_conversion import ConversionSteps, conversion_steps
from tallybook_engine.pricing.volume import Volume, volume_rows


class Rules(IntFlag):
    """Which rules a price has beside its tiers."""

    CONVERSION = 1
    INCLUDED = 2
    """Included units are subtracted first; a free first tier is among the tiers."""
    ZERO_USAGE = 4
    MINIMUM = 8
    CAP = 16
    PACKAGE = 32
    """Packages instead of tiers."""


PRICE_RECORD = np.dtype(
    [
        ("rules", np.uint8),
        ("conversion_to_even", np.bool_),
        ("first_tier", np.uint64),
        ("end_tier", np.uint64),
        ("included", np.uint64, 2),
        ("minimum", np.uint64, 3),
        ("cap", np.uint64, 3),
        ("package_size", np.uint64, 6),
        ("package_addend", np.uint64, 2),
        ("package_amount", np.uint64, 2),
        ("conversion_multiplier", np.uint64, 2),
        ("conversion_addend", np.uint64, 3),
        ("conversion_divisor", np.uint64, 6),
        ("conversion_step", np.uint64, 2),
    ],
    align=True,
)
"""A price in the tables: `Rules`, its tiers [first, end), and the numbers of the rules around the model.

Quantities are two limbs (scale 12), amounts three (scale 24), divisors the six of a `Divisor`.
"""


class PriceTables(NamedTuple):
    """Prices and their tiers.

    Records, because a kernel that hands on a column for each number spends its time on handing on.
    """

    prices: NDArray[np.void]
    """``PRICE_RECORD[p]``"""
    tiers: NDArray[np.void]
    """``TIER_RECORD[t]``"""


_NO_PACKAGE = Package(1, 0)
_NO_CONVERSION = ConversionSteps(1, 0, 1, 1, to_even=False)


def tiers_of(price: Price) -> tuple[int, tuple[Tier, ...]]:
    """(number of the first tier, tiers) of a tiered price; with a free first tier in front the numbers begin at 0."""
    assert isinstance(price.model, TieredModel)
    tiers = price.model.tiers
    included = price.included
    # A free tier of no units would still be the first, and hide the flat fee that `zero_usage` asks for.
    if included is None or included.quantity == 0 or included.mode is IncludedMode.SUBTRACT_FIRST:
        return 1, tiers
    return 0, with_free_first_tier(tiers, included.quantity)


def subtracted_quantity(price: Price) -> int:
    """Included units that come off the quantity before the model sees it, scale 12."""
    if price.included is None:
        return 0
    if price.included.mode is IncludedMode.FREE_FIRST_TIER and isinstance(price.model, TieredModel):
        return 0
    return price.included.quantity


def _rules(price: Price) -> Rules:
    rules = Rules(0)
    if price.conversion is not None:
        rules |= Rules.CONVERSION
    if subtracted_quantity(price) != 0:
        rules |= Rules.INCLUDED
    if price.zero_usage and isinstance(price.model, TieredModel):
        rules |= Rules.ZERO_USAGE
    if price.minimum is not None:
        rules |= Rules.MINIMUM
    if price.cap is not None:
        rules |= Rules.CAP
    if isinstance(price.model, Package):
        rules |= Rules.PACKAGE
    return rules


def _tier_rows(price: Price) -> list[TierRow]:
    match price.model:
        case NoPrice():
            return filled_up(none_rows())
        case PerUnit():
            return filled_up(per_unit_rows(price.model))
        case Graduated():
            return filled_up(graduated_rows(tiers_of(price)[1]))
        case Volume():
            return filled_up(volume_rows(tiers_of(price)[1]))
        case Stairstep():
            return filled_up(stairstep_rows(tiers_of(price)[1]))
        case Package():
            return []


def price_tables(prices: Sequence[Price]) -> PriceTables:
    """The tables of prices, in their order."""
    tier_rows = [_tier_rows(price) for price in prices]
    counts = np.array([len(rows) for rows in tier_rows], dtype=np.uint64)
    packages = [price.model if isinstance(price.model, Package) else _NO_PACKAGE for price in prices]
    steps = [_NO_CONVERSION if price.conversion is None else conversion_steps(price.conversion) for price in prices]
    records = np.zeros(len(prices), dtype=PRICE_RECORD)
    records["rules"] = [_rules(price) for price in prices]
    records["end_tier"] = np.cumsum(counts)
    records["first_tier"] = records["end_tier"] - counts
    records["included"] = limb_array([subtracted_quantity(price) for price in prices], 2)
    records["minimum"] = limb_array([(price.minimum or 0) * UNIT for price in prices], 3)
    records["cap"] = limb_array([(price.cap or 0) * UNIT for price in prices], 3)
    records["package_size"] = divisor_array([package.size for package in packages])
    records["package_addend"] = limb_array([rounding_addend(package) for package in packages], 2)
    records["package_amount"] = limb_array([package.amount for package in packages], 2)
    records["conversion_multiplier"] = limb_array([step.multiplier for step in steps], 2)
    records["conversion_addend"] = limb_array([step.addend for step in steps], 3)
    records["conversion_divisor"] = divisor_array([step.divisor for step in steps])
    records["conversion_step"] = limb_array([step.step for step in steps], 2)
    records["conversion_to_even"] = [step.to_even for step in steps]
    return PriceTables(records, tier_records([row for rows in tier_rows for row in rows]))


@dataclass
class PricePool:
    """Prices by index, append-only: an index, once given, means the same price for ever."""

    _prices: list[Price] = field(default_factory=list)
    _indexes: dict[Price, int] = field(default_factory=dict)
    _parts: list[PriceTables] = field(default_factory=list)
    _tables: PriceTables | None = None

    def add(self, price: Price) -> int:
        """The index of a price; equal prices share one. ValueError if it is none: its tiers, its package's size or
        its conversion."""
        index = self._indexes.get(price)
        if index is None:
            if isinstance(price.model, TieredModel):
                check_tiers(price.model.tiers)
            self._parts.append(price_tables([price]))
            index = len(self._prices)
            self._prices.append(price)
            self._indexes[price] = index
            self._tables = None
        return index

    def copy(self) -> "PricePool":
        """A pool with the same prices, which grows by itself from here on."""
        return PricePool(self._prices.copy(), self._indexes.copy(), self._parts.copy(), self._tables)

    def __getitem__(self, index: int) -> Price:
        return self._prices[index]

    def __len__(self) -> int:
        return len(self._prices)

    @property
    def tables(self) -> PriceTables:
        """The arrays of all prices so far; made anew when the pool has grown."""
        if self._tables is None:
            self._tables = _joined(self._parts)
        return self._tables


def _joined(parts: Sequence[PriceTables]) -> PriceTables:
    """The tables of one price each, as one."""
    if not parts:
        return price_tables([])
    prices = np.concatenate([part.prices for part in parts])
    counts = np.array([len(part.tiers) for part in parts], dtype=np.uint64)
    prices["end_tier"] = np.cumsum(counts)
    prices["first_tier"] = prices["end_tier"] - counts
    return PriceTables(prices, np.concatenate([part.tiers for part in parts]))
