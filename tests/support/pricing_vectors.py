"""Peers' pricing cases as values: `cases()` that the pricing rules answer, `elsewhere()` those that other tests run,
and `not_run()` with a reason for the rest.

A case is one or more steps, each the price of one charge from one aggregated quantity to another. What a test runs
them through (kernel, lines, oracle, the service) is its own affair.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from tallybook_engine.decimals import UNIT, Rounding, parse_decimal
from tallybook_engine.pricing.model import (
    Graduated,
    IncludedQuantity,
    Package,
    PerUnit,
    Price,
    Stairstep,
    Tier,
    UnitConversion,
    Volume,
)

VECTORS_PATH = Path(__file__).resolve().parents[1] / "vectors" / "pricing.json"


@dataclass(frozen=True)
class Step:
    """One charge from one quantity to another, scale 12."""

    price: Price
    after: int
    before: int | None = None
    """None: the whole price of `after`, with what is due at quantity 0."""
    amount: Fraction | None = None
    """Expected of this step alone, where the case says it."""
    lines: tuple[Fraction, ...] | None = None
    """Expected amounts of the lines, where the case says them."""
    match: tuple[tuple[str, str], ...] = ()
    """Properties of the step's events, where the price is a cell of a matrix."""


@dataclass(frozen=True)
class VectorCase:
    """A peer's case."""

    id: str
    steps: tuple[Step, ...]
    amount: Fraction
    """Expected sum of the steps: exact, or of rounded amounts where `currency` is given."""
    currency: str | None = None
    """Every charge is rounded to this currency: after less before of the rounded amounts."""
    tax_rate: Fraction | None = None
    """Exclusive."""
    tax: Fraction | None = None
    cells: tuple[tuple[tuple[tuple[str, str], ...], Price], ...] = ()
    """A matrix's rules in order, (match, price)."""


NOT_RUN_MODELS = {
    "percentage": "percentage of an amount: not a model yet",
    "percentage_per_transaction": "percentage of an amount: not a model yet",
    "percentage_events": "percentage of an amount: not a model yet",
    "graduated_percentage": "graduated percentage: not a model yet",
    "dynamic": "an amount carried by the event: not a model yet",
    "dynamic_multiplier": "an amount carried by the event: not a model yet",
    "agg_weighted_sum": "aggregation by time: not one yet",
    "agg_latest": "aggregation of the latest value: not one yet",
    "capacity_multi": "tiers of several units at once: none of the models of DESIGN 5.2",
}
"""Models whose cases do not run."""

_EACH_EVENT_APART = (
    "DESIGN 5.2: a price is a function of the set of events; here each event is priced apart, its units by the days "
    "that are left and at the tiers that they reach in the order of their coming, and the flat fee of a tier stays due "
    "when that is left again"
)
_BELOW_NOTHING = "DESIGN 5.2: a quantity below 0 costs 0; here it costs what as many units above 0 do, negated"

NOT_RUN_IDS = {
    "v083": _EACH_EVENT_APART,
    "v084": _EACH_EVENT_APART,
    "v110": "DESIGN 5.1: a quotient is rounded half away from zero, to 12 places; here always up, to 5",
    "v160": "DESIGN 5.2, step 3, and 5.3: a plan's minimum is of the price of its period and posted when that opens; "
    "here it is due in the period's last invoice only",
    "v341": "DESIGN 5.2: a package has one size, and the conversion (step 1) one divisor for all tiers; here the first "
    "tier's blocks are of 100 units and the others' of 1,000",
    "v408": _BELOW_NOTHING,
    "v416": _BELOW_NOTHING,
    "v417": _BELOW_NOTHING,
    "v446": "DESIGN 5.1: a unit price has at most 12 decimals; here it has 14",
}
"""Cases of models that do run, but not these: the rule that the peer's contradicts."""

MODIFIERS, BEFORE_ANY_PRICE = "integration/test_contract_trees.py", "integration/test_peer_vectors.py"
ELSEWHERE_MODELS = {
    "tier_validation": BEFORE_ANY_PRICE,
    "billing_dates": BEFORE_ANY_PRICE,
    "proration": MODIFIERS,
    "credits": MODIFIERS,
    "wallet_burndown": MODIFIERS,
}
"""Models whose cases are not about the price of a quantity, and the tests that run them through the service."""

ELSEWHERE_IDS = {"v196": MODIFIERS, "v315": MODIFIERS, "v330": MODIFIERS, "v436": BEFORE_ANY_PRICE}
"""Cases that are not about the price of a quantity alone, and the tests that run them through the service."""


@cache
def vectors() -> tuple[Mapping[str, Any], ...]:
    """All vectors as the file has them."""
    return tuple(json.loads(VECTORS_PATH.read_text(encoding="utf-8")))


def not_run() -> dict[str, str]:
    """Reason by id, of the vectors that run nowhere."""
    return _of_models(NOT_RUN_MODELS) | NOT_RUN_IDS


def elsewhere(tests: str) -> tuple[Mapping[str, Any], ...]:
    """The vectors that are no case but run in other tests, by their file."""
    files = _of_models(ELSEWHERE_MODELS) | ELSEWHERE_IDS
    return tuple(vector for vector in vectors() if files.get(vector["id"]) == tests)


