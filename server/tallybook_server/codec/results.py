"""What the ledger answers, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from tallybook.v1 import common_pb2, ingest_pb2
from tallybook_engine.decimals import AMOUNT_SCALE, QUANTITY_SCALE, UNIT, format_decimal, format_money
from tallybook_engine.ledger.costs import CostArrays
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.net_amounts import NetAmount
from tallybook_engine.ledger.outcomes import (
    ChargeLine,
    DeleteOutcome,
    DeleteStatus,
    Explained,
    History,
    Match,
    ReprocessProgress,
    StageOutcome,
    Status,
    StoredEvent,
    UsageTotal,
)
from tallybook_engine.pricing.line import PriceLine
from tallybook_server.errors import ROW_FAULTS

View = ingest_pb2.CostPrediction.View
Prediction = ingest_pb2.CostPrediction

_MICROSECONDS = 1_000_000
_COSTED = (Status.STORED, Status.DUPLICATE, Status.UNPRICED)
"""Rows that may have a prediction."""
_ORDINARY_MATCHES = (Match.MATCHED, Match.NOT_BILLED)
_EVENT_ID_PREFIX = "evt_"


def event_id_text(event_id: int) -> str:
    """`evt_` and 16 hexadecimal digits; empty for 0, which is no event."""
    return f"{_EVENT_ID_PREFIX}{event_id:016x}" if event_id else ""


def event_id_number(text: str) -> int | None:
    """The number of an event id; None where the text is none."""
    digits = text.removeprefix(_EVENT_ID_PREFIX)
    if len(digits) != 16 or len(text) != 20 or not set(digits) <= set("0123456789abcdef"):
        return None
    return int(digits, 16) or None


def timestamp(instant_us: int) -> Timestamp:
    """An instant in microseconds since the epoch."""
    seconds, microseconds = divmod(instant_us, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=microseconds * 1_000)


def row_fault(fault: int, field: str = "", found: str = "") -> common_pb2.RowFault:
    """A row's fault with its sentence, and what was found."""
    reason = RowFault(fault)
    message = ROW_FAULTS[reason]
    return common_pb2.RowFault(
        reason=reason.name, field=field, message=f"{message} Found {found!r}." if found else message
    )


# --- Costs --------------------------------------------------------------------------------------------------------


def prediction(explained: Sequence[Explained], view: View.ValueType) -> Prediction:
    """The postings of one event as one detail a customer and currency; with each period in the view FULL."""
    groups: dict[tuple[str, str], list[Explained]] = {}
    for each in explained:
        groups.setdefault((each.customer_id, each.currency), []).append(each)
    return Prediction(response=Prediction.OK, details=[_detail(group, view) for group in groups.values()])


def failed_prediction() -> Prediction:
    """A cost that was not ready in time or does not fit."""
    return Prediction(response=Prediction.FAILED)


def _detail(group: Sequence[Explained], view: View.ValueType) -> ingest_pb2.CostDetail:
    first = group[0]
    excluding = sum(_excluding_tax(each.amount, each.tax, each.tax_inclusive) for each in group)
    summary = _tax_summary(
        excluding, sum(each.tax for each in group), first.currency, first.minor_digits, _country_code(group)
    )
    return ingest_pb2.CostDetail(
        customer_id=first.customer_id,
        amount_excluding_tax=summary.base_amount,
        amount_including_tax=summary.total_amount,
        tax_summary=summary,
        periods=[_period_cost(each) for each in group] if view == View.FULL else (),
        **_net(group, excluding, view),
    )


def _net(group: Sequence[Explained], excluding: int, view: View.ValueType) -> dict[str, Any]:
    """The fields that say what the terms of contract trees make of an event; none where no term moved."""
    adjustments = [adjustment for each in group for adjustment in each.adjustments]
    if not adjustments:
        return {}
    first = group[0]
    net = excluding + sum(each.amount for each in adjustments)
    tax = sum(each.tax for each in group) + sum(each.tax for each in adjustments)
    return {
        "net_amount_excluding_tax": money(net, first.currency, first.minor_digits),
        "net_amount_including_tax": money(net + tax, first.currency, first.minor_digits),
        "adjustments": [
            ingest_pb2.TermsAdjustment(
                contract_id=each.contract_id,
                start_time=timestamp(each.start_us),
                end_time=timestamp(each.end_us),
                amount_excluding_tax=money(each.amount, first.currency, first.minor_digits),
                amount_including_tax=money(each.amount + each.tax, first.currency, first.minor_digits),
            )
            for each in adjustments
        ]
        if view == View.FULL
        else (),
    }


def _excluding_tax(amount: int, tax: int, tax_inclusive: bool) -> int:
    return amount - tax if tax_inclusive else amount


