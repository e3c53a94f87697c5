"""Answers that need no book: a quantity's price, and a contract's billing dates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from tallybook.v1 import simulate_pb2
from tallybook_client.numbers import optional_decimal, to_datetime
from tallybook_client.results import AmountLine


@dataclass(frozen=True, slots=True)
class PriceQuote:
    """What a quantity costs, or what it costs to come to it from another one; without tax."""

    plan_id: str
    cell_id: str
    """Of a matrix; otherwise empty."""
    currency: str
    quantity_before: Decimal
    quantity_after: Decimal
    amount: Decimal
    """Move of the rounded charge line."""
    exact_amount: Decimal
    lines: tuple[AmountLine, ...]
    """Tier by tier; they add up to `exact_amount`."""
    included_quantity_left: Decimal | None
    next_tier_from: Decimal | None

    @classmethod
    def read(cls, message: simulate_pb2.QuotePriceResponse) -> PriceQuote:
        """Read the message."""
        return cls(
            plan_id=message.plan_id,
            cell_id=message.cell_id,
            currency=message.currency,
            quantity_before=Decimal(message.quantity_before),
            quantity_after=Decimal(message.quantity_after),
            amount=Decimal(message.amount),
            exact_amount=Decimal(message.exact_amount),
            lines=tuple(map(AmountLine.read, message.lines)),
            included_quantity_left=optional_decimal(message.included_quantity_left),
            next_tier_from=optional_decimal(message.next_tier_from),
        )


@dataclass(frozen=True, slots=True)
class BillingDates:
    """One billing period: whole, and clipped to the contract. Ends are the first day, or instant, after."""

    start_date: date
    end_date: date
    start_time: datetime
    end_time: datetime
    whole_start_date: date
    whole_end_date: date
    day_count: int
    whole_day_count: int
    term_start_date: date | None
    """First day of the contract's term that the first day lies in; None: the contract has no end."""
    term_end_date: date | None

    @classmethod
    def read(cls, message: simulate_pb2.BillingDates) -> BillingDates:
        """Read the message."""
        return cls(
            start_date=date.fromisoformat(message.start_date),
            end_date=date.fromisoformat(message.end_date),
            start_time=to_datetime(message.period.start_time),
            end_time=to_datetime(message.period.end_time),
            whole_start_date=date.fromisoformat(message.whole_start_date),
            whole_end_date=date.fromisoformat(message.whole_end_date),
            day_count=message.day_count,
            whole_day_count=message.whole_day_count,
            term_start_date=date.fromisoformat(message.term_start_date) if message.term_start_date else None,
            term_end_date=date.fromisoformat(message.term_end_date) if message.term_end_date else None,
        )
