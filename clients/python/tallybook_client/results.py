"""What the server answers, as frozen values. Money and quantities are `Decimal`, instants are UTC datetimes.

Each class keeps the message it was read from in `message`, for whoever wants the wire's own words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from tallybook.v1 import common_pb2, ingest_pb2
from tallybook_client.numbers import optional_decimal, to_datetime


class Status(StrEnum):
    """Whether an event was stored."""

    STORED = "STORED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    UNPRICED = "UNPRICED"
    INVALID = "INVALID"


class Match(StrEnum):
    """What an event matched."""

    MATCH_UNSPECIFIED = "MATCH_UNSPECIFIED"
    """The event is not stored."""
    MATCHED = "MATCHED"
    NO_CUSTOMER = "NO_CUSTOMER"
    NO_METER = "NO_METER"
    NO_CONTRACT = "NO_CONTRACT"
    OUTSIDE_CONTRACT = "OUTSIDE_CONTRACT"
    NOT_BILLED = "NOT_BILLED"


class Cause(StrEnum):
    """Why a charge line moved."""

    OPEN = "OPEN"
    EVENT = "EVENT"
    DELETE = "DELETE"
    RERATE = "RERATE"


class View(StrEnum):
    """How much of a cost to answer."""

    NONE = "NONE"
    AMOUNTS = "AMOUNTS"
    """Amounts and tax of each customer and currency."""
    FULL = "FULL"
    """Amounts, and each period with its tier lines."""

    @property
    def number(self) -> ingest_pb2.CostPrediction.View.ValueType:
        """The view on the wire."""
        return ingest_pb2.CostPrediction.View.Value(self)


class DeleteStatus(StrEnum):
    """What became of a delete."""

    DELETED = "DELETED"
    ALREADY_DELETED = "ALREADY_DELETED"
    NOT_FOUND = "NOT_FOUND"
    INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class Money:
    """An amount, with the currency's own number of decimals."""

    quantity: Decimal
    currency: str

    @classmethod
    def read(cls, message: common_pb2.Money) -> Money:
        """The value of a message."""
        return cls(Decimal(message.quantity or 0), message.currency)

    def __str__(self) -> str:
        return f"{self.quantity:,f} {self.currency}"


@dataclass(frozen=True, slots=True)
class TaxSummary:
    """An amount without tax, its tax, and with tax."""

    base_amount: Money
    tax_amount: Money
    total_amount: Money
    country_code: str
    """Whose tax it is; empty where no tax applies."""

    @classmethod
    def read(cls, message: common_pb2.TaxSummary) -> TaxSummary:
        """The value of a message."""
        return cls(
            Money.read(message.base_amount),
            Money.read(message.tax_amount),
            Money.read(message.total_amount),
            message.country_code,
        )


@dataclass(frozen=True, slots=True)
class AmountLine:
    """One step of an amount: a tier, or a rule that stands around the tiers."""

    rule: str
    """TIER, INCLUDED, PACKAGE, MINIMUM, CAP or ROUNDING."""
    tier: int
    """Counted from 1; 0 where the line is not of a tier."""
    quantity: Decimal
    unit_amount: Decimal | None
    flat_amount: Decimal | None
    amount: Decimal

    @classmethod
    def read(cls, message: common_pb2.AmountLine) -> AmountLine:
        """The value of a message."""
        return cls(
            common_pb2.AmountLine.Rule.Name(message.rule),
            message.tier,
            Decimal(message.quantity or 0),
            optional_decimal(message.unit_amount),
            optional_decimal(message.flat_amount),
            Decimal(message.amount or 0),
        )


@dataclass(frozen=True, slots=True)
class PeriodCost:
    """How an event moved one charge line."""

    start_time: datetime
    end_time: datetime
    contract_path: tuple[str, ...]
    plan_id: str
    cell_id: str
    cause: Cause
    amount: Decimal
    exact_amount: Decimal
    tax_amount: Decimal
    lines: tuple[AmountLine, ...]
    quantity_before: Decimal
    quantity_after: Decimal
    included_quantity_left: Decimal | None
    next_tier_from: Decimal | None
    catalog_version: int
    line_number: int

    @classmethod
    def read(cls, message: ingest_pb2.PeriodCost) -> PeriodCost:
        """The value of a message."""
        return cls(
            to_datetime(message.start_time),
            to_datetime(message.end_time),
            tuple(message.contract_path),
            message.plan_id,
            message.cell_id,
            Cause(ingest_pb2.PeriodCost.Cause.Name(message.cause)),
            Decimal(message.amount or 0),
            Decimal(message.exact_amount or 0),
            Decimal(message.tax_amount or 0),
            tuple(map(AmountLine.read, message.lines)),
            Decimal(message.quantity_before or 0),
            Decimal(message.quantity_after or 0),
            optional_decimal(message.included_quantity_left),
            optional_decimal(message.next_tier_from),
            message.catalog_version,
            message.line_number,
        )


