"""Lists of what is stored beside events: readings, values of BILLING channels, billing messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple, Protocol

from google.protobuf.duration_pb2 import Duration

from tallybook.v1 import catalog_pb2, common_pb2
from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.decimals import format_decimal
from tallybook_engine.determinants.configuration import ChannelKind
from tallybook_engine.determinants.readings import LAST_LABEL_US
from tallybook_server import limits
from tallybook_server.billing import BillingBody, read_body
from tallybook_server.codec.instants import TIME_MIN_US, instant_us
from tallybook_server.codec.metering import check_count
from tallybook_server.codec.pagination import page_size, read_token, write_token
from tallybook_server.codec.readings import REGISTER_INTERVAL_US
from tallybook_server.codec.results import timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.journal.attached import StoredValue, sequence_of
from tallybook_server.journal.interface import CommitFailed, Journal, JournalError
from tallybook_server.stored_readings import StoredReading, list_readings

_MESSAGE_ID_PREFIX = "msg_"
_MICROSECONDS = 1_000_000


class ListedBook(Protocol):
    """What the lists need of a book."""

    name: str

    @property
    def readings(self) -> Journal: ...
    def committed_sequence(self, as_of_sequence: int = 0) -> int: ...
    def catalog(self) -> Catalog: ...
    def partitions(self, datasources: Sequence[str]) -> list[int]: ...


def readings(book: ListedBook, request: wire.ListReadingsRequest) -> wire.ListReadingsResponse:
    """A page of stored readings."""
    require(request, "datasource", "channel")
    start_us, end_us = stretch_of(request)
    limit = page_size(request.page_size)
    sequence, after = _place(book, request, 2)
    found = list_readings(
        book.readings,
        request.datasource,
        request.channel,
        start_us,
        end_us,
        None if after is None else (after[0] + TIME_MIN_US, after[1]),
        include_superseded=request.include_superseded,
        sequence=sequence,
        limit=limit + 1,
    )
    if not found and after is None:
        require_known(book, request.datasource, request.channel)
    shown = found[:limit]
    receipts = book.readings.receipt_times({each.sequence for each in shown})
    token = ""
    if len(found) > limit:
        token = write_token(book.name, request, sequence, shown[-1].time_us - TIME_MIN_US, shown[-1].position)
    return wire.ListReadingsResponse(
        readings=[_reading(each, receipts[each.sequence]) for each in shown], next_page_token=token, sequence=sequence
    )


def _reading(each: StoredReading, receipt_us: int) -> wire.StoredReading:
    label = catalog_pb2.ChannelClassifier.LABEL_UNSPECIFIED
    if each.kind is ChannelKind.INTERVAL:
        label = catalog_pb2.ChannelClassifier.Label.Value(each.label.value)
    return wire.StoredReading(
        time=timestamp(each.time_us),
        interval=None if each.interval_us == REGISTER_INTERVAL_US else _duration(each.interval_us),
        value=format_decimal(each.value, each.decimal_places),
        unit=each.unit,
        quality=each.quality,
        sequence=each.sequence,
        receipt_time=timestamp(receipt_us),
        superseded=each.superseded,
        deleted_sequence=each.deleted_sequence,
        kind=catalog_pb2.ChannelClassifier.Kind.Value(each.kind.value),
        label=label,
    )


def billing_readings(book: ListedBook, request: wire.ListBillingReadingsRequest) -> wire.ListBillingReadingsResponse:
    """A page of stored determinants."""
    require(request, "datasource", "billing_channel")
    start_us, end_us = stretch_of(request)
    limit = page_size(request.page_size)
    sequence, place = _place(book, request, 3)
    after = None if place is None else (place[0] + TIME_MIN_US, place[1] + TIME_MIN_US, place[2])
    first_us = TIME_MIN_US if start_us is None else start_us
    values = book.readings.billing_values(
        request.datasource,
        request.billing_channel,
        first_us if after is None else max(first_us, after[0]),
        LAST_LABEL_US if end_us is None else end_us,
        sequence,
    )
    every = (
        each
        for each in _calculations(values, include_superseded=request.include_superseded)
        if after is None or each.value[:3] > after
    )
    found = list(islice(every, limit + 1))
    if not found and after is None:
        require_known(book, request.datasource)
    shown = found[:limit]
    token = ""
    if len(found) > limit:
        last = shown[-1].value
        numbers = (last.end_us - TIME_MIN_US, last.start_us - TIME_MIN_US, last.position)
        token = write_token(book.name, request, sequence, *numbers)
    return wire.ListBillingReadingsResponse(
        readings=[_billing_reading(each) for each in shown],
        next_page_token=token,
        sequence=sequence,
    )


class _Calculation(NamedTuple):
    """What one calculation found of its period."""

    value: StoredValue
    body: BillingBody
    superseded: bool
    """Whether a later calculation of its period found something else."""

    @property
    def withdrawn(self) -> bool:
        """Whether it found no value any more."""
        return not self.body.value


def _calculations(values: Iterator[StoredValue], *, include_superseded: bool) -> Iterator[_Calculation]:
    """Calculations by period. Where none found a value yet, there is nothing that another could withdraw."""
    for _, of_period in groupby(values, key=lambda value: value[:2]):
        found: list[_Calculation] = []
        for value in of_period:
            calculation = _Calculation(value, read_body(value.body), False)
            if not calculation.withdrawn or (found and not found[-1].withdrawn):
                found.append(calculation)
        if include_superseded:
            yield from (each._replace(superseded=True) for each in found[:-1])
        yield from (each for each in found[-1:] if include_superseded or not each.withdrawn)


def _billing_reading(calculation: _Calculation) -> wire.BillingReading:
    value, body, superseded = calculation
    sequence = sequence_of(value.position)
    return wire.BillingReading(
        time=timestamp(value.end_us),
        period=common_pb2.Period(start_time=timestamp(value.start_us), end_time=timestamp(value.end_us)),
        value=body.value,
        unit=body.unit,
        quality=body.quality,
        annotations=body.annotations,
        sequence=sequence,
        message_id=message_id_text(value.message_id),
        superseded=superseded,
        withdrawn=calculation.withdrawn,
    )


def billing_messages(book: ListedBook, request: wire.ListBillingMessagesRequest) -> wire.ListBillingMessagesResponse:
    """A page of the outbox. What is stored after page one comes behind what was there, so the last id is the place."""
    limit = page_size(request.page_size)
    token = read_token(book.name, request, 1)
    response = wire.ListBillingMessagesResponse()
    byte_count = 0
    for message in book.readings.billing_messages(token[0] if token else 0):
        byte_count += len(message.document)
        if response.messages and (len(response.messages) == limit or byte_count > limits.MESSAGES_BYTES_MAX):
            last = message_id_number(response.messages[-1].message_id)
            response.next_page_token = write_token(book.name, request, last or 0)
            break
        response.messages.add(
            message_id=message_id_text(message.message_id),
            datasource=message.datasource,
            document=message.document.decode(),
            sequence=sequence_of(message.message_id),
        )
    receipts = book.readings.receipt_times({each.sequence for each in response.messages})
    for each in response.messages:
        each.storage_time.CopyFrom(timestamp(receipts[each.sequence]))
    return response


def acknowledge(
    book: ListedBook, request: wire.AcknowledgeBillingMessagesRequest
) -> wire.AcknowledgeBillingMessagesResponse:
    """Takes messages out of the outbox, durably."""
    check_count(request.message_ids, limits.ACKNOWLEDGED_MESSAGES_MAX, "message_ids")
    numbers = {text: message_id_number(text) for text in request.message_ids}
    try:
        found = book.readings.acknowledge([number for number in numbers.values() if number is not None])
    except CommitFailed as error:
        raise Fault(ErrorCode.COMMIT_FAILED, f"nothing was acknowledged, send it again: {error}") from error
    except JournalError as error:
        raise Fault(ErrorCode.COMMIT_UNKNOWN, f"send it again: {error}") from error
    unknown = set(found.unknown)
    return wire.AcknowledgeBillingMessagesResponse(
        acknowledged_count=len(found.now),
        already_acknowledged_count=len(found.before),
        unknown_ids=[text for text, number in numbers.items() if number is None or number in unknown],
    )


def message_id_text(message_id: int) -> str:
    """`msg_` and 16 hexadecimal digits."""
    return f"{_MESSAGE_ID_PREFIX}{message_id:016x}"


def message_id_number(text: str) -> int | None:
    """The number of a message id; None where the text is none."""
    digits = text.removeprefix(_MESSAGE_ID_PREFIX)
    if len(digits) != 16 or len(text) != 20 or not set(digits) <= set("0123456789abcdef"):
        return None
    number = int(digits, 16)
    return number if number < 1 << 63 else None


def require_known(book: ListedBook, datasource: str, channel: str | None = None) -> None:
    """DATASOURCE_NOT_FOUND, CHANNEL_NOT_FOUND: the catalogue does not know it, and nothing is stored of it."""
    source = book.catalog().datasources.get(datasource)
    if source is None and not book.readings.has_series(datasource):
        raise Fault(
            ErrorCode.DATASOURCE_NOT_FOUND,
            f"the catalogue has no datasource {datasource!r}, and nothing is stored of one of that id",
            {"datasource": datasource},
        )
    if channel is None or (source is not None and any(each.name == channel for each in source.channels)):
        return
    if not book.readings.has_series(datasource, channel):
        raise Fault(
            ErrorCode.CHANNEL_NOT_FOUND,
            f"datasource {datasource!r} has no channel {channel!r}, and nothing is stored of one of that name",
            {"datasource": datasource, "channel": channel},
        )


def require(request: Any, *fields: str) -> None:
    """FIELD_INVALID for the first of these fields that is not given."""
    for field in fields:
        if not getattr(request, field):
            raise field_invalid(field, "is required")


def stretch_of(request: Any) -> tuple[int | None, int | None]:
    """(start, end) of a request; None where it is open."""
    bounds = [
        instant_us(getattr(request, field), field) if request.HasField(field) else None
        for field in ("start_time", "end_time")
    ]
    start_us, end_us = bounds
    if start_us is not None and end_us is not None and start_us > end_us:
        raise field_invalid("end_time", "is before start_time")
    return start_us, end_us


def _place(book: ListedBook, request: Any, count: int) -> tuple[int, tuple[int, ...] | None]:
    """(the sequence that the list stands on, where its last page ended)."""
    if request.as_of_sequence < 0:
        raise field_invalid("as_of_sequence", "is below 0")
    token = read_token(book.name, request, count + 1)
    if token is not None:
        return book.committed_sequence(token[0]), token[1:]
    return book.committed_sequence(request.as_of_sequence), None


def _duration(length_us: int) -> Duration:
    seconds, microseconds = divmod(length_us, _MICROSECONDS)
    return Duration(seconds=seconds, nanos=microseconds * 1_000)
