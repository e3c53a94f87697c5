"""Prices of a catalogue: tiers without gap or overlap, sizes above 0, rules that can fit."""

from __future__ import annotations

from collections.abc import Sequence

from tallybook_engine.catalog import limits
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Matrix
from tallybook_engine.decimals import QUANTITY_SCALE, UNIT, format_decimal
from tallybook_engine.pricing.model import (
    Graduated,
    NoPrice,
    Package,
    Price,
    Stairstep,
    Tier,
    UnitConversion,
    Volume,
)
from tallybook_engine.pricing.unit_conversion import PLACES_MAX, PLACES_MIN


def check_price(path: str, price: Price, faults: Faults) -> None:
    """A price at `path`, whose fields stand beside each other as in the messages Plan and MatrixRule."""
    match price.model:
        case Graduated(tiers):
            _check_tiers(f"{path}.graduated.tiers", tiers, faults)
        case Volume(tiers):
            _check_tiers(f"{path}.volume.tiers", tiers, faults)
        case Stairstep(tiers):
            _check_tiers(f"{path}.stairstep.tiers", tiers, faults)
        case Package(size):
            if size <= 0:
                faults.add(f"{path}.package.size", "is not above 0")
        case NoPrice() if not faults.at(path):
            _check_nothing_around(path, price, faults)
    if price.included is not None and price.included.quantity < 0:
        faults.add(f"{path}.included_quantity.quantity", "is below 0")
    if price.minimum is not None and price.minimum < 0:
        faults.add(f"{path}.minimum", "is below 0")
    if price.cap is not None:
        least = 0 if price.minimum is None or faults.at(f"{path}.minimum") else price.minimum
        if price.cap < 0:
            faults.add(f"{path}.cap", "is below 0")
        elif price.cap < least:
            faults.add(f"{path}.cap", f"is {_text(price.cap)}, below the minimum {_text(least)}")
    if price.conversion is not None:
        _check_conversion(f"{path}.conversion", price.conversion, faults)


def check_tier_starts(path: str, starts: Sequence[int | None], ends: Sequence[int | None], faults: Faults) -> None:
    """Written starts of tiers (scale 12; None: not written): 0, then the end before, or 1 more.

    streamOS writes [0, 100], [101, 200] for what is (0, 100], (100, 200] here.
    """
    for index, start in enumerate(starts):
        here = f"{path}[{index}].starts_at"
        before = 0 if index == 0 else ends[index - 1]
        if start is None or before is None or faults.at(here, f"{path}[{index - 1}].up_to"):
            continue
        if index == 0:
            if start != 0:
                faults.add(here, f"is {_text(start)}: the first tier begins at 0")
        elif start < before:
            faults.add(here, f"is {_text(start)}: overlaps the tier before, which ends at {_text(before)}")
        elif start not in (before, before + UNIT):
            faults.add(here, f"is {_text(start)}: leaves a gap after the tier before, which ends at {_text(before)}")


def check_matrix(path: str, matrix: Matrix, faults: Faults) -> None:
    """Rules with ids of their own, each with a price and none that an earlier rule always forestalls."""
    if not matrix.rules:
        faults.add(f"{path}.rules", "are required")
    if len(matrix.rules) > limits.MATRIX_RULES_MAX:
        faults.add(f"{path}.rules", f"are {len(matrix.rules)}, at most {limits.MATRIX_RULES_MAX} are possible")
        return
    first_at: dict[str, int] = {}
    earlier = _EarlierRules()
    for index, rule in enumerate(matrix.rules):
        here = f"{path}.rules[{index}]"
        if first_at.setdefault(rule.id, index) != index:
            faults.add(f"{here}.id", f'"{rule.id}" is the id of rules[{first_at[rule.id]}] too')
        forestalled_by = earlier.forestalling(rule.match)
        if forestalled_by is not None:
            faults.add(f"{here}.match", f"never fits: rules[{forestalled_by}] takes all of its events")
        earlier.add(rule.match, index)
        check_price(here, rule.price, faults)


class _EarlierRules:
    """Rules by the properties that they name, which are few where rules are many."""

    def __init__(self) -> None:
        self._rules: dict[frozenset[str], dict[frozenset[tuple[str, str]], int]] = {}

    def forestalling(self, match: tuple[tuple[str, str], ...]) -> int | None:
        """The first rule that fits wherever `match` does: its conditions are some of those."""
        names = frozenset(name for name, _ in match)
        found = [
            rules[wanted]
            for named, rules in self._rules.items()
            if named <= names
            if (wanted := frozenset(pair for pair in match if pair[0] in named)) in rules
        ]
        return min(found, default=None)

    def add(self, match: tuple[tuple[str, str], ...], index: int) -> None:
        """Keeps a rule, unless one before it has the same conditions."""
        rules = self._rules.setdefault(frozenset(name for name, _ in match), {})
        rules.setdefault(frozenset(match), index)


def _check_tiers(path: str, tiers: tuple[Tier, ...], faults: Faults) -> None:
    if not tiers:
        faults.add(path, "are required")
    if len(tiers) > limits.TIERS_MAX:
        faults.add(path, f"are {len(tiers)}, at most {limits.TIERS_MAX} are possible")
    for index, tier in enumerate(tiers):
        here = f"{path}[{index}].up_to"
        last = index == len(tiers) - 1
        if last and tier.up_to is not None:
            faults.add(here, "the last tier has no end: leave up_to out")
        elif not last and tier.up_to is None:
            faults.add(here, "is required in every tier but the last")
        if tier.up_to is None:
            continue
        before = 0 if index == 0 else tiers[index - 1].up_to
        if before is None or faults.at(here, f"{path}[{index - 1}].up_to"):
            continue
        if tier.up_to <= before:
            wanted = "0" if index == 0 else f"{_text(before)} of the tier before"
            faults.add(here, f"is {_text(tier.up_to)}, not above {wanted}")


def _check_nothing_around(path: str, price: Price, faults: Faults) -> None:
    """Usage without a price has nothing that could be included, held up or capped."""
    for field, given in (
        ("included_quantity", price.included is not None),
        ("minimum", price.minimum is not None),
        ("cap", price.cap is not None),
        ("zero_usage", price.zero_usage),
        ("conversion", price.conversion is not None),
    ):
        if given:
            faults.add(f"{path}.{field}", "needs a price: the plan's model is none")


def _check_conversion(path: str, conversion: UnitConversion, faults: Faults) -> None:
    if conversion.divisor is not None and conversion.divisor <= 0:
        faults.add(f"{path}.divide_by", "is not above 0")
    if conversion.factor is not None and conversion.factor <= 0:
        faults.add(f"{path}.multiply_by", "is not above 0")
    if not PLACES_MIN <= conversion.rounding_places <= PLACES_MAX:
        faults.add(f"{path}.decimal_places", f"is {conversion.rounding_places}, not from {PLACES_MIN} to {PLACES_MAX}")


def _text(scaled: int) -> str:
    return format_decimal(scaled, QUANTITY_SCALE)
