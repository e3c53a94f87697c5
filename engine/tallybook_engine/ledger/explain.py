"""Postings and lines explained: where they belong, and tier by tier how their exact amounts come about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.catalog.compile import Definition
from tallybook_engine.contract.unopened import UnopenedLine
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.ledger.outcomes import (
    NO_NET,
    Adjustment,
    Cause,
    ChargeLine,
    Explained,
    NetPostings,
    Postings,
    StageOutcome,
    UsageTotal,
)
from tallybook_engine.ledger.state import LineOrigin, State
from tallybook_engine.pricing.line import LineKind, PriceLine
from tallybook_engine.pricing.lines import included_left, next_tier_from, price_lines
from tallybook_engine.pricing.model import Price


def shown(quantity: int) -> int:
    """A quantity as people see it: a maximum over no events is 0."""
    return 0 if quantity == NO_EVENT else quantity


def price_of_part(state: State, part: int) -> Price:
    """The price that a part was opened under."""
    return price_of_account(state, int(state.parts.arrays.account[part]))


def price_of_account(state: State, account: int) -> Price:
    """The price that an account was opened under, in its accumulation period."""
    period = int(state.accounts.arrays.period[account])
    definition = state.pools.definitions[int(state.periods.arrays.definition[period])]
    return definition.price_in(int(state.accounts.arrays.cell[account]), *state.whole_period(period))


def lines_between(price: Price, steps: Iterable[tuple[int, int]]) -> list[PriceLine]:
    """The lines of a price at several quantities, each added (+1) or taken away (-1), tier by tier."""
    return combined((sign, line) for sign, quantity in steps for line in price_lines(price, quantity))


def combined(signed_lines: Iterable[tuple[int, PriceLine]]) -> list[PriceLine]:
    """Lines added and taken away, one for each rule, tier and unit price; those that come to nothing are left out."""
    sums: dict[tuple[LineKind, int, int | None], tuple[int, int, int]] = {}
    for sign, line in signed_lines:
        key = (line.kind, line.tier, line.unit_amount)
        quantity, flat_fee, amount = sums.get(key, (0, 0, 0))
        sums[key] = (quantity + sign * line.quantity, flat_fee + sign * line.flat_fee, amount + sign * line.amount)
    return [
        PriceLine(kind, tier, quantity, unit_amount, flat_fee, amount)
        for (kind, tier, unit_amount), (quantity, flat_fee, amount) in sums.items()
        if (quantity, flat_fee, amount) != (0, 0, 0)
    ]


def explain_postings(
    state: State, postings: Postings, start: int, end: int, cause: Cause, net: NetPostings = NO_NET
) -> list[Explained]:
    """The postings [start, end) of one record, those that move nothing left out, and its moves of net lines.

    A carried posting stands right behind that of the part before it, which says how the carried part's start moved.
    """
    explained = []
    for at in range(start, end):
        part = int(postings.part[at])
        price = price_of_part(state, part)
        before, after = _quantities(postings, at)
        steps = [(+1, after), (-1, before)]
        if postings.carried[at]:
            start_before, start_after = _quantities(postings, at - 1)
            steps += [(-1, start_after), (+1, start_before)]
        lines = lines_between(price, steps)
        if postings.carried[at] and not lines and postings.amount[at] == 0 and postings.tax[at] == 0:
            continue
        line = int(state.parts.arrays.line[part])
        explained.append(
            _explained(
                state,
                line,
                cause,
                amount=int(postings.amount[at]),
                tax=int(postings.tax[at]),
                exact_amount=from_limbs(*postings.exact[at]),
                before=before,
                after=after,
                lines=lines,
                price=price,
            )
        )
    return _with_adjustments(state, explained, net) if len(net.row) else explained


def _with_adjustments(state: State, explained: list[Explained], net: NetPostings) -> list[Explained]:
    """The same with each tree's moves of net lines on its first posting."""
    by_root: dict[str, list[Adjustment]] = {}
    moves = zip(net.cause.tolist(), net.net_line.tolist(), net.amount.tolist(), net.tax.tolist(), strict=True)
    for cause, net_line, amount, tax in moves:
        if cause != Cause.OPEN:
            line = state.net.lines[net_line]
            by_root.setdefault(line.contract_id, []).append(
                Adjustment(line.contract_id, line.start_us, line.end_us, amount, tax)
            )
    return [replace(each, adjustments=tuple(by_root.pop(each.contract_path[0], ()))) for each in explained]


def explain_rows(
    state: State, outcome: StageOutcome, rows: Iterable[int], cause: Cause = Cause.EVENT
) -> list[list[Explained]]:
    """`explain_postings` of each row."""
    starts, net = outcome.posting_starts, outcome.net
    has_net = len(net.row) > 0
    return [
        explain_postings(
            state,
            outcome.postings,
            int(starts[row]),
            int(starts[row + 1]),
            cause,
            net.of_rows(row, row + 1) if has_net else NO_NET,
        )
        for row in rows
    ]


