"""One billing request, from what was sent to its outcome, and to what is stored of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.determinants.billing_values import billing_values, period_annotations
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.configuration import Datasource
from tallybook_engine.determinants.message import WithdrawnValue, billing_message, withdrawal_message
from tallybook_engine.determinants.naming import MONTH_SUFFIX
from tallybook_engine.determinants.readings import ChannelReadingsFault, Readings, ReadingsFault
from tallybook_engine.determinants.request import BillingConfiguration, BillingRequest, RequestFault
from tallybook_engine.determinants.result import Cancellation, Result
from tallybook_engine.ledger.determinants import DeterminantEvent
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


class Prepared(NamedTuple):
    """A request that makes sense, whatever the readings are."""

    request: BillingRequest
    readings: Mapping[str, Readings] | None
    """None: those of the book are meant."""
    configuration: BillingConfiguration
    as_of_sequence: int
    """At which the book's readings are to be read; 0: at the last one."""


def prepared(envelope: Any, metering: Catalog | None = None) -> Prepared:
    """A `CalculateDeterminantsEnvelope`. Fault for the first thing that is wrong with it."""
    request, readings, configuration = read_request(envelope, metering)
    if envelope.store:
        _check_apart(request, configuration)
    if envelope.as_of_sequence < 0:
        raise field_invalid("as_of_sequence", "is below 0")
    if envelope.as_of_sequence and readings is not None:
        raise field_invalid("as_of_sequence", "stands beside readings, which are those of the request")
    return Prepared(request, readings, configuration, envelope.as_of_sequence)


def outcome_of(asked: Prepared, book: BookOfReadings | None = None) -> Calculated:
    """What becomes of a request. Fault where its readings are wrong.

    Without a book, a request without readings has none.
    """
    request, readings, configuration, as_of_sequence = asked
    sequence = 0
    if readings is None and book is not None:
        sequence = book.committed_sequence(as_of_sequence)
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


class CurrentValue(NamedTuple):
    """What a BILLING channel shows of a period."""

    channel: str
    value: StoredValue
    body: BillingBody


def values_gone(journal: Journal, result: Result, source: Datasource | None) -> list[CurrentValue]:
    """What is current within a result's period, of classifiers that no channel of the datasource has any more.

    Of a datasource that the catalogue does not have, nothing is known to be gone.
    """
    if source is None:
        return []
    classifiers = {each.classifier for each in source.channels} | {each.classifier for each in result.determinants}
    stored = journal.datasource_values(result.datasource, result.start_us, result.end_us)
    within = (
        (channel, value)
        for channel, value in stored
        if result.start_us <= value.start_us and value.end_us <= result.end_us
    )
    return [each for each in _current(within) if each.body.classifier not in classifiers]


def _current(values: Iterable[tuple[str, StoredValue]]) -> list[CurrentValue]:
    """Of each (BILLING channel, value) the last of its period, where that has not been withdrawn."""
    last: dict[tuple[str, int, int], StoredValue] = {}
    for channel, value in values:
        key = channel, value.start_us, value.end_us
        if key not in last or last[key].position < value.position:
            last[key] = value
    found = [CurrentValue(key[0], value, read_body(value.body)) for key, value in last.items()]
    return [each for each in found if each.body.value]


def parcel_of(result: Result, partition: int, calculation_us: int, gone: Sequence[CurrentValue] = ()) -> Parcel:
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
    rows += _withdrawn(result.datasource, partition, gone, 0, calculation_us, result.catalog_version)
    document = _json(billing_message(result, calculation_us, [_named(each) for each in gone]))
    return Parcel(values=rows, messages=[MessageRow(result.datasource, document)])


def parcel_of_deletes(
    journal: Journal,
    deleted: Sequence[DeterminantEvent],
    partitions: Callable[[Sequence[str]], list[int]],
    deletion_us: int,
    catalog_version: int,
) -> Parcel:
    """What is stored where events of determinants were deleted: that the values which they were have been withdrawn,
    and one message a datasource.
    """
    by_datasource: dict[str, list[CurrentValue]] = {}
    for event in deleted:
        by_datasource.setdefault(event.datasource_id, []).extend(_current(_values_of(journal, event)))
    withdrawn = {datasource: values for datasource, values in by_datasource.items() if values}
    rows: list[BillingValueRow] = []
    messages: list[MessageRow] = []
    for partition, (datasource, values) in zip(partitions(list(withdrawn)), withdrawn.items(), strict=True):
        rows += _withdrawn(datasource, partition, values, len(messages), deletion_us, catalog_version)
        names = [_named(each) for each in values]
        document = withdrawal_message(datasource, names, deletion_us, catalog_version)
        messages.append(MessageRow(datasource, _json(document)))
    return Parcel(values=rows, messages=messages)


def _values_of(journal: Journal, event: DeterminantEvent) -> Iterator[tuple[str, StoredValue]]:
    """Everything that was stored of an event's period, of the month or of the period as such."""
    first_us, end_us = event.end_bounds_us
    for channel in (event.meter_id, f"{event.meter_id}_{MONTH_SUFFIX}"):
        for value in journal.billing_values(event.datasource_id, channel, first_us, end_us, journal.last_sequence):
            if event.is_of(value.start_us, value.end_us):
                yield channel, value


def _withdrawn(
    datasource: str,
    partition: int,
    values: Sequence[CurrentValue],
    message_row: int,
    calculation_us: int,
    catalog_version: int,
) -> Iterator[BillingValueRow]:
    for channel, value, body in values:
        annotations = period_annotations(value.start_us, value.end_us, calculation_us, catalog_version)
        without = replace(body, value="", quality="", annotations=annotations)
        series = SeriesName(datasource, channel, partition)
        yield BillingValueRow(series, value.end_us, value.start_us, message_row, _json(asdict(without)))


def _named(each: CurrentValue) -> WithdrawnValue:
    return WithdrawnValue(each.channel, each.value.start_us, each.value.end_us)


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
