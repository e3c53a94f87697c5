"""Invoices as values: what a contract tree comes to in a billing period."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from tallybook.v1 import ingest_pb2, simulate_pb2
from tallybook_client.numbers import to_datetime
from tallybook_client.results import ChargeLine, Money


class InvoiceLineKind(StrEnum):
    """What a line of an invoice is."""

    CHARGE = "CHARGE"
    FIXED_FEE = "FIXED_FEE"
    REVENUE_SHARE = "REVENUE_SHARE"
    DISCOUNT = "DISCOUNT"
    CAP = "CAP"
    MINIMUM = "MINIMUM"
    CREDIT = "CREDIT"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line of an invoice."""

    kind: InvoiceLineKind
    contract_path: tuple[str, ...]
    """Ids from the root contract down to the level; of a CHARGE, down to the product contract."""
    id: str
    """Of the fixed fee, revenue share, credit or product contract; empty for the rest."""
    start_time: datetime
    end_time: datetime
    amount_excluding_tax: Money
    tax_amount: Money
    amount_including_tax: Money
    tax_id: str
    """Empty: no tax."""
    due_date: date
    charge: ChargeLine | None
    """Of a CHARGE, with its tier lines."""
    message: ingest_pb2.InvoiceLine = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.InvoiceLine) -> InvoiceLine:
        """The value of a message."""
        return cls(
            InvoiceLineKind(ingest_pb2.InvoiceLine.Kind.Name(message.kind)),
            tuple(message.contract_path),
            message.id,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            Money.read(message.amount_excluding_tax),
            Money.read(message.tax_amount),
            Money.read(message.amount_including_tax),
            message.tax_id,
            date.fromisoformat(message.due_date),
            ChargeLine.read(message.charge) if message.HasField("charge") else None,
            message,
        )


@dataclass(frozen=True, slots=True)
class InvoiceLevel:
    """What one level of the tree came to in one of its billing periods."""

    contract_path: tuple[str, ...]
    start_time: datetime
    end_time: datetime
    subtotal: Money
    """Its own lines and all below before its modifiers; with tax where prices contain it."""
    total: Money
    """After them."""

    @classmethod
    def read(cls, message: simulate_pb2.InvoiceLevel) -> InvoiceLevel:
        """The value of a message."""
        return cls(
            tuple(message.contract_path),
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            Money.read(message.subtotal),
            Money.read(message.total),
        )


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a root contract comes to in one billing period."""

    contract_id: str
    customer_id: str
    start_date: date
    end_date: date
    """First day after."""
    issue_date: date
    due_date: date
    lines: tuple[InvoiceLine, ...]
    """Level by level from the leaves up, each level's charges and fees before its modifiers."""
    levels: tuple[InvoiceLevel, ...]
    amount_excluding_tax: Money
    tax_amount: Money
    amount_including_tax: Money
    term_start_date: date | None
    """First day of the contract's term that the first day lies in; None: the contract has no end."""
    term_end_date: date | None
    """First day after that term."""
    message: simulate_pb2.Invoice = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: simulate_pb2.Invoice) -> Invoice:
        """The value of a message."""
        return cls(
            message.contract_id,
            message.customer_id,
            date.fromisoformat(message.start_date),
            date.fromisoformat(message.end_date),
            date.fromisoformat(message.issue_date),
            date.fromisoformat(message.due_date),
            tuple(map(InvoiceLine.read, message.lines)),
            tuple(map(InvoiceLevel.read, message.levels)),
            Money.read(message.amount_excluding_tax),
            Money.read(message.tax_amount),
            Money.read(message.amount_including_tax),
            date.fromisoformat(message.term_start_date) if message.term_start_date else None,
            date.fromisoformat(message.term_end_date) if message.term_end_date else None,
            message,
        )
