"""The one catalogue of errors, and their one translation into gRPC (docs/errors.md lists them; a test compares both).

A whole call that fails raises `Fault`: its code fixes the gRPC status, the reason in `google.rpc.ErrorInfo` (the
code's name) and whether the same call may be sent again. What is wrong with one row of a request is data, a
`RowFault` of the engine, and never fails the call; its sentence is here too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from tallybook_engine.ledger.faults import RowFault
from tallybook_server import limits

DOMAIN = "tallybook.io"
"""`ErrorInfo.domain` of every error."""

PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
"""Says when to come back; gRPC clients obey it in place of their own backoff."""

STATUS_TRAILER = "grpc-status-details-bin"
"""Carries the `google.rpc.Status` with its details."""


class ErrorKind(NamedTuple):
    """What a code means."""

    status: grpc.StatusCode
    retryable: bool
    """Whether the same call, unchanged, may succeed when it is sent again."""
    meaning: str
    """One sentence for docs/errors.md: what happened and how to mend it."""


_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class ErrorCode(Enum):
    """Every way in which a call can fail as a whole; the name is the reason on the wire."""

    MESSAGE_MALFORMED = ErrorKind(_INVALID, False, "The bytes are not a Protobuf message of the method's type.")
    FIELD_INVALID = ErrorKind(_INVALID, False, "A field of the request is missing or wrong; `field` names it.")
    PAGE_TOKEN_INVALID = ErrorKind(
        _INVALID, False, "The page token is not one that this method answered for the same request."
    )
    RESUME_TOKEN_INVALID = ErrorKind(_INVALID, False, "The resume token is not one that this method answered.")
    ARROW_MALFORMED = ErrorKind(_INVALID, False, "The bytes are not one whole and sound Arrow IPC stream.")
    ARROW_COLUMN_MISSING = ErrorKind(_INVALID, False, "A column that the schema needs is not there; `column` names it.")
    ARROW_COLUMN_UNKNOWN = ErrorKind(
        _INVALID, False, "A column that the schema does not have, or has twice; `column` names it."
    )
    ARROW_COLUMN_TYPE = ErrorKind(
        _INVALID, False, "A column has a type that the schema does not take; the message names the cast."
    )
    CATALOG_INVALID = ErrorKind(
        _INVALID, False, "The catalogue has faults; every one is named with its path in `google.rpc.BadRequest`."
    )
    USAGE_INVALID = ErrorKind(
        _INVALID, False, "The usage does not fit the baseline; every fault is named in `google.rpc.BadRequest`."
    )
    SCENARIO_INVALID = ErrorKind(
        _INVALID,
        False,
        "A scenario is not valid, or the usage does not fit it; metadata name it, `google.rpc.BadRequest` every fault.",
    )

    TOO_MANY_EVENTS = ErrorKind(_EXHAUSTED, False, "More events in one message than the limit: split it.")
    TOO_MANY_NAMES = ErrorKind(
        _EXHAUSTED, False, "More distinct value or property names in one message than the limit: split it by meter."
    )
    TOO_MANY_SELECTORS = ErrorKind(_EXHAUSTED, False, "More events named in one message than the limit: split it.")
    TOO_MANY_READINGS = ErrorKind(
        _EXHAUSTED, False, "More readings in one message or request than the limit: split it by period or channel."
    )
    TOO_MANY_DETERMINANTS = ErrorKind(
        _EXHAUSTED, False, "A billing request asks for more determinants than the limit: split it."
    )
    TOO_MANY_TIMESLICES = ErrorKind(
        _EXHAUSTED, False, "A period has too many days for the windows and slices that it is cut into: split it."
    )
    SIMULATION_TOO_LARGE = ErrorKind(
        _EXHAUSTED, False, "A simulation has more rows or periods than the limit: split it by customer or by time."
    )
    INVOICE_TOO_LARGE = ErrorKind(
        _EXHAUSTED,
        False,
        "An invoice has more lines than the limit, or needs more billing periods: ask for fewer periods.",
    )
    TOO_MANY_SANDBOXES = ErrorKind(
        _EXHAUSTED, False, "The book, or the server, has as many sandboxes as it may: delete one, or wait for its end."
    )
    SANDBOX_FULL = ErrorKind(
        _EXHAUSTED, False, "The sandbox holds as much as it may, and nothing of the call was stored: create another."
    )
    TOO_MANY_USAGE_FRAMES = ErrorKind(
        _EXHAUSTED, False, "The book, or the server, keeps as much uploaded usage as it may: wait for its end."
    )
    RECORDED_USAGE_TOO_LARGE = ErrorKind(
        _EXHAUSTED, False, "More events are recorded there than the limit: ask for fewer customers, or less time."
    )
    MESSAGE_TOO_LARGE = ErrorKind(_EXHAUSTED, False, "The message is over 16 MiB: split it.")
    ARROW_TOO_LARGE = ErrorKind(
        _EXHAUSTED, False, "The Arrow stream is larger than the limit once it is decompressed: split it."
    )

    CREDENTIAL_MISSING = ErrorKind(
        _UNAUTHENTICATED, False, "The call carries no key: send the metadata `authorization: Bearer tb_...`."
    )
    CREDENTIAL_INVALID = ErrorKind(_UNAUTHENTICATED, False, "The key is not one of this server's, or was revoked.")
    SANDBOX_EXPIRED = ErrorKind(
        _UNAUTHENTICATED,
        False,
        "The access token's sandbox expired, was deleted, or went when the server was started anew: create another.",
    )

    EVENT_NOT_FOUND = ErrorKind(_NOT_FOUND, False, "The book holds no such event.")
    CUSTOMER_NOT_FOUND = ErrorKind(_NOT_FOUND, False, "The catalogue holds no such customer.")
    OBJECT_NOT_FOUND = ErrorKind(_NOT_FOUND, False, "The catalogue holds no such object.")
    DATASOURCE_NOT_FOUND = ErrorKind(
        _NOT_FOUND, False, "The catalogue has no such datasource, and nothing is stored of one."
    )
    CHANNEL_NOT_FOUND = ErrorKind(
        _NOT_FOUND, False, "The datasource has no such channel, and nothing is stored of one."
    )
    CATALOG_VERSION_NOT_FOUND = ErrorKind(_NOT_FOUND, False, "The book holds no such catalogue version.")
    SANDBOX_NOT_FOUND = ErrorKind(_NOT_FOUND, False, "The book has no such sandbox, or has it no more.")
    USAGE_FRAME_NOT_FOUND = ErrorKind(
        _NOT_FOUND, False, "The book has no such uploaded usage, or has it no more: upload it again."
    )
    CHARGE_NOT_FOUND = ErrorKind(_NOT_FOUND, False, "The simulation has no such charge line.")
    SIMULATION_EXPIRED = ErrorKind(
        _NOT_FOUND, False, "The charges of the simulation are not kept, or not any more: run it again."
    )
    SEQUENCE_NOT_COMMITTED = ErrorKind(
        grpc.StatusCode.OUT_OF_RANGE, False, "The book is not as far as the sequence that was asked for."
    )

    CATALOG_VERSION_MISMATCH = ErrorKind(
        grpc.StatusCode.ABORTED,
        False,
        "Another change of the catalogue came between: read it, apply yours to it, send that.",
    )
    SANDBOX_OF_SANDBOX = ErrorKind(
        _PRECONDITION, False, "A sandbox makes no sandboxes: use the key that this one was made with."
    )
    CATALOG_OBJECT_IN_USE = ErrorKind(_PRECONDITION, False, "An object to remove has open charge lines.")

    REPROCESS_DOES_NOT_FIT = ErrorKind(
        _PRECONDITION,
        False,
        "A line would leave the limits under the current catalogue; the customer named was left as it is.",
    )

    NO_READINGS = ErrorKind(
        _PRECONDITION, False, "Cancelled: a requested channel has no reading in the period; metadata name both."
    )
    NOT_BILLABLE = ErrorKind(
        _PRECONDITION, False, "Cancelled: readings of a requested channel have a status that may not be billed."
    )
    NO_HOLIDAY_CALENDAR = ErrorKind(
        _PRECONDITION, False, "Cancelled: timeslices are asked for and the datasource has no holiday calendar."
    )
    HOLIDAY_CALENDAR_NOT_VALID = ErrorKind(
        _PRECONDITION, False, "Cancelled: the holiday calendar does not speak of the whole period."
    )
    STORED_READINGS_DO_NOT_FIT = ErrorKind(
        _PRECONDITION,
        False,
        "Stored readings have another unit, kind, label or status or more decimals than their channel is configured "
        "with now, or their intervals overlap.",
    )
    SIMULATION_DOES_NOT_FIT = ErrorKind(
        _PRECONDITION,
        False,
        "A quantity or an amount would leave the limits; metadata name the scenario and the product contract, "
        "or the root contract.",
    )
    INVOICE_DOES_NOT_FIT = ErrorKind(
        _PRECONDITION,
        False,
        "What a level of an invoice comes to, a line of it or a tax would reach 2^63 minor units; the message names "
        "the contract.",
    )
    DOES_NOT_FIT = ErrorKind(_PRECONDITION, False, "Cancelled: a determinant would reach 10^15.")

    OVERLOADED = ErrorKind(
        _UNAVAILABLE, True, "The server has as much to do as it may queue: retry after the time in the trailer."
    )
    COMMIT_FAILED = ErrorKind(_UNAVAILABLE, True, "Nothing of the call was stored: resend the same references.")
    COMMIT_UNKNOWN = ErrorKind(
        _UNAVAILABLE, True, "Whether the call was stored could not be told: resend the same references."
    )
    DISK_FULL = ErrorKind(
        _UNAVAILABLE, True, "The journal's disk is full and nothing was stored: make room, resend the same references."
    )
    SHUTTING_DOWN = ErrorKind(_UNAVAILABLE, True, "The server is stopping: retry; another one will answer.")

    JOURNAL_DAMAGED = ErrorKind(
        grpc.StatusCode.DATA_LOSS, False, "Stored bytes are not those that were written; the message names the place."
    )
    INTERNAL = ErrorKind(
        grpc.StatusCode.INTERNAL, False, "A fault of the server; its log holds the reference number of the message."
    )

    @property
    def status(self) -> grpc.StatusCode:
        """The gRPC status."""
        return self.value.status

    @property
    def retryable(self) -> bool:
        """Whether the same call, unchanged, may succeed when it is sent again."""
        return self.value.retryable


class FieldFault(NamedTuple):
    """One of many faults of a request."""

    field: str
    """Path of the field: `plans[1].graduated.tiers[0].up_to`."""
    message: str


class Fault(Exception):
    """A call (or one message of a stream) fails as a whole."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        metadata: Mapping[str, str] = MappingProxyType({}),
        fields: tuple[FieldFault, ...] = (),
        detail: Message | None = None,
    ) -> None:
        """`message` is for people; `metadata` goes into ErrorInfo; `fields` into BadRequest, one violation each;
        `detail` is what else the contract says of the fault.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata = dict(metadata)
        self.fields = fields
        self.detail = detail


def field_invalid(field: str, message: str) -> Fault:
    """FIELD_INVALID that names its field."""
    return Fault(ErrorCode.FIELD_INVALID, f"{field}: {message}", {"field": field})


def status_message(fault: Fault) -> Status:
    """`google.rpc.Status` of a fault: code, message, one ErrorInfo, and what else the fault carries."""
    status = Status(code=fault.code.status.value[0], message=fault.message)
    info = ErrorInfo(reason=fault.code.name, domain=DOMAIN, metadata=fault.metadata)
    status.details.append(_packed(info))
    if fault.fields:
        violations = [
            BadRequest.FieldViolation(field=each.field, description=each.message, reason=fault.code.name)
            for each in fault.fields
        ]
        status.details.append(_packed(BadRequest(field_violations=violations)))
    if fault.detail is not None:
        status.details.append(_packed(fault.detail))
    return status


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def trailers(fault: Fault) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata of a failed call; OVERLOADED also says when to come back, spread so that not all do at once."""
    trailing: list[tuple[str, str | bytes]] = [(STATUS_TRAILER, status_message(fault).SerializeToString())]
    if fault.code is ErrorCode.OVERLOADED:
        pushback_ms = random.randint(limits.PUSHBACK_MS_MIN, limits.PUSHBACK_MS_MAX)
        trailing.append((PUSHBACK_TRAILER, str(pushback_ms)))
    return tuple(trailing)