def _quantities(postings: Postings, at: int) -> tuple[int, int]:
    return (
        shown(from_limbs(*postings.quantity_before[at])),
        shown(from_limbs(*postings.quantity_after[at])),
    )


def _explained(
    state: State,
    line: int,
    cause: Cause,
    *,
    amount: int,
    tax: int,
    exact_amount: int,
    before: int,
    after: int,
    lines: Sequence[PriceLine],
    price: Price,
) -> Explained:
    origin = state.line_origins[line]
    definition = state.pools.definitions[origin.definition]
    return Explained(
        customer_id=definition.customer_id,
        currency=definition.currency,
        minor_digits=definition.minor_digits,
        country_code=definition.country_code if definition.tax is not None else "",
        tax_inclusive=definition.tax_inclusive,
        contract_path=definition.contract_path,
        plan_id=definition.plan_id,
        product_id=definition.product_id,
        cell_id=definition.cells[origin.cell].id,
        catalog_version=origin.version,
        line_number=line + 1,
        period_start_us=origin.period_start_us,
        period_end_us=state.line_end(line),
        cause=cause,
        amount=amount,
        tax=tax,
        exact_amount=exact_amount,
        quantity_before=before,
        quantity_after=after,
        lines=tuple(lines),
        included_quantity_left=None if price.included is None else included_left(price, after),
        next_tier_from=next_tier_from(price, after),
    )


def charge_line(
    state: State,
    line: int,
    end_us: int,
    exact: int,
    amount: int,
    tax: int,
    quantities: Sequence[tuple[int, int | None, int]],
) -> ChargeLine:
    """A whole line; `quantities` are (part, quantity that it goes on from, quantity at its end) of its parts. The first
    part of an account goes on from none.
    """
    origin = state.line_origins[line]
    definition = state.pools.definitions[origin.definition]
    lines: list[PriceLine] = []
    quantity = 0
    for part, start, end in quantities:
        price = price_of_part(state, part)
        steps = [(+1, end)] if start is None else [(+1, end), (-1, start)]
        lines = combined([*((+1, line_) for line_ in lines), *((+1, line_) for line_ in lines_between(price, steps))])
        quantity = _line_quantity(definition, quantity, start or 0, end)
    return _charge_line(line + 1, origin, end_us, definition, exact, amount, tax, quantity, lines)


def _line_quantity(definition: Definition, quantity: int, start: int, end: int) -> int:
    if definition.aggregation.value == "MAX":
        return max(quantity, end)
    return quantity + end - start


def unopened_line(version: int, definition_index: int, line: UnopenedLine) -> ChargeLine:
    """What a line is worth that no event has opened, under a version of the catalogue."""
    origin = LineOrigin(definition_index, line.cell, line.start_us, line.end_us, version)
    lines = combined((+1, each) for part in line.parts for each in price_lines(part.price, 0))
    return _charge_line(0, origin, line.end_us, line.definition, line.exact, line.amount, line.tax_amount, 0, lines)


def _charge_line(
    line_number: int,
    origin: LineOrigin,
    end_us: int,
    definition: Definition,
    exact: int,
    amount: int,
    tax: int,
    quantity: int,
    lines: Sequence[PriceLine],
) -> ChargeLine:
    return ChargeLine(
        line_number=line_number,
        customer_id=definition.customer_id,
        currency=definition.currency,
        minor_digits=definition.minor_digits,
        country_code=definition.country_code if definition.tax is not None else "",
        tax_inclusive=definition.tax_inclusive,
        contract_path=definition.contract_path,
        plan_id=definition.plan_id,
        product_id=definition.product_id,
        cell_id=definition.cells[origin.cell].id,
        catalog_version=origin.version,
        period_start_us=origin.period_start_us,
        period_end_us=end_us,
        quantity=quantity,
        exact_amount=exact,
        amount=amount,
        tax=tax,
        applied_tax=definition.tax,
        lines=tuple(lines),
    )


def usage_total(state: State, account: int, quantity: int) -> UsageTotal:
    """The running total of an account."""
    period = int(state.accounts.arrays.period[account])
    period_start_us, period_end_us = state.whole_period(period)
    definition = state.pools.definitions[int(state.periods.arrays.definition[period])]
    cell = definition.cells[int(state.accounts.arrays.cell[account])]
    price = price_of_account(state, account)
    return UsageTotal(
        contract_path=definition.contract_path,
        plan_id=definition.plan_id,
        product_id=definition.product_id,
        cell_id=cell.id,
        catalog_version=int(state.periods.arrays.version[period]),
        period_start_us=period_start_us,
        period_end_us=period_end_us,
        quantity=quantity,
        included_quantity_left=None if price.included is None else included_left(price, quantity),
        next_tier_from=next_tier_from(price, quantity),
    )