def _country_code(group: Sequence[Explained]) -> str:
    """Of the lines that are taxed: a customer has one country."""
    return next((each.country_code for each in group if each.country_code), "")


def _tax_summary(
    excluding: int, tax: int, currency: str, minor_digits: int, country_code: str
) -> common_pb2.TaxSummary:
    return common_pb2.TaxSummary(
        base_amount=money(excluding, currency, minor_digits),
        tax_amount=money(tax, currency, minor_digits),
        total_amount=money(excluding + tax, currency, minor_digits),
        country_code=country_code,
    )


def money(minor: int, currency: str, minor_digits: int) -> common_pb2.Money:
    """An amount of minor units."""
    return common_pb2.Money(quantity=format_money(minor, minor_digits), currency=currency)


def _period_cost(each: Explained) -> ingest_pb2.PeriodCost:
    return ingest_pb2.PeriodCost(
        start_time=timestamp(each.period_start_us),
        end_time=timestamp(each.period_end_us),
        contract_path=each.contract_path,
        amount=format_money(each.amount, each.minor_digits),
        exact_amount=format_decimal(each.exact_amount, AMOUNT_SCALE),
        lines=[amount_line(line) for line in each.lines],
        cell_id=each.cell_id,
        quantity_before=format_decimal(each.quantity_before, QUANTITY_SCALE),
        quantity_after=format_decimal(each.quantity_after, QUANTITY_SCALE),
        included_quantity_left=optional_quantity(each.included_quantity_left),
        next_tier_from=optional_quantity(each.next_tier_from),
        cause=int(each.cause),  # type: ignore[arg-type]
        tax_amount=format_money(each.tax, each.minor_digits),
        catalog_version=each.catalog_version,
        plan_id=each.plan_id,
        line_number=each.line_number,
    )


def optional_quantity(quantity: int | None) -> str:
    """A quantity; empty where there is none."""
    return "" if quantity is None else format_decimal(quantity, QUANTITY_SCALE)


def amount_line(line: PriceLine) -> common_pb2.AmountLine:
    """A line of an explained price."""
    return common_pb2.AmountLine(
        tier=line.tier,
        quantity=format_decimal(line.quantity, QUANTITY_SCALE),
        unit_amount=optional_quantity(line.unit_amount),
        amount=format_decimal(line.amount, AMOUNT_SCALE),
        rule=common_pb2.AmountLine.Rule.Value(line.kind.value),
        flat_amount=format_decimal(line.flat_fee, QUANTITY_SCALE) if line.flat_fee else "",
    )


# --- Events -------------------------------------------------------------------------------------------------------


def event_results(
    outcome: StageOutcome, view: View.ValueType, explained: Sequence[Sequence[Explained]]
) -> list[ingest_pb2.EventResult]:
    """One result a row. `explained` has the postings of the first rows; those of the others were not ready in time."""
    statuses, matches = outcome.status.tolist(), outcome.match.tolist()
    faults, event_ids, generations = outcome.faults.tolist(), outcome.event_ids.tolist(), outcome.generations.tolist()
    results = []
    for row, status in enumerate(statuses):
        result = ingest_pb2.EventResult(
            status=status, match=matches[row], event_id=event_id_text(event_ids[row]), generation=generations[row]
        )
        if faults[row]:
            result.fault.CopyFrom(row_fault(faults[row], *outcome.fault_fields.get(row, ("", ""))))
        if view in (View.AMOUNTS, View.FULL) and status in _COSTED:
            ready = row < len(explained) and not faults[row]
            result.cost_prediction.CopyFrom(prediction(explained[row], view) if ready else failed_prediction())
        results.append(result)
    return results


def batch_response(batch_number: int, outcome: StageOutcome, sequence: int, costs: CostArrays | None) -> bytes:
    """A `StreamingIngestEventsResponse` with what became of a batch, serialised."""
    response = ingest_pb2.StreamingIngestEventsResponse(batch_number=batch_number)
    return response.SerializeToString() + _delimited(_RESULT, batch_result(outcome, sequence, costs))


def batch_result(outcome: StageOutcome, sequence: int, costs: CostArrays | None) -> bytes:
    """A serialised `BatchResult`: counts, the rows that want attention, and costs where they were asked for.

    Columns are laid behind the message as the wire has them, so that no element of theirs is ever looked at.
    """
    status = outcome.status
    counts = np.bincount(status, minlength=len(Status) + 1).tolist()
    stored = (status == Status.STORED) | (status == Status.UNPRICED)
    result = ingest_pb2.BatchResult(
        sequence=sequence,
        stored_count=counts[Status.STORED],
        duplicate_count=counts[Status.DUPLICATE],
        conflict_count=counts[Status.CONFLICT],
        unpriced_count=counts[Status.UNPRICED],
        invalid_count=counts[Status.INVALID],
        matched_count=int(np.count_nonzero(stored & (outcome.match == Match.MATCHED))),
        exceptional_rows=_exceptional_rows(outcome),
    )
    duplicates = _packed(_DUPLICATE_ROWS, np.flatnonzero(status == Status.DUPLICATE).astype("<u4"))
    columns = b"" if costs is None else _delimited(_COSTS, cost_columns(costs, len(status)))
    return b"".join((result.SerializeToString(), duplicates, columns))


