"""What a quantity costs under a plan, and when a contract is billed: answers that need no book."""

from __future__ import annotations

from itertools import islice

from google.protobuf.message import Message

from tallybook.v1 import catalog_pb2, common_pb2
from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.calendar.billing_dates import BillingPeriod, billing_periods
from tallybook_engine.calendar.proration import prorated
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.check_price import check_matrix, check_price
from tallybook_engine.catalog.faults import CatalogFault, CatalogInvalidError, Faults
from tallybook_engine.catalog.model import Catalog, Contract, Matrix, Plan
from tallybook_engine.catalog.versions import apply_change
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
from tallybook_server import limits
from tallybook_server.codec.catalog import read_objects, read_plan
from tallybook_server.codec.instants import parse_period_date
from tallybook_server.codec.metering import fields_within_answer
from tallybook_server.codec.results import amount_line, optional_quantity, timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.invoices import term_texts

_CONTRACT = "contracts[0]."
DEFAULT_ZONE = "UTC"


class QuoteError(ValueError):
    """A quantity that cannot be priced; `field` is the one of QuotePriceRequest that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def read_one_plan(message: catalog_pb2.Plan, faults: Faults) -> Plan:
    """A plan by itself, whose id and product may be left out; everything that is wrong is in `faults`, below `plan`."""
    plan = read_plan(message, faults)
    if isinstance(plan.price, Matrix):
        check_matrix("plan.matrix", plan.price, faults)
    elif not faults.ordered():
        check_price("plan", plan.price, faults)
    if not is_currency(plan.currency):
        faults.add("plan.currency", f'"{plan.currency}" is no currency of ISO 4217')
    return plan


def cell_price(plan: Plan, cell_id: str) -> Price:
    """The price of a plan, or of one of its matrix rules. QuoteError where the rule is not named, or not there."""
    if not isinstance(plan.price, Matrix):
        if cell_id:
            raise QuoteError("rule_id", f"plan {plan.id} has no matrix, so no rule {cell_id}")
        return plan.price
    prices = {rule.id: rule.price for rule in plan.price.rules}
    if cell_id not in prices:
        raise QuoteError("rule_id", f"plan {plan.id} is a matrix: which rule? it has {', '.join(prices)}")
    return prices[cell_id]


def price_in_days(price: Price, days: wire.DaysOfPeriod) -> Price:
    """The price of an accumulation period of which a product contract has some days. QuoteError where it cannot."""
    first, end, whole = days.days_before, days.days_before + days.day_count, days.whole_day_count
    if days.days_before < 0 or days.day_count < 1 or not end <= whole <= limits.QUOTE_DAYS_MAX:
        raise QuoteError(
            "days",
            f"a period of {whole} days has no {days.day_count} days behind the first {first}: days_before is at least "
            f"0, day_count at least 1, whole_day_count at least both together and at most {limits.QUOTE_DAYS_MAX:,}",
        )
    if price.included is None or not price.prorates:
        return price
    return price.including(prorated(price.included.quantity, first, end, whole))


def quote(
    plan: Plan,
    cell_id: str,
    quantity_from: str | None,
    quantity_to: str,
    days: wire.DaysOfPeriod | None = None,
) -> wire.QuotePriceResponse:
    """What a quantity costs, or what it costs to come to it from another one; explained, without tax.

    `days` are those of an accumulation period that is not whole. QuoteError where a quantity is no decimal, where it or
    the amount does not fit, and where there are no such days.
    """
    price = cell_price(plan, cell_id)
    if days is not None:
        price = price_in_days(price, days)
    to = _quantity("quantity_to", quantity_to)
    start = 0 if quantity_from is None else _quantity("quantity_from", quantity_from)
    try:
        if quantity_from is None:
            lines, moved = price_lines(price, to), _rounded(plan, price, to)
        else:
            lines = marginal_lines(price, start, to)
            moved = _rounded(plan, price, to) - _rounded(plan, price, start)
        return wire.QuotePriceResponse(
            plan_id=plan.id,
            cell_id=cell_id,
            currency=plan.currency,
            quantity_before=format_decimal(start, QUANTITY_SCALE),
            quantity_after=format_decimal(to, QUANTITY_SCALE),
            amount=format_money(moved, minor_digits(plan.currency)),
            exact_amount=format_decimal(sum(line.amount for line in lines), AMOUNT_SCALE),
            lines=map(amount_line, lines),
            included_quantity_left=optional_quantity(included_left(price, to) if price.included is not None else None),
            next_tier_from=optional_quantity(next_tier_from(price, to)),
        )
    except DoesNotFit as error:
        raise QuoteError("quantity_to", str(error)) from None


def quote_price(request: wire.QuotePriceRequest) -> wire.QuotePriceResponse:
    """QuotePrice. CATALOG_INVALID for the plan, FIELD_INVALID for the rest."""
    faults = Faults()
    plan = read_one_plan(request.plan, faults)
    if found := faults.ordered():
        fields = fields_within_answer(found)
        raise Fault(ErrorCode.CATALOG_INVALID, _first(found), {"fault_count": str(len(found))}, fields)
    try:
        start = request.quantity_from if request.HasField("quantity_from") else None
        days = request.days if request.HasField("days") else None
        return quote(plan, request.rule_id, start, request.quantity_to, days)
    except QuoteError as error:
        raise field_invalid(error.field, str(error)) from None


def billing_dates(request: wire.PreviewBillingDatesRequest) -> wire.PreviewBillingDatesResponse:
    """PreviewBillingDates. FIELD_INVALID with every field that is wrong."""
    contract = catalog_pb2.Contract(id="contract", customer="customer", time_zone=request.time_zone or DEFAULT_ZONE)
    # An absent start is the contract's fault to name.
    if request.start_date:
        contract.start_date = request.start_date
    for field in ("end_date", "billing_frequency"):
        if request.HasField(field):
            _set(contract, field, getattr(request, field))
    if request.auto_renewal:
        contract.auto_renewal = True
    faults = Faults()
    read = read_objects(
        catalog_pb2.Catalog(customers=[catalog_pb2.Customer(id="customer")], contracts=[contract]), faults
    )
    from_date = None
    if request.HasField("from_date"):
        try:
            from_date = parse_period_date(request.from_date)
        except ValueError as error:
            faults.add(f"{_CONTRACT}from_date", str(error))
    if request.period_count < 0:
        faults.add(f"{_CONTRACT}period_count", "is below 0")
    try:
        apply_change(Catalog(), CatalogChange(read), faults)
    except CatalogInvalidError as invalid:
        found = [CatalogFault(each.path.removeprefix(_CONTRACT), each.message) for each in invalid.faults]
        fields = fields_within_answer(found)
        raise Fault(ErrorCode.FIELD_INVALID, _first(found), {"field": found[0].path}, fields) from None
    (checked,) = read.contracts
    count = request.period_count or limits.BILLING_PERIODS_MAX
    periods = billing_periods(
        checked.billing_frequency, checked.start_date, checked.ends_on, checked.time_zone, from_date
    )
    shown = list(islice(periods, min(count, limits.BILLING_PERIODS_MAX)))
    following = next(periods, None)
    return wire.PreviewBillingDatesResponse(
        periods=[_dates(each, checked) for each in shown],
        next_from_date="" if following is None else following.start_date.isoformat(),
    )


def _set(message: Message, field: str, value: object) -> None:
    if isinstance(value, Message):
        getattr(message, field).CopyFrom(value)
    else:
        setattr(message, field, value)


def _first(found: list[CatalogFault] | tuple[CatalogFault, ...]) -> str:
    return f"{len(found)} faults, the first one: {found[0]}" if len(found) > 1 else str(found[0])


def _dates(period: BillingPeriod, contract: Contract) -> wire.BillingDates:
    term_start, term_end = term_texts(contract, period.start_date)
    return wire.BillingDates(
        start_date=period.start_date.isoformat(),
        end_date=period.end_date.isoformat(),
        period=common_pb2.Period(start_time=timestamp(period.start_us), end_time=timestamp(period.end_us)),
        whole_start_date=period.whole_start_date.isoformat(),
        whole_end_date=period.whole_end_date.isoformat(),
        day_count=period.day_count,
        whole_day_count=period.whole_day_count,
        term_start_date=term_start,
        term_end_date=term_end,
    )


def _quantity(field: str, text: str) -> int:
    try:
        return parse_decimal(text)
    except DecimalFault:
        message = f"{text!r} is no quantity: digits, with a point and at most 12 decimals where needed, below 10^15"
        raise QuoteError(field, message) from None


def _rounded(plan: Plan, price: Price, quantity: int) -> int:
    """The charge line of a quantity, minor units."""
    return rounded_to_minor(exact_price(price, quantity), minor_digits(plan.currency), plan.rounding)
