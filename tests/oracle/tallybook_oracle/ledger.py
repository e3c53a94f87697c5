"""The ledger once more: a book that keeps the set of its events and computes every charge line from that set alone.

A line is F to the end of its billing period less F to its start, over the accumulation period that is pinned to the
catalogue in force when it opened; the parts of shorter accumulation periods are added up. It is rounded once, then
taxed. What order decides is only what must be decided at once: which catalogue pins a period, which of two events that
do not both fit is left out, and which of two payloads holds a reference.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

from tallybook_oracle.calendar import anchor, boundary_date, first_instant, zone
from tallybook_oracle.catalog import (
    KINDS,
    Catalogue,
    Meaning,
    OracleFrequency,
    determinant_meters,
    meanings,
    reference_of,
    spelled_out,
)
from tallybook_oracle.numbers import fits, number, rounded
from tallybook_oracle.pricing import OraclePrice, exact_price
from tallybook_oracle.rounding import minor_units
from tallybook_oracle.tax import tax_minor_units

FUTURE_LIMIT_US = 24 * 3600 * 10**6
"""An event may lie this far after its receipt."""
FOREVER_US = 2**62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Members = Sequence[tuple[int, Fraction]]
"""(time in microseconds, value) of each event."""


class LineKey(NamedTuple):
    """What makes a charge line one line; what rounds or is taxed apart is never one."""

    product_contract: str
    cell_id: str
    start_us: int
    """Of the billing period."""
    end_us: int
    currency: str
    rounding: str
    tax_rate: Fraction | None
    tax_inclusive: bool


class LineValue(NamedTuple):
    """A charge line in money; also the difference of two values."""

    exact: Fraction
    amount: int
    """Minor units."""
    tax: int

    def plus(self, other: LineValue) -> LineValue:
        """Both together."""
        return LineValue(self.exact + other.exact, self.amount + other.amount, self.tax + other.tax)

    def minus(self, other: LineValue) -> LineValue:
        """The move from `other` to this value."""
        return LineValue(self.exact - other.exact, self.amount - other.amount, self.tax - other.tax)


class UsageKey(NamedTuple):
    """One cell of a product contract in one accumulation period."""

    product_contract: str
    cell_id: str
    start_us: int
    end_us: int


NOTHING = LineValue(Fraction(0), 0, 0)
Moves = Mapping[LineKey, LineValue]


KEPT = ("meter", "aggregation", "value", "currency", "time_zone", "contract_start", "billing", "accumulation")
"""What a running accumulation period cannot change."""


def differences(before: Meaning, after: Meaning) -> list[str]:
    """What keeps a period from going on under another meaning."""
    return [name for name in KEPT if getattr(before, name) != getattr(after, name)]


# --- One line, from the events in it ----------------------------------------------------------------------------------


@cache
def _boundaries(_frequency: OracleFrequency, _contract_start: date, _zone: str) -> list[int]:
    """Instants of the boundaries counted so far."""
    return []


def period_holding(frequency: OracleFrequency, contract_start: date, zone: str, instant_us: int) -> tuple[int, int]:
    """The period (start, end) of a frequency that holds an instant, which is not before the contract's start."""
    counted = _boundaries(frequency, contract_start, zone)
    anchored_at = anchor(frequency.basis, frequency.unit, contract_start)
    while not counted or counted[-1] <= instant_us:
        day = boundary_date(frequency.unit, frequency.interval, anchored_at, len(counted))
        counted.append(first_instant(zone, day))
    index = bisect_right(counted, instant_us) - 1
    return counted[index], counted[index + 1]


def billing_period(meaning: Meaning, instant_us: int) -> tuple[int, int]:
    """The billing period that holds an instant."""
    return period_holding(meaning.billing, meaning.contract_start, meaning.time_zone, instant_us)


def accumulation_period(meaning: Meaning, instant_us: int) -> tuple[int, int]:
    """The accumulation period that holds an instant, before another catalogue's periods are cut off it."""
    return period_holding(meaning.accumulation, meaning.contract_start, meaning.time_zone, instant_us)


def price_in(meaning: Meaning, cell: int, period: tuple[int, int]) -> OraclePrice:
    """The price of a cell in an accumulation period: where it is not whole, with fewer included units if so agreed."""
    price = meaning.cells[cell].price
    if not price.included_by_days:
        return price
    start_us, end_us = max(period[0], meaning.start_us), period[1]
    if meaning.end_us is not None:
        end_us = min(end_us, meaning.end_us)
    whole_us = accumulation_period(meaning, period[0])
    first, start, end, last = (
        _local_date(meaning.time_zone, each) for each in (whole_us[0], start_us, end_us, whole_us[1])
    )
    # All that is included by then, less all that was before, each to the nearest of 12 decimals.
    shares = [Fraction((each - first).days, (last - first).days) for each in (start, end)]
    before, by_then = (rounded(price.included * share, 12, "HALF_AWAY_FROM_ZERO") for share in shares)
    return replace(price, included=by_then - before if start_us < end_us else Fraction(0))