@dataclass(frozen=True, slots=True)
class TermsAdjustment:
    """What the terms of a contract tree make of an event in one billing period of the root contract."""

    contract_id: str
    start_time: datetime
    end_time: datetime
    amount_excluding_tax: Money
    amount_including_tax: Money

    @classmethod
    def read(cls, message: ingest_pb2.TermsAdjustment) -> TermsAdjustment:
        """The value of a message."""
        return cls(
            message.contract_id,
            to_datetime(message.start_time),
            to_datetime(message.end_time),
            Money.read(message.amount_excluding_tax),
            Money.read(message.amount_including_tax),
        )


@dataclass(frozen=True, slots=True)
class CostDetail:
    """The cost of an event for one customer in one currency."""

    customer_id: str
    amount_excluding_tax: Money
    amount_including_tax: Money
    tax_summary: TaxSummary
    periods: tuple[PeriodCost, ...]
    """The lines that moved; only in the view FULL."""
    net_amount_excluding_tax: Money
    """What the event moves of invoices: the amount, and what fees, discounts, minimums, credits make of it."""
    net_amount_including_tax: Money
    adjustments: tuple[TermsAdjustment, ...] = ()
    """What lies between amount and net amount, by billing period; only in the view FULL."""

    @property
    def is_adjusted(self) -> bool:
        """Whether the terms of contracts make something of the cost."""
        amounts = self.amount_excluding_tax, self.amount_including_tax
        return amounts != (self.net_amount_excluding_tax, self.net_amount_including_tax) or bool(self.adjustments)

    @classmethod
    def read(cls, message: ingest_pb2.CostDetail) -> CostDetail:
        """The value of a message, whose net amounts are absent where they equal the amounts."""
        adjusted = message.HasField("net_amount_excluding_tax")
        return cls(
            message.customer_id,
            Money.read(message.amount_excluding_tax),
            Money.read(message.amount_including_tax),
            TaxSummary.read(message.tax_summary),
            tuple(map(PeriodCost.read, message.periods)),
            Money.read(message.net_amount_excluding_tax if adjusted else message.amount_excluding_tax),
            Money.read(message.net_amount_including_tax if adjusted else message.amount_including_tax),
            tuple(map(TermsAdjustment.read, message.adjustments)),
        )


@dataclass(frozen=True, slots=True)
class CostPrediction:
    """What an event costs: a copy of its postings."""

    response: str
    """OK, FAILED (not ready in time: ask again) or NOT_SUPPORTED."""
    details: tuple[CostDetail, ...]
    """One a customer and currency; empty where the event matched nothing."""

    @classmethod
    def read(cls, message: ingest_pb2.CostPrediction) -> CostPrediction:
        """The value of a message."""
        return cls(
            ingest_pb2.CostPrediction.Response.Name(message.response), tuple(map(CostDetail.read, message.details))
        )


@dataclass(frozen=True, slots=True)
class RowFault:
    """What is wrong with one row."""

    reason: str
    field: str
    text: str

    @classmethod
    def read(cls, message: common_pb2.RowFault) -> RowFault:
        """The value of a message."""
        return cls(message.reason, message.field, message.message)


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event."""

    status: Status
    match: Match
    event_id: str
    generation: int
    cost: CostPrediction | None
    """None unless asked for, and for INVALID and CONFLICT."""
    fault: RowFault | None
    message: ingest_pb2.EventResult = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.EventResult) -> EventResult:
        """The value of a message."""
        return cls(
            Status(ingest_pb2.EventResult.Status.Name(message.status)),
            Match(ingest_pb2.EventResult.Match.Name(message.match)),
            message.event_id,
            message.generation,
            CostPrediction.read(message.cost_prediction) if message.HasField("cost_prediction") else None,
            RowFault.read(message.fault) if message.HasField("fault") else None,
            message,
        )


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What became of one delete."""

    status: DeleteStatus
    event_id: str
    generation: int
    cost: CostPrediction | None
    """What the delete moved, signed."""
    fault: RowFault | None
    message: ingest_pb2.DeleteResult = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.DeleteResult) -> DeleteResult:
        """The value of a message."""
        return cls(
            DeleteStatus(ingest_pb2.DeleteResult.Status.Name(message.status)),
            message.event_id,
            message.generation,
            CostPrediction.read(message.cost_prediction) if message.HasField("cost_prediction") else None,
            RowFault.read(message.fault) if message.HasField("fault") else None,
            message,
        )


