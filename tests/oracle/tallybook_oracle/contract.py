"""A contract tree's invoices once more: from the JSON of the catalogue, recursively, from the contract's start on.

A level comes to its own lines and all below. Then: discount, cap, minimum, credits, each on what those before it left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

from tallybook_oracle.calendar import anchor, boundary_date, first_instant
from tallybook_oracle.catalog import MINOR_DIGITS, Catalogue, OracleTax, below, tax_of, with_inherited
from tallybook_oracle.numbers import number, rounded
from tallybook_oracle.tax import tax_minor_units


class OracleCharge(NamedTuple):
    """A charge line, in minor units as priced."""

    path: tuple[str, ...]
    start_us: int
    end_us: int
    amount: int
    tax_amount: int
    tax: OracleTax | None


class OracleLine(NamedTuple):
    """A line of an invoice, in minor units as priced."""

    kind: str
    path: tuple[str, ...]
    id: str
    start_us: int
    end_us: int
    amount: int
    tax_amount: int
    tax: OracleTax | None
    due_date: date | None
    """None: the invoice's."""


class OracleDays(NamedTuple):
    """A period, whole and clipped."""

    whole_start: date
    whole_end: date
    start: date
    end: date
    start_us: int
    end_us: int

    def part_of(self, amount: int) -> int:
        """An amount of the whole period by days, rounded up to the end and up to the start."""
        whole = (self.whole_end - self.whole_start).days
        up_to_end = Fraction(amount * (self.end - self.whole_start).days, whole)
        up_to_start = Fraction(amount * (self.start - self.whole_start).days, whole)
        return _nearest(up_to_end) - _nearest(up_to_start)


@dataclass
class OracleInvoice:
    """A period of a level with its lines and those below."""

    days: OracleDays
    lines: list[OracleLine] = field(default_factory=list)

    def by_tax(self) -> dict[OracleTax | None, int]:
        """What the lines come to for each tax."""
        sums: dict[OracleTax | None, int] = defaultdict(int)
        for line in self.lines:
            sums[line.tax] += line.amount
        return sums

    def total(self) -> int:
        """What they come to."""
        return sum(line.amount for line in self.lines)


def invoices(
    catalogue: Catalogue, root_id: str, charges: Iterable[OracleCharge], until_us: int, currency: str
) -> list[OracleInvoice]:
    """Every invoice of a root contract whose period begins before an instant; each line has its due date."""
    root = catalogue["contracts"][root_id]
    settling = _Settling(catalogue, root, list(charges), MINOR_DIGITS.get(currency, 2))
    found = settling.level(with_inherited(root, {}), (root_id,), until_us)
    terms = timedelta(days=int(root.get("payment_term_days", 0)))
    for invoice in found:
        invoice.lines = [line._replace(due_date=(line.due_date or invoice.days.end) + terms) for line in invoice.lines]
    return found