def _of_models(said: Mapping[str, str]) -> dict[str, str]:
    """What is said of the models, by id of their vectors."""
    return {vector["id"]: said[vector["model"]] for vector in vectors() if vector["model"] in said}


@cache
def cases() -> tuple[VectorCase, ...]:
    """The vectors that the pricing rules answer."""
    others = not_run().keys() | _of_models(ELSEWHERE_MODELS).keys() | ELSEWHERE_IDS.keys()
    return tuple(_case(vector) for vector in vectors() if vector["id"] not in others)


def _case(vector: Mapping[str, Any]) -> VectorCase:
    model, config, inputs, expected = vector["model"], vector["config"], vector["inputs"], vector["expected"]
    steps: tuple[Step, ...]
    cells: tuple[Any, ...] = ()
    tax_rate, tax = None, None
    currency = config["currency"] if config.get("round") == "currency" else None
    amount = expected.get("amount")
    match model:
        case "per_unit_delta" | "graduated_delta" | "volume_delta" | "package_delta":
            before, after = _number(inputs["from_exclusive"]), _number(inputs["to_inclusive"])
            steps = (Step(_price(model.removesuffix("_delta"), config), after, before),)
            currency = config.get("currency")
        case "unit_conversion" | "quantity_rounding":
            conversion = _conversion(config) if model == "unit_conversion" else _quantity_rounding(config)
            steps = (Step(Price(PerUnit(UNIT), conversion=conversion), _number(inputs["quantity"])),)
            amount = expected["quantity"]
        case "money_rounding" | "line_rounding":
            lines = inputs["lines"] if model == "line_rounding" else [inputs["amount"]]
            steps = tuple(Step(Price(PerUnit(UNIT)), _number(line)) for line in lines)
            currency = _currency(config)
        case "minimum":
            bounded = Price(PerUnit(UNIT), minimum=_number(config["minimum"]))
            true_up = Fraction(expected["true_up"])
            lines = (Fraction(inputs["amount"]), true_up) if true_up else (Fraction(inputs["amount"]),)
            steps = (Step(bounded, _number(inputs["amount"]), lines=lines),)
        case "maximum":
            before = _number(inputs["previously_billed"])
            capped = Price(PerUnit(UNIT), cap=_number(config["maximum"]))
            steps = (Step(capped, before + _number(inputs["line_amount"]), before),)
            currency = config["currency"]
        case "included_volume":
            before = _number(inputs["pre_quantity"])
            price = Price(PerUnit(UNIT), included=IncludedQuantity(_number(config["included_units"])))
            pre_billable, billable = Fraction(expected["pre_billable"]), Fraction(expected["billable"])
            after = before + _number(inputs["quantity"])
            steps = (Step(price, before, amount=pre_billable), Step(price, after, before, billable))
            amount = pre_billable + billable
        case "cost_prediction":
            price, before = _price(config["model"], config), _number(inputs["pre_quantity"])
            amount = expected.get("amount_excluding_tax", expected.get("billable_units"))
            parts = (Fraction(0), Fraction(expected["billable_units"])) if "billable_units" in expected else None
            steps = (Step(price, before + _number(inputs["quantity"]), before, lines=parts),)
        case "bucketed":
            base = _price(config["base"]["model"], config["base"])
            steps = tuple(Step(base, _number(bucket)) for bucket in inputs["buckets"])
        case "prorated_graduated":
            # Lago's aggregation has prorated each event's units already; all of them stay in their tier.
            prorated = sum(map(_number, inputs["prorated"]))
            steps = (Step(replace(_price("graduated", config), zero_usage=True), prorated),)
        case "windowed_commitment":
            # A window accumulates by itself, as a period does.
            steps = tuple(Step(_window_price(config, hour), _number(used)) for hour, used in inputs["windows"])
        case "agg_max":
            steps = (Step(Price(PerUnit(UNIT)), max(_number(value) for _, value in inputs["events"])),)
            amount = expected["quantity"]
        case "tax":
            steps = (Step(_price(config["base"]["model"], config["base"]), _number(inputs["quantity"])),)
            tax_rate, tax = Fraction(config["tax_rate"]), Fraction(expected["tax"])
            amount, currency = expected["amount_excluding_tax"], "EUR"
        case "matrix":
            cells = tuple((tuple(sorted(row["match"].items())), _price("per_unit", row)) for row in config["rows"])
            steps = tuple(_matrix_step(cells, event, expected["groups"]) for event in inputs["events"])
        case _:
            lines = expected.get("lines")
            steps = (
                Step(_price(model, config), _number(inputs["quantity"]), lines=_line_amounts(lines) if lines else None),
            )
    return VectorCase(vector["id"], steps, Fraction(amount), currency, tax_rate, tax, cells)


def _matrix_step(cells: Any, event: Mapping[str, str], groups: Mapping[str, str]) -> Step:
    properties = {name: value for name, value in event.items() if name != "quantity"}
    price = next(price for match, price in cells if all(properties.get(name) == value for name, value in match))
    named = [Fraction(groups[value]) for value in properties.values() if value in groups]
    match = tuple(sorted(properties.items()))
    return Step(price, _number(event["quantity"]), amount=named[0] if named else None, match=match)


