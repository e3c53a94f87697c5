"""Prices without a server: a plan out of a file, and what a quantity costs under it."""

from __future__ import annotations

from tallybook.v1 import catalog_pb2, ingest_pb2
from tallybook_engine.catalog.check_price import check_matrix, check_price
from tallybook_engine.catalog.faults import CatalogFault, Faults
from tallybook_engine.catalog.model import Catalog, Matrix, Plan
from tallybook_engine.currencies import is_currency, minor_digits
from tallybook_engine.decimals import (
    AMOUNT_SCALE,
    QUANTITY_SCALE,
    DecimalFault,
    DoesNotFit,
    format_decimal,
    format_money,
    parse_decimal,
)
from tallybook_engine.pricing.lines import exact_price, included_left, marginal_lines, next_tier_from, price_lines
from tallybook_engine.pricing.model import Price
from tallybook_engine.rating.rounding import rounded_to_minor
from tallybook_server.catalog_file import check_catalog_file, read_message_file
from tallybook_server.codec.catalog import read_objects
from tallybook_server.codec.catalog import read_plan as read_plan_message
from tallybook_server.codec.results import amount_line, optional_quantity


class PlanFileError(ValueError):
    """A file that holds no plan to quote from; `faults` has a line for each thing that is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class QuoteError(ValueError):
    """A quantity that cannot be priced."""


def read_plan(name: str, content: bytes, plan_id: str | None) -> Plan:
    """A plan out of a file: the one of a catalogue file that `plan_id` names, or the only one, or a file that is one
    plan. PlanFileError names every fault with its line.
    """
    catalog = read_message_file(name, content, catalog_pb2.Catalog)
    if not catalog.message.plans:
        return _single_plan(name, content)
    faults = check_catalog_file(catalog, Catalog(), prune=False)
    if faults:
        raise PlanFileError(*faults)
    plans = {plan.id: plan for plan in read_objects(catalog.message, Faults()).plans}
    if plan_id is None and len(plans) == 1:
        return next(iter(plans.values()))
    if plan_id is None or plan_id not in plans:
        raise PlanFileError(f"{name}: which plan? it has {', '.join(plans)}")
    return plans[plan_id]


def _single_plan(name: str, content: bytes) -> Plan:
    """A file of the message `Plan`; its product may be left out."""
    file = read_message_file(name, content, catalog_pb2.Plan)
    faults = Faults()
    for fault in file.faults:
        faults.add(f"plan.{fault.path}", fault.message)
    plan = read_plan_message(file.message, faults)
    if isinstance(plan.price, Matrix):
        check_matrix("plan.matrix", plan.price, faults)
    elif not faults.ordered():
        check_price("plan", plan.price, faults)
    if not is_currency(plan.currency):
        faults.add("plan.currency", f'"{plan.currency}" is no currency of ISO 4217')
    found = [CatalogFault(fault.path.removeprefix("plan").lstrip("."), fault.message) for fault in faults.ordered()]
    if found:
        raise PlanFileError(*map(file.located, found))
    return plan


def cell_price(plan: Plan, cell_id: str) -> Price:
    """The price of a plan, or of one of its matrix rules. PlanFileError where the rule is not named, or not there."""
    if not isinstance(plan.price, Matrix):
        if cell_id:
            raise PlanFileError(f"plan {plan.id} has no matrix, so no rule {cell_id}")
        return plan.price
    prices = {rule.id: rule.price for rule in plan.price.rules}
    if cell_id not in prices:
        raise PlanFileError(f"plan {plan.id} is a matrix: which rule? it has {', '.join(prices)}")
    return prices[cell_id]


def quote(plan: Plan, cell_id: str, quantity_from: str | None, quantity_to: str) -> ingest_pb2.PeriodCost:
    """What a quantity costs, or what it costs to come to it from another one; explained, without tax.

    The message has no times, no contract and no cause. QuoteError where a quantity is no decimal, or where it or the
    amount does not fit.
    """
    price = cell_price(plan, cell_id)
    to = _quantity(quantity_to)
    try:
        if quantity_from is None:
            start, lines, moved = 0, price_lines(price, to), _rounded(plan, price, to)
        else:
            start = _quantity(quantity_from)
            lines = marginal_lines(price, start, to)
            moved = _rounded(plan, price, to) - _rounded(plan, price, start)
        return ingest_pb2.PeriodCost(
            plan_id=plan.id,
            cell_id=cell_id,
            quantity_before=format_decimal(start, QUANTITY_SCALE),
            quantity_after=format_decimal(to, QUANTITY_SCALE),
            exact_amount=format_decimal(sum(line.amount for line in lines), AMOUNT_SCALE),
            amount=format_money(moved, minor_digits(plan.currency)),
            lines=map(amount_line, lines),
            included_quantity_left=optional_quantity(included_left(price, to) if price.included is not None else None),
            next_tier_from=optional_quantity(next_tier_from(price, to)),
        )
    except DoesNotFit as error:
        raise QuoteError(str(error)) from None


def _quantity(text: str) -> int:
    try:
        return parse_decimal(text)
    except DecimalFault:
        message = f"{text!r} is no quantity: digits, with a point and at most 12 decimals where needed, below 10^15"
        raise QuoteError(message) from None


def _rounded(plan: Plan, price: Price, quantity: int) -> int:
    """The charge line of a quantity, minor units."""
    return rounded_to_minor(exact_price(price, quantity), minor_digits(plan.currency), plan.rounding)
