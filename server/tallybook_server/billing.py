"""One billing request, from what was sent to its outcome, and to what is stored of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.determinants.billing_values import annotations_of, billing_values
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import Datasource
from tallybook_engine.determinants.message import billing_message
from tallybook_engine.determinants.readings import ChannelReadingsFault, ReadingsFault
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, RequestFault
from tallybook_engine.determinants.result import Cancellation, Result
from tallybook_server.codec.determinants import check_demands, read_request, request_invalid
from tallybook_server.errors import field_invalid
from tallybook_server.journal.attached import BillingValueRow, MessageRow, SeriesName, StoredValue
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


def values_gone(journal: Journal, result: Result, source: Datasource | None) -> list[tuple[str, StoredValue]]:
    """(BILLING channel, value) of what is current within a result's period, of classifiers that no channel of the
    datasource has any more. Of a datasource that the catalogue does not have, nothing is known to be gone.
    """
    if source is None:
        return []
    classifiers = {each.classifier for each in source.channels} | {each.classifier for each in result.determinants}
    last: dict[tuple[str, int, int], tuple[str, StoredValue]] = {}
    for channel, value in journal.datasource_values(result.datasource, result.start_us, result.end_us):
        key = channel, value.start_us, value.end_us
        is_within = result.start_us <= value.start_us and value.end_us <= result.end_us
        if is_within and (key not in last or last[key][1].position < value.position):
            last[key] = channel, value
    found = ((read_body(value.body), channel, value) for channel, value in last.values())
    return [(channel, value) for body, channel, value in found if body.value and body.classifier not in classifiers]


def parcel_of(
    result: Result, partition: int, calculation_us: int, gone: Sequence[tuple[str, StoredValue]] = ()
) -> Parcel:
    """What is stored of a result: the value of each determinant, also that it has none any more, and one message; and
    that there is none any more of values that are gone.
    """
    rows = []
    for determinant, value in zip(result.determinants, billing_values(result, calculation_us), strict=True):
        body = {
            "value": "" if value.value is None else format_decimal(value.value, QUANTITY_SCALE),
            "unit": value.unit,
            "quality": value.quality or "",
            "annotations": dict(value.annotations),
            "classifier": determinant.classifier,
            "billable": result.is_billable,
        }
        series = SeriesName(result.datasource, value.channel, partition)
        rows.append(BillingValueRow(series, value.timestamp_us, determinant.start_us, 0, _json(body)))
    for channel, each in gone:
        annotations = annotations_of(result, each.start_us, each.end_us, calculation_us)
        withdrawn = replace(read_body(each.body), value="", quality="", annotations=annotations)
        series = SeriesName(result.datasource, channel, partition)
        rows.append(BillingValueRow(series, each.end_us, each.start_us, 0, _json(asdict(withdrawn))))
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
    classifier: str
    """Of the channel that it was computed of."""
    billable: bool
    """Whether it was more than reported (`Result.is_billable`)."""


def read_body(body: bytes) -> BillingBody:
    """The reverse of what `parcel_of` makes of one value."""
    return BillingBody(**json.loads(body))


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