@dataclass(frozen=True, slots=True)
class EventHistory:
    """One thing that happened to an event."""

    cause: Cause
    sequence: int
    receipt_time: datetime
    status: Status
    match: Match
    cost: CostPrediction

    @classmethod
    def read(cls, message: ingest_pb2.EventHistory) -> EventHistory:
        """The value of a message."""
        return cls(
            Cause(ingest_pb2.PeriodCost.Cause.Name(message.cause)),
            message.sequence,
            to_datetime(message.receipt_time),
            Status(ingest_pb2.EventResult.Status.Name(message.status)),
            Match(ingest_pb2.EventResult.Match.Name(message.match)),
            CostPrediction.read(message.cost),
        )


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored, with its processing."""

    event: ingest_pb2.Event
    """As it was sent."""
    event_id: str
    generation: int
    status: Status
    match: Match
    effective_time: datetime
    """The instant by which it is rated."""
    receipt_time: datetime
    sequence: int
    deleted: bool
    history: tuple[EventHistory, ...]
    """Oldest first; only where one event is asked for."""
    fault: RowFault | None
    message: ingest_pb2.StoredEvent = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.StoredEvent) -> StoredEvent:
        """The value of a message."""
        return cls(
            message.event,
            message.event_id,
            message.generation,
            Status(ingest_pb2.EventResult.Status.Name(message.status)),
            Match(ingest_pb2.EventResult.Match.Name(message.match)),
            to_datetime(message.effective_time),
            to_datetime(message.receipt_time),
            message.sequence,
            message.deleted,
            tuple(map(EventHistory.read, message.history)),
            RowFault.read(message.fault) if message.HasField("fault") else None,
            message,
        )


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """The running total of one product contract, matrix cell and accumulation period."""

    contract_path: tuple[str, ...]
    product_id: str
    plan_id: str
    cell_id: str
    start_time: datetime
    end_time: datetime
    quantity: Decimal
    included_quantity_left: Decimal | None
    next_tier_from: Decimal | None
    catalog_version: int
    message: ingest_pb2.UsageTotal = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.UsageTotal) -> UsageTotal:
        """The value of a message."""
        return cls(
            tuple(message.contract_path),
            message.product_id,
            message.plan_id,
            message.cell_id,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            Decimal(message.quantity or 0),
            optional_decimal(message.included_quantity_left),
            optional_decimal(message.next_tier_from),
            message.catalog_version,
            message,
        )


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One product contract, matrix cell and billing period, in money."""

    line_number: int
    """0 for a line that no event has opened yet."""
    customer_id: str
    contract_path: tuple[str, ...]
    product_id: str
    plan_id: str
    cell_id: str
    start_time: datetime
    end_time: datetime
    quantity: Decimal
    exact_amount: Decimal
    amount_excluding_tax: Money
    amount_including_tax: Money
    tax_summary: TaxSummary
    lines: tuple[AmountLine, ...]
    catalog_version: int
    due_date: date | None
    """When it is due; None unless asked as invoiced."""
    message: ingest_pb2.ChargeLine = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.ChargeLine) -> ChargeLine:
        """The value of a message."""
        return cls(
            message.line_number,
            message.customer_id,
            tuple(message.contract_path),
            message.product_id,
            message.plan_id,
            message.cell_id,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            Decimal(message.quantity or 0),
            Decimal(message.exact_amount or 0),
            Money.read(message.amount_excluding_tax),
            Money.read(message.amount_including_tax),
            TaxSummary.read(message.tax_summary),
            tuple(map(AmountLine.read, message.lines)),
            message.catalog_version,
            date.fromisoformat(message.due_date) if message.due_date else None,
            message,
        )


@dataclass(frozen=True, slots=True)
class NetAmount:
    """What a root contract with terms comes to in one of its billing periods, by its postings."""

    contract_id: str
    start_time: datetime
    end_time: datetime
    amount_excluding_tax: Money
    """Of the charge lines that the period bills."""
    net_amount_excluding_tax: Money
    """With what fees, shares, discounts, caps, minimums and credits make of it."""
    net_amount_including_tax: Money
    catalog_version: int
    """Whose terms count."""
    message: ingest_pb2.NetAmount = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.NetAmount) -> NetAmount:
        """The value of a message."""
        return cls(
            message.contract_id,
            to_datetime(message.period.start_time),
            to_datetime(message.period.end_time),
            Money.read(message.amount_excluding_tax),
            Money.read(message.net_amount_excluding_tax),
            Money.read(message.net_amount_including_tax),
            message.catalog_version,
            message,
        )


@dataclass(frozen=True, slots=True)
class ReprocessProgress:
    """How far a reprocess is; the last one has `done`."""

    customer_count_done: int
    customer_count_total: int
    event_count_rated: int
    line_count_moved: int
    amounts: tuple[TaxSummary, ...]
    """What the moves add up to, one a currency."""
    net_amounts: tuple[TaxSummary, ...]
    """The same with what the terms of contract trees make of it."""
    resume_token: str
    done: bool
    sequence: int
    message: ingest_pb2.ReprocessEventsResponse = field(repr=False, compare=False)

    @classmethod
    def read(cls, message: ingest_pb2.ReprocessEventsResponse) -> ReprocessProgress:
        """The value of a message."""
        return cls(
            message.customer_count_done,
            message.customer_count_total,
            message.event_count_rated,
            message.line_count_moved,
            tuple(map(TaxSummary.read, message.amounts)),
            tuple(map(TaxSummary.read, message.net_amounts)),
            message.resume_token,
            message.done,
            message.sequence,
            message,
        )