ROW_FAULTS: Mapping[RowFault, str] = MappingProxyType(
    {
        RowFault.CUSTOMER_MISSING: "The event names no customer: give customer_id or customer_reference.",
        RowFault.CUSTOMER_AMBIGUOUS: "Give customer_id or customer_reference, not both.",
        RowFault.METER_MISSING: "The event names no meter: give meter_id or meter_reference.",
        RowFault.METER_AMBIGUOUS: "Give meter_id or meter_reference, not both.",
        RowFault.REFERENCE_EMPTY: "The event has no reference: give it a key of its own, 1 to 255 bytes.",
        RowFault.REFERENCE_TOO_LONG: "The reference is longer than 255 bytes.",
        RowFault.NAME_TOO_LONG: "A name is longer than 255 bytes.",
        RowFault.TIME_OUT_OF_RANGE: "The time is not between 1970-01-01 and 9999-12-31 UTC.",
        RowFault.TIME_IN_FUTURE: "The time is further in the future than the server takes (24 hours).",
        RowFault.VALUE_NAME_EMPTY: "A value has no reference.",
        RowFault.VALUE_REPEATED: "A value is given twice: each reference once.",
        RowFault.TOO_MANY_VALUES: "More than 64 values.",
        RowFault.DECIMAL_EMPTY: "The number is empty: leave the value out where there is none.",
        RowFault.DECIMAL_MALFORMED: "Not a decimal number: digits, an optional minus sign, an optional point.",
        RowFault.DECIMAL_TOO_FINE: "The number has more than 12 decimals.",
        RowFault.DECIMAL_OUT_OF_RANGE: "The number is not below 10^15 in size.",
        RowFault.PROPERTY_NAME_EMPTY: "A property has no reference.",
        RowFault.PROPERTY_REPEATED: "A property is given twice: each reference once.",
        RowFault.TOO_MANY_PROPERTIES: "More than 64 properties.",
        RowFault.PROPERTY_TOO_LONG: "A property's value is longer than 255 bytes.",
        RowFault.VALUE_UNKNOWN: "The meter has no such value.",
        RowFault.PROPERTY_UNKNOWN: "The meter has no such property.",
        RowFault.QUANTITY_NEGATIVE: "The meter takes no negative quantities.",
        RowFault.REFERENCE_CONFLICT: "An event of this reference was stored before with another payload.",
        RowFault.QUANTITY_OVERFLOW: "An accumulated quantity would leave the limit of 10^15.",
        RowFault.AMOUNT_OVERFLOW: "An amount would leave the limit of 10^15.",
        RowFault.SELECTOR_INCOMPLETE: "Name the event by event_id, or by customer, reference and generation.",
        RowFault.GENERATION_MISSING: "A delete must name the generation (1 for a reference's first event).",
        RowFault.EVENT_ID_MALFORMED: "Not an event id: evt_ and 16 hexadecimal digits.",
        RowFault.METER_OF_DETERMINANTS: (
            "Events of a BILLING channel are made of stored determinants alone: store these (CalculateDeterminants), "
            "or name a meter of the catalogue."
        ),
    }
)
"""One sentence for each row fault: what is wrong and how to mend it."""