def _local_date(zone_name: str, instant_us: int) -> date:
    return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(zone(zone_name)).date()


def line_key(meaning: Meaning, cell: int, billing: tuple[int, int]) -> LineKey:
    """The line of a cell in a billing period."""
    return LineKey(
        meaning.product_contract,
        meaning.cells[cell].id,
        *billing,
        meaning.currency,
        meaning.rounding,
        None if meaning.tax is None else meaning.tax.rate,
        meaning.tax is not None and meaning.tax.inclusive,
    )


def line_value(meaning: Meaning, exact: Fraction) -> LineValue | None:
    """A line's exact amount rounded once and taxed; None where it leaves the limits."""
    if not fits(exact):
        return None
    amount = minor_units(exact, meaning.minor_digits, meaning.rounding)
    if amount is None or meaning.tax is None:
        return None if amount is None else LineValue(exact, amount, 0)
    tax = tax_minor_units(amount, meaning.tax.rate, meaning.tax.inclusive)
    return None if tax is None else LineValue(exact, amount, tax)


def aggregated(aggregation: str, values: Sequence[Fraction]) -> Fraction:
    """One quantity of many values."""
    if aggregation == "MAX":
        return max(values, default=Fraction(0))
    return Fraction(len(values)) if aggregation == "COUNT" else sum(values, Fraction(0))


def line_of(meaning: Meaning, cell: int, period_start_us: int, time_us: int, splits: Iterable[int] = ()) -> LineKey:
    """The line on which a cell is charged at an instant of an accumulation period; it does not reach over splits."""
    start_us, end_us = billing_period(meaning, time_us)
    first_us = max(start_us, period_start_us)
    return line_key(meaning, cell, (max([start_us, *(each for each in splits if each <= first_us)]), end_us))


def parts(
    meaning: Meaning,
    period_start_us: int,
    cell: int,
    members: Members,
    earlier: Sequence[Fraction] | None = None,
    splits: Iterable[int] = (),
    whole: tuple[int, int] | None = None,
) -> dict[LineKey, Fraction] | None:
    """What the events of one cell in one accumulation period bring to each line; None where a number does not fit.

    A price that is due without events stands in the first billing period. Where the period is only a stretch of one,
    `earlier` are the values of the stretches before: they count, and were paid for there. `splits` are instants that
    lines do not reach over. `whole` is the accumulation period, where that is not the calendar's.
    """
    price = price_in(meaning, cell, whole or accumulation_period(meaning, period_start_us))
    by_billing: dict[tuple[int, int], list[Fraction]] = defaultdict(list)
    if earlier is None:
        by_billing[billing_period(meaning, max(period_start_us, meaning.start_us))] = []
    for time_us, value in members:
        by_billing[billing_period(meaning, time_us)].append(value)
    found = {}
    values: list[Fraction] = list(earlier or ())
    before = Fraction(0)
    if earlier is not None:
        paid = exact_price(price, aggregated(meaning.aggregation, values))
        if paid is None:
            return None
        before = paid
    for billing in sorted(by_billing):
        values += by_billing[billing]
        after = exact_price(price, aggregated(meaning.aggregation, values))
        if after is None:
            return None
        found[line_of(meaning, cell, period_start_us, max(billing[0], period_start_us), splits)] = after - before
        before = after
    return found


# --- The book ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Period:
    """An accumulation period, or a stretch of one, and what it is pinned to."""

    meaning: Meaning
    version: int
    start_us: int
    end_us: int
    whole: tuple[int, int]
    """Bounds of the accumulation period."""
    after: int | None
    """Number of the stretch before, whose quantity goes on."""


class Account(NamedTuple):
    """One cell in one accumulation period."""

    product_contract: str
    period: int
    """Its number."""
    cell: int
    """Its index."""


@dataclass(eq=False)
class Entry:
    """A stored event."""

    customer: str
    """Reference."""
    reference: str
    generation: int
    payload: Any
    meter: str
    """Reference."""
    contract_id: str
    time_us: int
    values: Mapping[str, Fraction]
    properties: Mapping[str, str]
    rated: int
    """When it was rated last, counted over the book: order decides where not all events fit."""
    status: str = "STORED"
    match: str = ""
    deleted: bool = False
    members: set[Account] = field(default_factory=set)
    """Where it counts."""
    first_moves: Moves = field(default_factory=dict)
    delete_moves: Moves = field(default_factory=dict)