class _Settling:
    def __init__(self, catalogue: Catalogue, root: Mapping[str, Any], charges: list[OracleCharge], digits: int) -> None:
        self._catalogue = catalogue
        self._root = root
        self._charges = charges
        self._digits = digits

    def _minor(self, text: str) -> int:
        return int(number(text) * 10**self._digits)

    def level(self, contract: Mapping[str, Any], path: tuple[str, ...], until_us: int) -> list[OracleInvoice]:
        """The periods of a level, settled."""
        periods = [OracleInvoice(each) for each in _level_days(contract, until_us)]
        if not periods:
            return []
        ends = contract["end_date"] is not None and periods[-1].days.end == _end(contract)
        horizon_us = periods[-1].days.end_us

        def holding(instant_us: int) -> OracleInvoice | None:
            for each in periods:
                if instant_us < each.days.end_us:
                    return each
            return periods[-1] if ends else None

        for sub in below(contract, self._root):
            inherited = with_inherited(sub, contract)
            for settled in self.level(inherited, (*path, sub["id"]), horizon_us + (2**40 if ends else 0)):
                at = holding(settled.days.end_us - 1)
                if at is not None:
                    at.lines += settled.lines
        for charge in self._charges:
            if charge.path[:-1] == path:
                at = holding(charge.end_us - 1)
                if at is not None:
                    at.lines.append(OracleLine("CHARGE", charge.path, charge.path[-1], *charge[1:], None))
        tax = tax_of(self._catalogue, contract["customer"])
        for fee in contract.get("fixed_fees", ()):
            for line, billed_us in self._fee_lines(fee, contract, path, tax, horizon_us):
                at = holding(billed_us)
                if at is not None:
                    at.lines.append(line)
        balances = {each["id"]: self._minor(each["amount"]) for each in contract.get("credits", ())}
        for each in periods:
            self._shares(each, contract, path, tax)
            self._modifiers(each, contract, path, tax, balances)
        return periods

    def _fee_lines(
        self,
        fee: Mapping[str, Any],
        contract: Mapping[str, Any],
        path: tuple[str, ...],
        tax: OracleTax | None,
        until_us: int,
    ) -> list[tuple[OracleLine, int]]:
        amount = self._minor(fee["amount"])
        in_advance = fee.get("timing") == "IN_ADVANCE"
        start = date.fromisoformat(fee.get("start_date", contract["start_date"]))

        def line(start_us: int, end_us: int, amount: int, first_day: date) -> OracleLine:
            due = first_day if in_advance else None
            return OracleLine("FIXED_FEE", path, fee["id"], start_us, end_us, amount, _tax(tax, amount), tax, due)

        if fee.get("once"):
            instant_us = first_instant(contract["time_zone"], start)
            return [(line(instant_us, instant_us, amount, start), instant_us)]
        billing = contract["billing_frequency"]
        frequency = {"basis": billing["basis"], **fee.get("frequency", billing)}
        limits = {"start_date": start.isoformat(), "end_date": fee.get("end_date", contract["end_date"])}
        anchored_by = contract["anchored_by"]
        if fee.get("per_term"):
            frequency, anchored_by = _term(contract), contract["start_date"]
        found = []
        for days in _days({**contract, **limits, "billing_frequency": frequency}, anchored_by, until_us):
            due = days.part_of(amount) if fee.get("prorate") else amount
            billed_us = days.start_us if in_advance else days.end_us - 1
            found.append((line(days.start_us, days.end_us, due, days.start), billed_us))
        return found

    def _shares(
        self, each: OracleInvoice, contract: Mapping[str, Any], path: tuple[str, ...], tax: OracleTax | None
    ) -> None:
        shares = {share["id"]: share for share in contract.get("revenue_shares", ())}
        made: dict[str, OracleLine | None] = {}

        def lines_of(name: str) -> list[OracleLine]:
            if name in shares:
                share = share_line(name)
                return [] if share is None else [share]
            kinds = ("CHARGE", "FIXED_FEE", "REVENUE_SHARE")
            return [line for line in each.lines if line.id == name and line.kind in kinds]

        def share_line(name: str) -> OracleLine | None:
            if name not in made:
                of = [line for charge in shares[name]["charges"] for line in lines_of(charge)]
                amount = _nearest(sum(line.amount for line in of) * number(shares[name]["rate"]))
                days = each.days
                made[name] = (
                    OracleLine(
                        "REVENUE_SHARE", path, name, days.start_us, days.end_us, amount, _tax(tax, amount), tax, None
                    )
                    if of
                    else None
                )
            return made[name]

        each.lines += [line for name in shares if (line := share_line(name)) is not None]

    def _modifiers(
        self,
        each: OracleInvoice,
        contract: Mapping[str, Any],
        path: tuple[str, ...],
        tax: OracleTax | None,
        balances: dict[str, int],
    ) -> None:
        days = each.days

        def add(kind: str, name: str, amount: int) -> None:
            weights = {of: base for of, base in each.by_tax().items() if base > 0} or {tax: 1}
            for of, part in _largest_remainder(amount, weights).items():
                if part:
                    each.lines.append(
                        OracleLine(kind, path, name, days.start_us, days.end_us, part, _tax(of, part), of, None)
                    )

        def bound(text: str) -> int:
            whole = self._minor(text)
            return days.part_of(whole) if contract.get("prorate") else whole

        discount = contract.get("discount")
        if discount is not None:
            threshold, total = bound(discount.get("threshold", "0")), each.total()
            of = total - threshold if discount.get("mode") == "EXCESS" else total
            if total > threshold:
                add("DISCOUNT", "", -_nearest(of * number(discount["rate"])))
        if "cap" in contract and each.total() > bound(contract["cap"]):
            add("CAP", "", bound(contract["cap"]) - each.total())
        if "minimum" in contract and each.total() < bound(contract["minimum"]):
            add("MINIMUM", "", bound(contract["minimum"]) - each.total())
        start = contract["start_date"]
        for credit in sorted(
            contract.get("credits", ()),
            key=lambda credit: (credit.get("end_date", "9999-12-31"), credit.get("start_date", start)),
        ):
            first = date.fromisoformat(credit.get("start_date", start))
            last = date.fromisoformat(credit.get("end_date", "9999-12-31"))
            used = min(balances[credit["id"]], max(each.total(), 0))
            if first < days.end and days.start < last and used:
                balances[credit["id"]] -= used
                add("CREDIT", credit["id"], -used)


