"""A charge line of a simulation, explained: what each accumulation period adds to it, tier by tier.

The walk is the kernel's (`evaluation.price_slots`) on Python integers, for one line; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tallybook_engine.aggregation.max import NO_EVENT
from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.kernels.wide import from_limbs
from tallybook_engine.pricing.line import PriceLine
from tallybook_engine.pricing.lines import exact_price, marginal_lines, price_lines
from tallybook_engine.pricing.model import Price
from tallybook_engine.simulation.evaluation import price_index_in
from tallybook_engine.simulation.grouping import MAX
from tallybook_engine.simulation.plan import Piece, SimulationPlan, Terms
from tallybook_engine.simulation.run import slots_of


@dataclass(frozen=True, slots=True)
class ExplainedPart:
    """What an accumulation period adds to a charge line."""

    start_us: int
    """First instant of the accumulation period."""
    quantity_before: int
    """Accumulated before the billing period, scale 12."""
    quantity_after: int
    lines: tuple[PriceLine, ...]
    """Those of the quantity after less those of the quantity before."""


def explain_line(
    plan: SimulationPlan,
    terms: Terms,
    piece: Piece,
    subject: int,
    cell: int,
    billing_start_us: int,
    go_on: GoOn = unasked,
) -> list[ExplainedPart]:
    """The parts of the line of a subject's cell in the billing period that starts at an instant, in order of time."""
    found_slots = slots_of(plan, terms, piece)
    quantity, seen = found_slots.quantity, found_slots.seen
    layout, parts = terms.layout, plan.calendars.parts
    first, end = int(layout.part_start[subject]), int(layout.part_end[subject])
    slots = int(found_slots.start[subject - piece.first]) + cell * (end - first) - first
    maximum = int(layout.aggregation[subject]) == MAX
    found = []
    for period in asking(_periods(plan, first, end), go_on):
        started = [part for part in period if parts.start_us[part] <= layout.start_us[subject]]
        # The first part at which the product contract is active holds what is due without any event.
        opening = started[-1] if started else period[0]
        on_line = int(plan.calendars.billing_start_us[parts.billing[opening]]) == billing_start_us
        # What is explained is a line that is open, so that all is open that is due on it.
        if not (on_line or any(seen[slots + part] for part in period)):
            continue
        number = int(parts.period[period[0]])
        price = plan.registry.prices[int(price_index_in(terms.pricing, subject, cell, number))]
        total, opened = NO_EVENT if maximum else 0, False
        for part in period:
            slot = slots + part
            due = part == opening and exact_price(price, 0) != 0
            if not (seen[slot] or due):
                continue
            before = total
            if seen[slot]:
                own = from_limbs(*quantity[slot])
                total = max(total, own) if maximum else total + own
            if int(plan.calendars.billing_start_us[parts.billing[part]]) == billing_start_us:
                found.append(_part(int(parts.start_us[period[0]]), price, before if opened else None, total))
            opened = True
    return found


def _periods(plan: SimulationPlan, first: int, end: int) -> Iterator[range]:
    """The parts of each accumulation period."""
    numbers = plan.calendars.parts.period
    while first < end:
        after = first
        while after < end and numbers[after] == numbers[first]:
            after += 1
        yield range(first, after)
        first = after


def _part(start_us: int, price: Price, before: int | None, after: int) -> ExplainedPart:
    """The first part of a period is charged for all that it comes to, which at quantity 0 may be something."""
    reached = 0 if after == NO_EVENT else after
    if before is None:
        return ExplainedPart(start_us, 0, reached, tuple(price_lines(price, reached)))
    earlier = 0 if before == NO_EVENT else before
    return ExplainedPart(start_us, earlier, reached, tuple(marginal_lines(price, earlier, reached)))
