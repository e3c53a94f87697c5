"""Invoices of a contract tree from what the ledger holds of it: its charge lines, settled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice, takewhile

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.calendar.billing_dates import BillingPeriod, billing_periods
from tallybook_engine.calendar.zones import local_date
from tallybook_engine.catalog.model import Contract
from tallybook_engine.contract.invoice import Charge, Invoice, InvoiceLine, LineKind
from tallybook_engine.contract.settle import settle, settled_stretch
from tallybook_engine.contract.tree import Tree
from tallybook_engine.ledger import reads
from tallybook_engine.ledger.outcomes import ChargeLine
from tallybook_engine.ledger.state import State


@dataclass(frozen=True)
class InvoicedCharges:
    """What the invoices of a customer have in a stretch of time."""

    charges: Sequence[tuple[ChargeLine, date]]
    """Each charge line, by billing period, contract path and cell, and when it is due."""
    others: Sequence[tuple[Invoice, InvoiceLine]]
    """The other lines, invoice by invoice."""
    sequence: int


def invoiced_charges(found: Sequence[tuple[Sequence[Invoice], Sequence[ChargeLine]]], sequence: int) -> InvoicedCharges:
    """The lines of invoices, tree by tree with the charge lines that they count."""
    charges = [
        (lines[line.charge], line.due_date)
        for invoices, lines in found
        for invoice in invoices
        for line in invoice.lines
        if line.kind is LineKind.CHARGE
    ]
    others = [
        (invoice, line)
        for invoices, _ in found
        for invoice in invoices
        for line in invoice.lines
        if line.kind is not LineKind.CHARGE
    ]
    charges.sort(key=lambda each: reads.order_of(each[0]))
    return InvoicedCharges(charges, others, sequence)


@dataclass(frozen=True)
class PreviewedInvoices:
    """Invoices, and what they stand on."""

    invoices: Sequence[Invoice]
    """By billing period."""
    lines: Sequence[ChargeLine]
    """What `InvoiceLine.charge` counts."""
    next_date: date | None
    """First day of the billing period behind them; None: there is none."""
    catalog_version: int
    sequence: int
    root: Contract


def root_periods(tree: Tree, first_day: date, count: int) -> tuple[list[BillingPeriod], date | None]:
    """At most so many billing periods of a tree's root, from the one that holds a day on, and where the next begins."""
    level = tree.levels[0]
    periods = billing_periods(
        level.frequency,
        level.contract.start_date,
        level.end_date,
        level.contract.time_zone,
        first_day,
        level.anchor,
    )
    found = list(islice(periods, count))
    following = next(periods, None)
    return found, None if following is None else following.start_date


def root_periods_touching(tree: Tree, start_us: int, end_us: int) -> Iterator[BillingPeriod]:
    """The billing periods of a tree's root that touch [start, end)."""
    level = tree.levels[0]
    contract = level.contract
    # Zones differ by less than two days.
    first_day = max(contract.start_date, local_date("UTC", start_us) - timedelta(days=2))
    periods = billing_periods(
        level.frequency, contract.start_date, level.end_date, contract.time_zone, first_day, level.anchor
    )
    for period in takewhile(lambda each: each.start_us < end_us, periods):
        if start_us < period.end_us:
            yield period


def stored_lines(
    state: State, tree: Tree, view: reads.AsOf, periods: Sequence[BillingPeriod], go_on: GoOn = unasked
) -> list[ChargeLine]:
    """The charge lines that settling periods of a tree's root looks at, those that cost something without events too.

    Raises InvoiceTooLargeError.
    """
    root = tree.root
    start_us, end_us = settled_stretch(tree, periods[0].start_us, periods[-1].end_us, go_on)
    # Of this tree alone: its lines end where it ends, and those of the customer's other contracts need not.
    return reads.charge_lines(state, view, start_us, end_us, include_unopened=True, root_id=root.id, go_on=go_on)


def invoices_of(
    tree: Tree, lines: Sequence[ChargeLine], periods: Sequence[BillingPeriod], go_on: GoOn = unasked
) -> list[Invoice]:
    """The invoices of billing periods of a tree's root, one behind the other; their charges are counted in `lines`.

    Raises InvoiceTooLargeError, and DoesNotFit where a tax leaves 2^63 minor units.
    """
    first_us, until_us = periods[0].start_us, periods[-1].end_us
    invoices = []
    for currency in dict.fromkeys([tree.currency, *(each.currency for each in lines)]):
        if not currency:
            continue
        of_currency = tree if currency == tree.currency else tree.without_terms(currency)
        places = [place for place, line in enumerate(lines) if line.currency == currency]
        charges = [charge_of(lines[place]) for place in asking(places, go_on)]
        for invoice in settle(of_currency, charges, first_us, until_us, go_on):
            if invoice.lines or currency == tree.currency:
                invoices.append(invoice.with_charges_at(places))
    # Stable, so that within a period the contract's own currency stands first.
    return sorted(invoices, key=lambda each: each.start_us)


def charge_of(line: ChargeLine) -> Charge:
    """A charge line as settling takes it."""
    return Charge(
        line.contract_path,
        line.period_start_us,
        line.period_end_us,
        line.currency,
        line.amount,
        line.tax,
        line.applied_tax,
    )