def _exceptional_rows(outcome: StageOutcome) -> list[ingest_pb2.ExceptionalRow]:
    ordinary = (outcome.status == Status.STORED) & np.isin(outcome.match, _ORDINARY_MATCHES)
    ordinary |= outcome.status == Status.DUPLICATE
    exceptional = []
    for row in np.flatnonzero(~ordinary).tolist():
        each = ingest_pb2.ExceptionalRow(row=row, status=int(outcome.status[row]), match=int(outcome.match[row]))  # type: ignore[arg-type]
        if outcome.faults[row]:
            each.fault.CopyFrom(row_fault(int(outcome.faults[row]), *outcome.fault_fields.get(row, ("", ""))))
        exceptional.append(each)
    return exceptional


_RESULT = ingest_pb2.StreamingIngestEventsResponse.RESULT_FIELD_NUMBER
_DUPLICATE_ROWS = ingest_pb2.BatchResult.DUPLICATE_ROWS_FIELD_NUMBER
_COSTS = ingest_pb2.BatchResult.COSTS_FIELD_NUMBER
_Columns = ingest_pb2.CostColumns


def cost_columns(costs: CostArrays, row_count: int) -> bytes:
    """Serialised `CostColumns`; columns that go without saying are left out."""
    columns = _Columns(currencies=costs.currencies, decimal_places=costs.decimal_places)
    one_each = len(costs.row) == row_count and bool((costs.row == np.arange(row_count, dtype=np.uint32)).all())
    packed = [
        b"" if one_each else _packed(_Columns.ROW_FIELD_NUMBER, costs.row.astype("<u4", copy=False)),
        b"" if len(costs.currencies) < 2 else _packed(_Columns.CURRENCY_FIELD_NUMBER, costs.currency.astype("<u4")),
        _packed(_Columns.AMOUNT_EXCLUDING_TAX_FIELD_NUMBER, costs.amount_excluding_tax.astype("<i8", copy=False)),
        _packed(_Columns.TAX_AMOUNT_FIELD_NUMBER, costs.tax_amount.astype("<i8", copy=False)),
    ]
    net_amount, net_tax = costs.net_amount_excluding_tax, costs.net_tax_amount
    if not (np.array_equal(net_amount, costs.amount_excluding_tax) and np.array_equal(net_tax, costs.tax_amount)):
        packed += [
            _packed(_Columns.NET_AMOUNT_EXCLUDING_TAX_FIELD_NUMBER, net_amount.astype("<i8", copy=False)),
            _packed(_Columns.NET_TAX_AMOUNT_FIELD_NUMBER, net_tax.astype("<i8", copy=False)),
        ]
    return b"".join((columns.SerializeToString(), *packed))


def _packed(field_number: int, elements: NDArray[np.generic]) -> bytes:
    """A packed field of fixed width; none where it is empty."""
    return _delimited(field_number, elements.tobytes()) if len(elements) else b""


def _delimited(field_number: int, content: bytes) -> bytes:
    """A length-delimited field as it lies on the wire."""
    return b"".join((_varint(field_number << 3 | 2), _varint(len(content)), content))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def delete_result(outcome: DeleteOutcome, view: View.ValueType) -> ingest_pb2.DeleteResult:
    """What became of one delete, with what it moved where that is asked for."""
    result = ingest_pb2.DeleteResult(
        status=int(outcome.status),  # type: ignore[arg-type]
        event_id=event_id_text(outcome.event_id),
        generation=outcome.generation,
    )
    if outcome.fault:
        result.fault.CopyFrom(row_fault(outcome.fault))
    deleted = outcome.status in (DeleteStatus.DELETED, DeleteStatus.ALREADY_DELETED)
    if deleted and view in (View.AMOUNTS, View.FULL):
        result.cost_prediction.CopyFrom(prediction(outcome.postings, view))
    return result


