"""A plan's price as frozen values: the model, and what stands around it.

All numbers are integers scaled by 10^12 (12 decimals), below 10^15 in size before scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Rounding(Enum):
    """How a quotient is rounded to its places."""

    UP = "UP"
    """Towards plus infinity (a ceiling)."""
    DOWN = "DOWN"
    """Towards minus infinity (a floor)."""
    HALF_AWAY_FROM_ZERO = "HALF_AWAY_FROM_ZERO"
    """To the nearest; a half goes away from zero."""
    HALF_EVEN = "HALF_EVEN"
    """To the nearest; a half goes to the even neighbour."""


class IncludedMode(Enum):
    """What an included quantity does to the tiers."""

    SUBTRACT_FIRST = "SUBTRACT_FIRST"
    """Included units are taken off, and the tiers count from 0 on what is left."""
    FREE_FIRST_TIER = "FREE_FIRST_TIER"
    """Tier bounds stay where they are; the first units cost nothing."""


@dataclass(frozen=True)
class Tier:
    """The quantities (previous up_to, up_to]; the last tier is open."""

    up_to: int | None
    """Last quantity of the tier, scale 12; None: no end."""
    unit_price: int = 0
    """Price of one unit, scale 12."""
    flat_fee: int = 0
    """Due once where the tier is entered (graduated) or reached (volume, stairstep), scale 12."""


@dataclass(frozen=True)
class NoPrice:
    """Usage is kept and counted but never billed (plan NONE)."""


@dataclass(frozen=True)
class PerUnit:
    """Every unit at one price."""

    unit_price: int
    """Price of one unit, scale 12."""


@dataclass(frozen=True)
class Graduated:
    """Each slice of the quantity at its own tier."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True)
class Volume:
    """All units at the tier that the quantity reaches."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True)
class Stairstep:
    """One flat amount for the band that the quantity reaches."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True)
class Package:
    """One amount for each package of `size` units, begun (UP) or filled (DOWN)."""

    size: int
    """Units of a package, scale 12, above 0."""
    amount: int
    """Price of a package, scale 12."""
    rounding: Rounding = Rounding.UP
    """UP or DOWN."""


PriceModel = NoPrice | PerUnit | Graduated | Volume | Stairstep | Package


@dataclass(frozen=True)
class IncludedQuantity:
    """Units that the plan's other charges already pay for."""

    quantity: int
    """Included units of an accumulation period, scale 12, at least 0."""
    mode: IncludedMode = IncludedMode.SUBTRACT_FIRST


@dataclass(frozen=True)
class UnitConversion:
    """Measured units into priced units: exactly one of `divisor` and `factor` is given."""

    divisor: int | None
    """Divide by this, scale 12, above 0."""
    factor: int | None
    """Multiply by this, scale 12, above 0."""
    rounding_places: int = 12
    """Decimals kept, -14 to 12; negative places round to tens, hundreds and so on."""
    rounding: Rounding = Rounding.HALF_AWAY_FROM_ZERO


@dataclass(frozen=True)
class Price:
    """A price F of one quantity: conversion, included quantity, model, then minimum and cap."""

    model: PriceModel
    included: IncludedQuantity | None = None
    minimum: int | None = None
    """F is at least this, scale 12."""
    cap: int | None = None
    """F is at most this, scale 12."""
    zero_usage: bool = False
    """Whether tier 1's flat fee is due where the quantity is 0."""
    conversion: UnitConversion | None = None
