"""A plan's price as a value: one model and the rules around it. All numbers are integers at scale 12."""

from dataclasses import dataclass, replace

from tallybook_engine.decimals import Rounding
from tallybook_engine.pricing.graduated import Graduated
from tallybook_engine.pricing.included_quantity import IncludedMode, IncludedQuantity
from tallybook_engine.pricing.none import NoPrice
from tallybook_engine.pricing.package import Package
from tallybook_engine.pricing.per_unit import PerUnit
from tallybook_engine.pricing.stairstep import Stairstep
from tallybook_engine.pricing.tiers import Tier
from tallybook_engine.pricing.unit_conversion import UnitConversion
from tallybook_engine.pricing.volume import Volume

TieredModel = Graduated | Volume | Stairstep
PriceModel = NoPrice | PerUnit | TieredModel | Package


@dataclass(frozen=True, slots=True)
class Price:
    """What an aggregated quantity costs."""

    model: PriceModel
    included: IncludedQuantity | None = None
    minimum: int | None = None
    """The least amount of an accumulation period."""
    cap: int | None = None
    """The largest amount of an accumulation period."""
    zero_usage: bool = False
    """Whether tier 1's flat fee is due when no unit is charged."""
    conversion: UnitConversion | None = None

    @property
    def prorates(self) -> bool:
        """Whether it is another price in an accumulation period that is not whole."""
        return self.included is not None and self.included.prorate

    def including(self, quantity: int) -> "Price":
        """The same with another included quantity, which is that of its period."""
        assert self.included is not None
        return replace(self, included=replace(self.included, quantity=quantity, prorate=False))


__all__ = [
    "Graduated",
    "IncludedMode",
    "IncludedQuantity",
    "NoPrice",
    "Package",
    "PerUnit",
    "Price",
    "PriceModel",
    "Rounding",
    "Stairstep",
    "Tier",
    "TieredModel",
    "UnitConversion",
    "Volume",
]