@dataclass(frozen=True)
class RowResult:
    """What became of one event."""

    status: str
    match: str = ""
    generation: int = 0
    moves: Moves = field(default_factory=dict)
    """What the event moved; a duplicate repeats what was moved first."""
    fault: str = ""
    status_of_stored: str = ""
    """Of the event that a duplicate repeats."""


class DoesNotFit(Exception):
    """A reprocess would take a line over the limits; nothing was changed."""


class OracleBook:
    """One book: catalogues, events, pinned periods. Events are dicts in the JSON of the contract's `Event`."""

    def __init__(self) -> None:
        self.versions: list[Catalogue] = [{kind: {} for kind in KINDS}]
        self._meanings: dict[str, Meaning] = {}
        self._customer_references: dict[str, str] = {}
        """Of every customer that any version has had, by id."""
        self._meter_references: dict[str, str] = {}
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        """(customer reference, reference) -> its generations."""
        self._periods: dict[str, dict[int, Period]] = defaultdict(dict)
        """Product contract -> its open periods by number."""
        self._accounts: dict[Account, list[Entry]] = {}
        """The events that count in each open account."""
        self._brings: dict[Account, dict[LineKey, Fraction]] = {}
        """What each open account brings to each line, as `parts` says."""
        self._on_line: dict[LineKey, set[Account]] = defaultdict(set)
        self._opened_lines: dict[Account, set[LineKey]] = defaultdict(set)
        """The lines that each open account has opened, by an event or by what is due without any."""
        self._splits: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """Product contract -> (version, instant from which it holds in periods that are running)."""
        self._number = 0

    # --- Catalogue ----------------------------------------------------------------------------------------------------

    @property
    def catalogue(self) -> Catalogue:
        """The current version."""
        return self.versions[-1]

    def apply_catalog(
        self,
        put: Mapping[str, Iterable[Mapping[str, Any]]],
        remove: Mapping[str, Iterable[str]] | None = None,
        prune: bool = False,
        effective_from_us: int | None = None,
    ) -> int:
        """Puts and removes objects of a catalogue file; answers the version, the same one where nothing changes.

        With an instant, running periods of what changes are split there, after all that counts in them.
        """
        after = {kind: ({} if prune else dict(self.catalogue[kind])) for kind in KINDS}
        for kind in KINDS:
            for name in (remove or {}).get(kind, ()):
                del after[kind][name]
            after[kind].update((each["id"], each) for each in put.get(kind, ()))
        if spelled_out(after) != spelled_out(self.catalogue):
            self.versions.append(after)
            before, self._meanings = self._meanings, meanings(after)
            if effective_from_us is not None:
                self._split(before, effective_from_us)
            self._customer_references |= {name: reference_of(each) for name, each in after["customers"].items()}
            self._meter_references |= {name: reference_of(each) for name, each in after["meters"].items()}
        return len(self.versions) - 1

    def _split(self, before: Mapping[str, Meaning], from_us: int) -> None:
        for product_contract, meaning in self._meanings.items():
            if before.get(product_contract, meaning) == meaning:
                continue
            self._splits[product_contract].append((len(self.versions) - 1, from_us))
            periods = self._periods[product_contract]
            for number_, period in list(periods.items()):
                if period.meaning == meaning or period.end_us <= from_us:
                    continue
                assert period.start_us < from_us
                assert not differences(period.meaning, meaning)
                periods[number_] = replace(period, end_us=from_us)
                for account, entries in self._accounts.items():
                    inside = (account.product_contract, account.period) == (product_contract, number_)
                    assert not inside or all(entry.time_us < from_us for entry in entries)

    def running(self) -> list[tuple[Period, int]]:
        """The open periods of product contracts that there are still, and the last instant that counts in each."""
        found = []
        for product_contract in self._meanings:
            for number_, period in self._periods[product_contract].items():
                times_us = [
                    entry.time_us
                    for account, entries in self._accounts.items()
                    if (account.product_contract, account.period) == (product_contract, number_)
                    for entry in entries
                ]
                found.append((period, max(times_us, default=period.start_us)))
        return found

    def _named(self, kind: str, event: Mapping[str, Any], field_name: str) -> Mapping[str, Any] | None:
        """The customer or meter of the current catalogue that an event names."""
        if event.get(f"{field_name}_id"):
            return self._kept(kind).get(event[f"{field_name}_id"])
        return self._by_reference(kind, event[f"{field_name}_reference"])

    def _by_reference(self, kind: str, reference: str) -> Mapping[str, Any] | None:
        return next((each for each in self._kept(kind).values() if reference_of(each) == reference), None)

    def _kept(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The objects of a kind, and the meters that stand for determinants."""
        more = determinant_meters(self.catalogue) if kind == "meters" else {}
        return {**self.catalogue[kind], **more}

    # --- Events -------------------------------------------------------------------------------------------------------

    def ingest(self, events: Iterable[Mapping[str, Any]], receipt_time_us: int) -> list[RowResult]:
        """Stores events in their order."""
        return [self._ingest(event, receipt_time_us) for event in events]

    def predict(self, events: Iterable[Mapping[str, Any]], receipt_time_us: int) -> list[RowResult]:
        """What `ingest` would answer; nothing is stored."""
        return copy.deepcopy(self).ingest(events, receipt_time_us)

    def _ingest(self, event: Mapping[str, Any], receipt_time_us: int) -> RowResult:
        fault = form_fault(event, receipt_time_us)
        if fault:
            return RowResult("INVALID", fault=fault)
        customer = event.get("customer_reference") or self._customer_references.get(
            event["customer_id"], event["customer_id"]
        )
        meter = event.get("meter_reference") or self._meter_references.get(event["meter_id"], event["meter_id"])
        values = {each["reference"]: number(each["number"]) for each in event.get("meter_values", ())}
        properties = {each["reference"]: each.get("value", "") for each in event.get("meter_properties", ())}
        time_us = instant(event["time"]) if "time" in event else None
        contract_id = event.get("contract_id", "")
        payload = (meter, time_us, contract_id, sorted(values.items()), sorted(properties.items()))
        known = self._entries.get((customer, event["reference"]), [])
        latest = known[-1] if known and not known[-1].deleted else None
        # A reference that was stored is never judged again: its payload alone decides.
        if latest is not None and latest.payload == payload:
            return RowResult(
                "DUPLICATE", latest.match, latest.generation, latest.first_moves, status_of_stored=latest.status
            )
        fault = self._meter_fault(event, values, properties)
        if fault:
            return RowResult("INVALID", fault=fault)
        if latest is not None:
            return RowResult("CONFLICT", "", latest.generation, fault="REFERENCE_CONFLICT")
        entry = Entry(
            customer=customer,
            reference=event["reference"],
            generation=len(known) + 1,
            payload=payload,
            meter=meter,
            contract_id=contract_id,
            time_us=receipt_time_us if time_us is None else time_us,
            values=values,
            properties=properties,
            rated=self._next(),
        )
        self._entries.setdefault((customer, entry.reference), []).append(entry)
        entry.first_moves = self._rate(
            entry, self._named("customers", event, "customer"), self._named("meters", event, "meter")
        )
        return RowResult(entry.status, entry.match, entry.generation, entry.first_moves)

    def _meter_fault(
        self, event: Mapping[str, Any], values: Mapping[str, Fraction], properties: Mapping[str, str]
    ) -> str:
        """What only the catalogue shows."""
        meter = self._named("meters", event, "meter")
        if meter is None:
            return ""
        if not set(values) <= set(meter.get("values", ())):
            return "VALUE_UNKNOWN"
        if not set(properties) <= set(meter.get("properties", ())):
            return "PROPERTY_UNKNOWN"
        if not meter.get("allow_negative") and any(value < 0 for value in values.values()):
            return "QUANTITY_NEGATIVE"
        return ""

    def delete(self, customer: str, reference: str, generation: int) -> tuple[str, Moves]:
        """Deletes an event of a customer, by its reference; (DELETED, ALREADY_DELETED, NOT_FOUND or INVALID, moves)."""
        known = self._entries.get((customer, reference), [])
        if not 1 <= generation <= len(known):
            return "NOT_FOUND", {}
        entry = known[generation - 1]
        if entry.deleted:
            return "ALREADY_DELETED", entry.delete_moves
        moves = self._leave(entry)
        if moves is None:
            return "INVALID", {}
        entry.deleted = True
        entry.delete_moves = moves
        return "DELETED", moves

    # --- Rating -------------------------------------------------------------------------------------------------------

    def _rate(self, entry: Entry, customer: Mapping[str, Any] | None, meter: Mapping[str, Any] | None) -> Moves:
        """Counts an event in everything that takes it, if it fits; answers what it moved."""
        entry.match, hits = self._matched(entry, customer, meter)
        entry.status = "STORED"
        opened = [self._open(product_contract, cell, entry.time_us) for product_contract, cell in hits]
        more = {account for account in opened if account is not None and account not in entry.members}
        moves = self._enter(entry, more) if None not in opened else None
        if moves is None:
            entry.status = "UNPRICED"
            return {}
        entry.members = entry.members | more
        return moves

    def _matched(
        self, entry: Entry, customer: Mapping[str, Any] | None, meter: Mapping[str, Any] | None
    ) -> tuple[str, list[tuple[str, int]]]:
        """(match, (product contract, cell) of everything that takes the event)."""
        if customer is None:
            return "NO_CUSTOMER", []
        if meter is None:
            return "NO_METER", []
        hits, met, active, unbilled = [], False, False, False
        for product_contract in self._product_contracts():
            meaning = self._meaning_at(product_contract, entry.time_us)
            if meaning is None or meaning.customer != customer["id"] or meaning.meter != meter["id"]:
                continue
            if entry.contract_id not in ("", product_contract):
                continue
            met = True
            if not meaning.active(entry.time_us):
                continue
            active = True
            cell = meaning.cell_of(entry.values, entry.properties)
            if cell is None:
                continue
            if meaning.cells[cell].price.model == "none":
                unbilled = True
            else:
                hits.append((product_contract, cell))
        if hits:
            return "MATCHED", hits
        if unbilled:
            return "NOT_BILLED", []
        return ("OUTSIDE_CONTRACT" if met and not active else "NO_CONTRACT"), []

    def _product_contracts(self) -> list[str]:
        """Those of the current catalogue, and those that only open periods know."""
        return [*self._meanings, *(name for name in self._periods if name not in self._meanings)]

    def _meaning_at(self, product_contract: str, time_us: int) -> Meaning | None:
        number_ = self._period_at(product_contract, time_us)
        if number_ is None:
            return self._meanings.get(product_contract)
        return self._periods[product_contract][number_].meaning

    def _period_at(self, product_contract: str, time_us: int) -> int | None:
        for number_, period in self._periods[product_contract].items():
            if period.start_us <= time_us < period.end_us:
                return number_
        return None

    def _open(self, product_contract: str, cell: int, time_us: int) -> Account | None:
        """The account of a cell in the period that holds an instant, opened where it is not open yet.

        None, and nothing is opened, where what is due without events does not fit.
        """
        periods = self._periods[product_contract]
        known = set(periods)
        number_ = self._period_at(product_contract, time_us)
        if number_ is None:
            number_ = self._next()
            periods[number_] = self._new_period(product_contract, time_us)
        account = Account(product_contract, number_, cell)
        # What it goes on from opens first, also where nothing came to it.
        missing = [each for each in (*self._before(account), account) if each not in self._accounts]
        opened = [(account, self._line_at(account, time_us))]
        opened += [(each, self._first_line(each)) for each in missing if each != account or self._is_due(each)]
        opened = [(each, line) for each, line in opened if line not in self._opened_lines.get(each, ())]
        # And with each line all that is due on it without events.
        for _, line in tuple(opened):
            due = [each for each in self._due_on(line) if each not in missing]
            opened += [(each, line) for each in due]
            missing += due
        for each in missing:
            self._accounts[each] = []
        if self._price(missing) is not None:
            for each, line in opened:
                self._opened_lines[each].add(line)
            return account
        for each in missing:
            del self._accounts[each]
        for each_number in set(periods) - known:
            del periods[each_number]
        return None

    def _line_at(self, account: Account, time_us: int) -> LineKey:
        """The line of an account at an instant."""
        period = self._periods[account.product_contract][account.period]
        splits = [at_us for version, at_us in self._splits[account.product_contract] if version <= period.version]
        return line_of(period.meaning, account.cell, period.start_us, time_us, splits)

    def _first_line(self, account: Account) -> LineKey:
        """The line of an account at the first instant at which its product contract is active."""
        period = self._periods[account.product_contract][account.period]
        return self._line_at(account, max(period.start_us, period.meaning.start_us))

    def _is_due(self, account: Account) -> bool:
        """Whether an account is worth something without events, and does not go on from another."""
        period = self._periods[account.product_contract][account.period]
        price = price_in(period.meaning, account.cell, period.whole)
        return not self._before(account) and exact_price(price, Fraction(0)) != 0

    def _due_on(self, line: LineKey) -> list[Account]:
        """The accounts that are not open, are worth something without events and whose first part is on a line.

        Their accumulation periods are opened where they are not.
        """
        periods, found = self._periods[line.product_contract], []
        at_us = line.start_us
        while at_us < line.end_us:
            number_ = self._period_at(line.product_contract, at_us)
            new = number_ is None
            if number_ is None:
                meaning = self._meanings.get(line.product_contract)
                if meaning is None or not meaning.active(at_us):
                    begins = [period.start_us for period in periods.values()]
                    begins += [line.end_us] if meaning is None else [meaning.start_us, line.end_us]
                    at_us = min(each for each in begins if each > at_us)
                    continue
                number_ = self._next()
                periods[number_] = self._new_period(line.product_contract, at_us)
            period = periods[number_]
            at_us = period.end_us
            due = [
                account
                for index, cell in enumerate(period.meaning.cells)
                for account in [Account(line.product_contract, number_, index)]
                if cell.id == line.cell_id and cell.price.model != "none"
                if account not in self._accounts and self._is_due(account) and self._first_line(account) == line
            ]
            found += due
            if new and not due:
                del periods[number_]
        return found

    def _new_period(self, product_contract: str, time_us: int) -> Period:
        """Pinned to the current version, and never reaching into what an earlier version opened."""
        meaning = self._meanings[product_contract]
        others = self._periods[product_contract].values()
        next_us = min([FOREVER_US, *(other.start_us for other in others if other.start_us > time_us)])
        version = len(self.versions) - 1
        for number_, other in self._periods[product_contract].items():
            if not other.end_us <= time_us < other.whole[1] or differences(other.meaning, meaning):
                continue
            if all(each.start_us <= other.start_us or each.start_us > time_us for each in others):
                return Period(meaning, version, other.end_us, min(other.whole[1], next_us), other.whole, number_)
        start_us, end_us = accumulation_period(meaning, time_us)
        start_us = max([start_us, *(other.end_us for other in others if other.end_us <= time_us)])
        end_us = min(end_us, next_us)
        return Period(meaning, version, start_us, end_us, (start_us, end_us), None)

    def _before(self, account: Account) -> list[Account]:
        """The accounts that one goes on from, oldest first: those of the same cell in the stretches before."""
        period = self._periods[account.product_contract][account.period]
        cell_id = period.meaning.cells[account.cell].id
        found: list[Account] = []
        while period.after is not None:
            number_, period = period.after, self._periods[account.product_contract][period.after]
            for index, cell in enumerate(period.meaning.cells):
                if cell.id == cell_id and cell.price.model != "none":
                    found.append(Account(account.product_contract, number_, index))
        return found[::-1]

    def _behind(self, account: Account) -> list[Account]:
        """The open accounts that go on from one."""
        name = account.product_contract
        if all(period.after is None for period in self._periods[name].values()):
            return []
        return [each for each in self._accounts if each.product_contract == name and account in self._before(each)]

    # --- Money --------------------------------------------------------------------------------------------------------

    def _enter(self, entry: Entry, accounts: Iterable[Account]) -> Moves | None:
        """Counts an event in accounts and answers what moved; None, and it does not count, where that does not fit."""
        for account in accounts:
            self._accounts[account].append(entry)
        moves = self._price(accounts)
        if moves is None:
            for account in accounts:
                self._accounts[account].remove(entry)
        return moves

    def _leave(self, entry: Entry) -> Moves | None:
        """The reverse for all accounts of an event; None, and it still counts, where they do not fit without it."""
        for account in entry.members:
            self._accounts[account].remove(entry)
        moves = self._price(entry.members)
        if moves is None:
            for account in entry.members:
                self._accounts[account].append(entry)
        return moves

    def _price(self, accounts: Iterable[Account]) -> Moves | None:
        """Prices accounts anew and answers what moved; None, and nothing has moved, where a number does not fit."""
        moving = [each for account in accounts for each in (account, *self._behind(account))]
        before = {account: self._brings.get(account, {}) for account in moving}
        after = {}
        for account in before:
            priced = self._parts(account, self._accounts)
            if priced is None:
                return None
            after[account] = priced
        touched = {key for found in (*before.values(), *after.values()) for key in found}
        earlier = {key: self._line(key) for key in touched}
        self._bring(after)
        later = {key: self._line(key) for key in touched}
        moves = {}
        for key in touched:
            old, new = earlier[key], later[key]
            assert old is not None
            if new is None:
                self._bring(before)
                return None
            if new != old:
                moves[key] = new.minus(old)
        return moves

    def _parts(self, account: Account, members: Mapping[Account, list[Entry]]) -> dict[LineKey, Fraction] | None:
        period = self._periods[account.product_contract][account.period]
        value = period.meaning.value

        def brought(entry: Entry) -> Fraction:
            return Fraction(0) if value is None else entry.values[value]

        before = self._before(account)
        return parts(
            period.meaning,
            period.start_us,
            account.cell,
            [(entry.time_us, brought(entry)) for entry in members[account]],
            [brought(entry) for each in before for entry in members[each]] if before else None,
            [at_us for version, at_us in self._splits[account.product_contract] if version <= period.version],
            period.whole,
        )

    def _bring(self, brings: Mapping[Account, dict[LineKey, Fraction]]) -> None:
        for account, priced in brings.items():
            for key in self._brings.get(account, {}):
                self._on_line[key].discard(account)
            self._brings[account] = priced
            for key in priced:
                self._on_line[key].add(account)

    def _line(self, key: LineKey) -> LineValue | None:
        accounts = self._on_line[key]
        if not accounts:
            return NOTHING
        exact = sum((self._brings[account][key] for account in accounts), Fraction(0))
        return line_value(self._meaning_of(next(iter(accounts))), exact)

    def _meaning_of(self, account: Account) -> Meaning:
        return self._periods[account.product_contract][account.period].meaning

    def lines(self, *, with_events: bool = True) -> dict[LineKey, LineValue]:
        """Every charge line computed afresh from the set of surviving events, or what it is worth without any."""
        members: dict[Account, list[Entry]] = {account: [] for account in self._accounts}
        for entry in self._surviving() if with_events else ():
            for account in entry.members:
                members[account].append(entry)
        exact: dict[LineKey, Fraction] = defaultdict(Fraction)
        meaning_of: dict[LineKey, Meaning] = {}
        for account in members:
            priced = self._parts(account, members)
            assert priced is not None
            for key, amount in priced.items():
                exact[key] += amount
                meaning_of[key] = self._meaning_of(account)
        found = {}
        for key, amount in exact.items():
            value = line_value(meaning_of[key], amount)
            assert value is not None
            found[key] = value
        return found

    def usage(self) -> dict[UsageKey, Fraction]:
        """The quantity of every account that some event has opened; of a split period, that of its last stretch."""
        members: dict[Account, list[Entry]] = {account: [] for account in self._accounts}
        for entry in self._surviving():
            for account in entry.members:
                members[account].append(entry)
        found = {}
        for account in members:
            if self._behind(account):
                continue
            period = self._periods[account.product_contract][account.period]
            value = period.meaning.value
            entries = [entry for each in (*self._before(account), account) for entry in members[each]]
            values = [Fraction(0) if value is None else entry.values[value] for entry in entries]
            key = UsageKey(account.product_contract, period.meaning.cells[account.cell].id, *period.whole)
            found[key] = aggregated(period.meaning.aggregation, values)
        return found

    # --- Reprocessing -------------------------------------------------------------------------------------------------

    def reprocess(
        self, customer_id: str, start_us: int = 0, end_us: int = FOREVER_US, *, move_pins: bool = False
    ) -> Moves:
        """Rates a customer's events again under the current catalogue; answers what moved. Raises DoesNotFit."""
        before = self.lines()
        put_back = self._remembered()
        try:
            self._reprocess(customer_id, start_us, end_us, move_pins)
        except DoesNotFit:
            put_back()
            raise
        after = self.lines()
        moved = {key: after.get(key, NOTHING).minus(before.get(key, NOTHING)) for key in before | after}
        return {key: move for key, move in moved.items() if move != NOTHING}

    def _remembered(self) -> Callable[[], None]:
        """Remembers what counts where; what it answers puts that back."""
        rated = [(entry, entry.members, entry.status, entry.match, entry.rated) for entry in self._surviving()]
        periods = {product_contract: dict(found) for product_contract, found in self._periods.items()}
        accounts = {account: list(entries) for account, entries in self._accounts.items()}
        brings, on_line = dict(self._brings), {key: set(found) for key, found in self._on_line.items()}
        opened_lines = {account: set(found) for account, found in self._opened_lines.items()}

        def put_back() -> None:
            for entry, members, status, match, order in rated:
                entry.members, entry.status, entry.match, entry.rated = members, status, match, order
            self._periods, self._on_line = defaultdict(dict, periods), defaultdict(set, on_line)
            self._accounts, self._brings = accounts, brings
            self._opened_lines = defaultdict(set, opened_lines)

        return put_back

    def _reprocess(self, customer_id: str, start_us: int, end_us: int, move_pins: bool) -> None:
        gone = {
            (product_contract, number_)
            for product_contract, periods in self._periods.items()
            for number_, period in periods.items()
            if move_pins
            and period.meaning.customer == customer_id
            and period.end_us > start_us
            and period.start_us < end_us
            and self._meanings.get(product_contract) != period.meaning
        }
        # All stretches of a split period go where one of them does.
        gone = {
            (product_contract, number_)
            for product_contract, periods in self._periods.items()
            for number_, period in periods.items()
            if any((product_contract, each) in gone and periods[each].whole == period.whole for each in periods)
        }
        accounts = {account for account in self._accounts if (account.product_contract, account.period) in gone}
        chosen = []
        for entry in self._surviving():
            in_range = start_us <= entry.time_us < end_us
            unrated = entry.status == "UNPRICED" or entry.match != "MATCHED"
            if entry.customer == self._customer_references[customer_id] and (
                accounts & entry.members or (in_range and (unrated or move_pins))
            ):
                chosen.append(entry)
        self._bring({account: {} for account in accounts})
        lost = {line for account in accounts for line in self._opened_lines.pop(account, ())}
        for account in accounts:
            del self._accounts[account], self._brings[account]
        for product_contract, number_ in gone:
            del self._periods[product_contract][number_]
        self._open_whole_again(lost)
        for entry in chosen:
            self._rate_again(entry, accounts)

    def _open_whole_again(self, lines: Iterable[LineKey]) -> None:
        """Opens what is due without events on those lines that some account still has open."""
        for line in sorted(lines, key=lambda each: (each.product_contract, each.start_us)):
            if any(line in opened for opened in self._opened_lines.values()):
                due = self._due_on(line)
                for account in due:
                    self._accounts[account] = []
                    self._opened_lines[account].add(line)
                if self._price(due) is None:
                    raise DoesNotFit

    def _rate_again(self, entry: Entry, gone: set[Account]) -> None:
        was = (entry.members, entry.status, entry.match)
        entry.members = entry.members - gone
        kept = bool(entry.members)
        self._rate(entry, self._by_reference("customers", entry.customer), self._by_reference("meters", entry.meter))
        if entry.status == "UNPRICED" and kept:
            raise DoesNotFit
        if was != (entry.members, entry.status, entry.match):
            entry.rated = self._next()

    def _surviving(self) -> list[Entry]:
        """Events that are not deleted, in the order in which they were rated last."""
        entries = [entry for known in self._entries.values() for entry in known if not entry.deleted]
        return sorted(entries, key=lambda entry: entry.rated)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def events(self) -> list[Entry]:
        """Every event that was ever stored, deleted ones too."""
        return [entry for known in self._entries.values() for entry in known]


# --- What is wrong with an event in itself ----------------------------------------------------------------------------


def form_fault(event: Mapping[str, Any], receipt_time_us: int) -> str:
    """The first thing wrong with an event, whatever the catalogue says; "" where nothing is."""
    for thing in ("customer", "meter"):
        named = [field_name for field_name in (f"{thing}_id", f"{thing}_reference") if event.get(field_name)]
        if len(named) != 1:
            return f"{thing.upper()}_{'AMBIGUOUS' if named else 'MISSING'}"
    if not event.get("reference"):
        return "REFERENCE_EMPTY"
    if len(event["reference"].encode()) > 255:
        return "REFERENCE_TOO_LONG"
    if "time" in event and instant(event["time"]) > receipt_time_us + FUTURE_LIMIT_US:
        return "TIME_IN_FUTURE"
    names = [each["reference"] for each in event.get("meter_values", ())]
    if len(set(names)) < len(names):
        return "VALUE_REPEATED"
    for each in event.get("meter_values", ()):
        fault = _number_fault(each.get("number", ""))
        if fault:
            return fault
    names = [each["reference"] for each in event.get("meter_properties", ())]
    return "PROPERTY_REPEATED" if len(set(names)) < len(names) else ""


def _number_fault(text: str) -> str:
    whole, point, decimals = text.removeprefix("-").partition(".")
    if not text:
        return "DECIMAL_EMPTY"
    if not (whole.isascii() and whole.isdigit()) or (point and not (decimals.isascii() and decimals.isdigit())):
        return "DECIMAL_MALFORMED"
    if len(decimals.rstrip("0")) > 12:
        return "DECIMAL_TOO_FINE"
    return "" if fits(number(text)) else "DECIMAL_OUT_OF_RANGE"


def instant(text: str) -> int:
    """An instant such as "2013-01-31T10:00:00.123456789Z" in microseconds since the epoch; finer digits are cut."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) + int(rest[:6].ljust(6, "0"))