def stored_event(event: StoredEvent) -> ingest_pb2.StoredEvent:
    """An event as stored, with its history where it has one."""
    payload = event.payload
    sent = ingest_pb2.Event(
        customer_reference=payload.customer_reference,
        meter_reference=payload.meter_reference,
        reference=payload.reference,
        time=None if payload.time_us is None else timestamp(payload.time_us),
        contract_id=payload.contract_id or "",
        meter_values=[
            ingest_pb2.MeterValue(reference=name, number=format_decimal(number, QUANTITY_SCALE))
            for name, number in payload.values
        ],
        meter_properties=[ingest_pb2.MeterProperty(reference=name, value=value) for name, value in payload.properties],
    )
    return ingest_pb2.StoredEvent(
        event=sent,
        event_id=event_id_text(event.event_id),
        generation=event.generation,
        status=int(event.status),  # type: ignore[arg-type]
        match=int(event.match),  # type: ignore[arg-type]
        effective_time=timestamp(event.effective_time_us),
        receipt_time=timestamp(event.receipt_time_us),
        sequence=event.sequence,
        deleted=event.deleted,
        history=[_history(each) for each in event.history],
        fault=row_fault(event.fault) if event.fault else None,
    )


def _history(each: History) -> ingest_pb2.EventHistory:
    unpriced = each.status == Status.UNPRICED
    return ingest_pb2.EventHistory(
        cause=int(each.cause),  # type: ignore[arg-type]
        sequence=each.sequence,
        receipt_time=timestamp(each.receipt_time_us),
        match=int(each.match),  # type: ignore[arg-type]
        status=int(each.status),  # type: ignore[arg-type]
        cost=failed_prediction() if unpriced else prediction(each.postings, View.FULL),
    )


# --- Lines and totals ---------------------------------------------------------------------------------------------


def charge_line(line: ChargeLine) -> ingest_pb2.ChargeLine:
    """A charge line, with the closing line that rounding makes."""
    excluding = _excluding_tax(line.amount, line.tax, line.tax_inclusive)
    summary = _tax_summary(excluding, line.tax, line.currency, line.minor_digits, line.country_code)
    lines = [amount_line(each) for each in line.lines]
    rounding = line.amount * UNIT * UNIT // 10**line.minor_digits - line.exact_amount
    if rounding:
        rule = common_pb2.AmountLine.ROUNDING
        lines.append(common_pb2.AmountLine(amount=format_decimal(rounding, AMOUNT_SCALE), rule=rule))
    return ingest_pb2.ChargeLine(
        line_number=line.line_number,
        customer_id=line.customer_id,
        contract_path=line.contract_path,
        product_id=line.product_id,
        plan_id=line.plan_id,
        cell_id=line.cell_id,
        period=period(line.period_start_us, line.period_end_us),
        quantity=format_decimal(line.quantity, QUANTITY_SCALE),
        exact_amount=format_decimal(line.exact_amount, AMOUNT_SCALE),
        amount_excluding_tax=summary.base_amount,
        amount_including_tax=summary.total_amount,
        tax_summary=summary,
        lines=lines,
        catalog_version=line.catalog_version,
    )


def net_amount(each: NetAmount) -> ingest_pb2.NetAmount:
    """What a billing period of a root contract comes to."""
    currency = each.currency, each.minor_digits
    return ingest_pb2.NetAmount(
        contract_id=each.contract_id,
        period=period(each.start_us, each.end_us),
        amount_excluding_tax=money(each.amount, *currency),
        net_amount_excluding_tax=money(each.net_amount, *currency),
        net_amount_including_tax=money(each.net_amount + each.net_tax, *currency),
        catalog_version=each.catalog_version,
    )


def usage_total(total: UsageTotal) -> ingest_pb2.UsageTotal:
    """A running total."""
    return ingest_pb2.UsageTotal(
        contract_path=total.contract_path,
        product_id=total.product_id,
        plan_id=total.plan_id,
        cell_id=total.cell_id,
        period=period(total.period_start_us, total.period_end_us),
        quantity=format_decimal(total.quantity, QUANTITY_SCALE),
        included_quantity_left=optional_quantity(total.included_quantity_left),
        next_tier_from=optional_quantity(total.next_tier_from),
        catalog_version=total.catalog_version,
    )


def period(start_us: int, end_us: int) -> common_pb2.Period:
    """A stretch of time."""
    return common_pb2.Period(start_time=timestamp(start_us), end_time=timestamp(end_us))


def reprocess_progress(progress: ReprocessProgress) -> ingest_pb2.ReprocessEventsResponse:
    """How far a reprocess is."""
    return ingest_pb2.ReprocessEventsResponse(
        customer_count_done=progress.customer_count_done,
        customer_count_total=progress.customer_count_total,
        event_count_rated=progress.event_count_rated,
        line_count_moved=progress.line_count_moved,
        amounts=[
            _tax_summary(excluding, tax, currency, minor_digits, "")
            for currency, minor_digits, excluding, tax in progress.amounts
        ],
        net_amounts=[
            _tax_summary(excluding, tax, currency, minor_digits, "")
            for currency, minor_digits, excluding, tax in progress.net_amounts
        ],
        resume_token=progress.resume_token,
        done=progress.done,
        sequence=progress.sequence,
    )
