"""One billing request, from what was sent to its outcome, and to what is stored of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.determinants.billing_values import billing_values
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.message import billing_message
from tallybook_engine.determinants.readings import ChannelReadingsFault, ReadingsFault
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, RequestFault
from tallybook_engine.determinants.result import Cancellation, Result
from tallybook_server.codec.determinants import check_demands, read_request, request_invalid
from tallybook_server.errors import field_invalid
from tallybook_server.journal.attached import BillingValueRow, MessageRow, SeriesName
from tallybook_server.journal.interface import Journal
from tallybook_server.stored_readings import does_not_fit, load_readings
from tallybook_server.writer import Parcel

_MEND_STORED = (
    "take the delivery that does not fit back with DeleteReadings, or give `as_of_sequence` from before it, or "
    "readings with the request"
)


class Calculated(NamedTuple):
    """What became of a request."""

    outcome: Result | Cancellation
    readings_sequence: int
    """At which the book's readings were read; 0 where they came with the request."""


class BookOfReadings(Protocol):
    """What a calculation needs of a book."""

    @property
    def readings(self) -> Journal: ...
    def committed_sequence(self, as_of_sequence: int = 0) -> int: ...


def outcome_of(envelope: Any, metering: Catalog | None = None, book: BookOfReadings | None = None) -> Calculated:
    """Of a `CalculateDeterminantsEnvelope`. Fault for the first thing that is wrong with it.

    Without a book, a request without readings has none.
    """
    request, readings, configuration = read_request(envelope, metering)
    if envelope.store:
        _check_apart(request, configuration)
    sequence = 0
    if envelope.as_of_sequence < 0:
        raise field_invalid("as_of_sequence", "is below 0")
    if envelope.as_of_sequence and readings is not None:
        raise field_invalid("as_of_sequence", "stands beside readings, which are those of the request")
    if readings is None and book is not None:
        sequence = book.committed_sequence(envelope.as_of_sequence)
        readings = load_readings(book.readings, request, configuration, sequence)
        check_demands(request, readings)
    try:
        return Calculated(calculate(request, readings or {}, configuration), sequence)
    except RequestFault as fault:
        raise request_invalid(fault) from None
    except ReadingsFault as fault:
        if sequence and isinstance(fault, ChannelReadingsFault):
            raise does_not_fit(request.datasource, fault.channel, f"{fault.reason}; {_MEND_STORED}") from None
        raise field_invalid("readings", str(fault)) from None


def _check_apart(request: BillingRequest, configuration: BillingConfiguration) -> None:
    """BILLING channels are named by classifier, so what is stored of one channel must not take another one's place."""
    asked = [each.channel for each in request.channels] + [each.channel for each in request.demands]
    for channel in dict.fromkeys(asked):
        classifier = configuration.classifiers[channel].id
        for other, its in configuration.classifiers.items():
            if other != channel and its.id == classifier:
                raise field_invalid(
                    "store",
                    f"channels {channel!r} and {other!r} of datasource {request.datasource!r} have one classifier, "
                    f"{classifier!r}, and so the same BILLING channels: give each a classifier of its own",
                )


def parcel_of(result: Result, partition: int, calculation_us: int) -> Parcel:
    """What is stored of a result: the value of each determinant, also that it has none any more, and one message."""
    rows = []
    for determinant, value in zip(result.determinants, billing_values(result, calculation_us), strict=True):
        body = {
            "value": "" if value.value is None else format_decimal(value.value, QUANTITY_SCALE),
            "unit": value.unit,
            "quality": value.quality or "",
            "annotations": dict(value.annotations),
        }
        series = SeriesName(result.datasource, value.channel, partition)
        rows.append(BillingValueRow(series, value.timestamp_us, determinant.start_us, 0, _json(body)))
    document = _json(billing_message(result, calculation_us))
    return Parcel(values=rows, messages=[MessageRow(result.datasource, document)])


@dataclass(frozen=True)
class BillingBody:
    """A stored value of a BILLING channel."""

    value: str
    """Decimal; empty where the calculation found none."""
    unit: str
    quality: str
    annotations: dict[str, str]


def read_body(body: bytes) -> BillingBody:
    """The reverse of what `parcel_of` makes of one value."""
    return BillingBody(**json.loads(body))


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