def _term(contract: Mapping[str, Any]) -> dict[str, Any]:
    """How long a term is: whole months where the first one is, days otherwise."""
    start, end = (date.fromisoformat(contract[name][:10]) for name in ("start_date", "term_end"))
    for months in range(1, 1200):
        if boundary_date("MONTH", months, start, 1) == end:
            return {"basis": "CONTRACT", "unit": "MONTH", "interval": months}
    return {"basis": "CONTRACT", "unit": "DAY", "interval": (end - start).days}


def _level_days(contract: Mapping[str, Any], until_us: int) -> list[OracleDays]:
    return _days(contract, contract["anchored_by"], until_us)


def _days(contract: Mapping[str, Any], anchored_by: str, until_us: int) -> list[OracleDays]:
    """The periods of a contract's dates that begin before an instant."""
    frequency, zone = contract["billing_frequency"], contract["time_zone"]
    unit, interval = frequency["unit"], int(frequency["interval"])
    anchored_at = anchor(frequency["basis"], unit, date.fromisoformat(anchored_by))
    start, end = date.fromisoformat(contract["start_date"]), _end(contract)
    found: list[OracleDays] = []
    index = 0
    while True:
        whole_start = boundary_date(unit, interval, anchored_at, index)
        whole_end = boundary_date(unit, interval, anchored_at, index + 1)
        first, last = max(whole_start, start), whole_end if end is None else min(whole_end, end)
        index += 1
        if (end is not None and whole_start >= end) or first_instant(zone, first) >= until_us:
            return found
        if whole_end > start and first_instant(zone, first) < first_instant(zone, last):
            instants = first_instant(zone, first), first_instant(zone, last)
            found.append(OracleDays(whole_start, whole_end, first, last, *instants))


def _end(contract: Mapping[str, Any]) -> date | None:
    return None if contract["end_date"] is None else date.fromisoformat(contract["end_date"][:10])


def _largest_remainder(amount: int, weights: Mapping[OracleTax | None, int]) -> dict[OracleTax | None, int]:
    taxes = sorted(weights, key=lambda tax: ("", Fraction(0)) if tax is None else (tax.id, tax.rate))
    total, sign = sum(weights.values()), -1 if amount < 0 else 1
    exact = {tax: Fraction(abs(amount) * weights[tax], total) for tax in taxes}
    parts = {tax: floor(share) for tax, share in exact.items()}
    left = abs(amount) - sum(parts.values())
    for tax in sorted(taxes, key=lambda tax: parts[tax] - exact[tax])[:left]:
        parts[tax] += 1
    return {tax: sign * part for tax, part in parts.items()}


def _nearest(amount: Fraction) -> int:
    return int(rounded(Fraction(amount), 0, "HALF_AWAY_FROM_ZERO"))


def _tax(tax: OracleTax | None, amount: int) -> int:
    if tax is None:
        return 0
    found = tax_minor_units(amount, tax.rate, tax.inclusive)
    assert found is not None, "a tax does not fit"
    return found
