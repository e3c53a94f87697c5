"""Fixed fee: an amount that is due without usage, once or every period, in advance or in arrears.

A fee's periods are anchored as its contract's are, and need not be the contract's billing periods. In advance, a fee is
billed in the billing period that its own begins in; in arrears, in the one that its own ends in. A platform fee of a
year in advance and support of a month in arrears (streamOS) so stand beside each other in one contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from tallybook_engine.calendar.billing_dates import billing_periods
from tallybook_engine.calendar.zones import midnight
from tallybook_engine.catalog.model import FeeTiming, FixedFee, Frequency


@dataclass(frozen=True, slots=True)
class FeePeriod:
    """One period of a fee."""

    part: tuple[int, int, int] | None
    """The part of its amount that is due, by days (`BillingPeriod.part`); None: all of it."""
    start_us: int
    end_us: int
    billed_us: int
    """The billing period that holds this instant bills it."""
    issue_date: date | None
    """In advance, when it falls to be paid: its first day. In arrears None: with the billing period."""


def fee_periods(
    fee: FixedFee,
    frequency: Frequency,
    contract_start: date,
    start: date,
    end: date | None,
    zone: str,
    from_date: date,
) -> Iterator[FeePeriod]:
    """The periods of a fee, from the one that holds `from_date` on; a fee that is due once has one.

    `frequency` is its own; `start` and `end` are its days.
    """
    in_advance = fee.timing is FeeTiming.IN_ADVANCE
    if fee.once:
        instant = midnight(zone, start)
        yield FeePeriod(None, instant, instant, instant, start if in_advance else None)
        return
    for period in billing_periods(frequency, start, end, zone, from_date, contract_start):
        yield FeePeriod(
            period.part if fee.prorate else None,
            period.start_us,
            period.end_us,
            period.start_us if in_advance else period.end_us - 1,
            period.start_date if in_advance else None,
        )