def _line_amounts(lines: list[str]) -> tuple[Fraction, ...]:
    """["150-25"] is a line of 150 and one of -25 that caps it."""
    amounts: list[Fraction] = []
    for line in lines:
        first, *discounts = line.split("-")
        amounts += [Fraction(first), *(-Fraction(discount) for discount in discounts)]
    return tuple(amounts)


def _price(model: str, config: Mapping[str, Any]) -> Price:
    bounds: dict[str, Any] = {
        "minimum": _optional(config.get("minimum")),
        "cap": _optional(config.get("maximum")),
        "conversion": _conversion(config["conversion"]) if "conversion" in config else None,
        "zero_usage": config.get("zero_usage") == "first_tier_flat",
    }
    included = config.get("included_units", config.get("free_units"))
    if included is not None:
        bounds["included"] = IncludedQuantity(_number(included))
    match model:
        case "graduated" if "cap" in config["tiers"][0]:
            # The cap of the only tier is that of the plan.
            (tier,) = config["tiers"]
            return Price(Graduated(_tiers(config)), **{**bounds, "cap": _number(tier["cap"])})
        case "per_unit":
            return Price(PerUnit(_number(config["unit"])), **bounds)
        case "graduated":
            return Price(Graduated(_tiers(config)), **bounds)
        case "volume":
            return Price(Volume(_tiers(config)), **bounds)
        case "stairstep":
            return Price(Stairstep(_tiers(config)), **bounds)
        case "package":
            rounding = Rounding.DOWN if config.get("package_round") == "floor" else Rounding.UP
            package = Package(_number(config["package_size"]), _number(config["package_amount"]), rounding)
            return Price(package, **bounds)
        case "blocks_all_tiers" | "blocks_top_tier":
            return _blocks(model, config["tiers"])
    raise ValueError(f"no price is made of the model {model}")


def _window_price(config: Mapping[str, Any], hour: str) -> Price:
    """Flexprice's commitment of a window: beyond what is committed a unit costs a multiple, and with a true-up what is
    committed is the least."""
    buckets = [each for each in config["buckets"] if int(each["from_hour"]) <= int(hour) < int(each["to_hour"])]
    said = {**config, **buckets[0]} if buckets else config
    unit_price = _number(said["unit"])
    if "overage_factor" not in said:
        return Price(PerUnit(unit_price))
    if "commitment_quantity" in said:
        committed = _number(said["commitment_quantity"])
    else:
        committed = _number(said["commitment_amount"]) * UNIT // unit_price
    beyond = unit_price * int(said["overage_factor"])
    minimum = unit_price * committed // UNIT if said["true_up"] else None
    return Price(Graduated((Tier(committed, unit_price), Tier(None, beyond))), minimum=minimum)


def _blocks(model: str, tiers: list[Mapping[str, str]]) -> Price:
    """Kill Bill's blocks: a tier's width is in blocks, and units are counted in begun blocks."""
    (size,) = {_number(tier["block_size"]) for tier in tiers}
    if len(tiers) == 1:
        return Price(Package(size, _number(tiers[0]["block_price"])))
    made = []
    up_to = 0
    for tier in tiers[:-1]:
        up_to += _number(tier["max_blocks"])
        made.append(Tier(up_to, _number(tier["block_price"])))
    # Units beyond the last tier's width stay in it.
    made.append(Tier(None, _number(tiers[-1]["block_price"])))
    blocks = Graduated(tuple(made)) if model == "blocks_all_tiers" else Volume(tuple(made))
    return Price(blocks, conversion=UnitConversion(size, None, 0, Rounding.UP))


def _tiers(config: Mapping[str, Any]) -> tuple[Tier, ...]:
    return tuple(
        Tier(_optional(tier["up_to"]), _optional(tier["unit"]) or 0, _optional(tier["flat"]) or 0)
        for tier in config["tiers"]
    )


def _conversion(config: Mapping[str, str]) -> UnitConversion:
    factor, rounding = _number(config["factor"]), _rounding(config["mode"])
    if config["op"] == "divide":
        return UnitConversion(factor, None, 0, rounding)
    return UnitConversion(None, factor, 0, rounding)


def _quantity_rounding(config: Mapping[str, str]) -> UnitConversion:
    return UnitConversion(None, UNIT, int(config["places"]), _rounding(config["mode"]))


def _rounding(mode: str) -> Rounding:
    half = Rounding.HALF_AWAY_FROM_ZERO
    return {"ceil": Rounding.UP, "floor": Rounding.DOWN, "round": half, "half_up": half}[mode]


def _currency(config: Mapping[str, str]) -> str:
    """The case's currency; the made-up one becomes a real one of as many decimals."""
    return "UYW" if (config["currency"], config["places"]) == ("CREDITS", "4") else config["currency"]


def _number(text: str) -> int:
    return parse_decimal(text)


def _optional(text: str | None) -> int | None:
    return None if text is None else _number(text)
