"""A failed call as a typed exception that carries the server's reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tallybook.v1 import determinants_pb2
from tallybook_client.numbers import to_datetime

PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
"""Trailer by which an overloaded server says how long to wait; a negative number means: do not retry."""


class FieldFault(NamedTuple):
    """One of the faults of a request."""

    field: str
    """Path of the field: `plans[1].graduated.tiers[0].up_to`."""
    description: str


class TallybookError(Exception):
    """A call that failed. Row faults are not errors: they are in the answer."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        pushback_s: float | None = None,
        fields: tuple[FieldFault, ...] = (),
    ) -> None:
        super().__init__(f"{message} ({reason})" if reason else message)
        self.code = code
        """The gRPC status."""
        self.message = message
        """One sentence for a person, from the server."""
        self.reason = reason
        """The reason of docs/errors.md, such as TOO_MANY_EVENTS; empty where the failure is not the server's word."""
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        """Details of the reason, such as the limit."""
        self.pushback_s = pushback_s
        """Seconds to wait before the next try, as the server asked; below 0: do not try again; None: not said."""
        self.fields = fields
        """Every fault of the request by field, where the server names several (a catalogue with faults)."""


class UnauthenticatedError(TallybookError):
    """The key is missing, wrong, revoked or expired."""


class PermissionDeniedError(TallybookError):
    """The key is not good for this method."""


class InvalidArgumentError(TallybookError):
    """The request is wrong; mend it before sending it again."""


class FailedPreconditionError(TallybookError):
    """The state of the book does not allow the request."""


@dataclass(frozen=True, slots=True)
class DeterminantsCause:
    """One thing that is wrong with a billing request's readings or configuration."""

    reason: str
    """NO_READINGS, NOT_BILLABLE, NO_HOLIDAY_CALENDAR, HOLIDAY_CALENDAR_NOT_VALID, DOES_NOT_FIT, NO_READ_AT_END."""
    channel: str
    start_time: datetime
    """Of the period that it is wrong in."""
    end_time: datetime
    detail: str


class DeterminantsCancelledError(FailedPreconditionError):
    """A billing request was cancelled: nothing was computed. `causes` has everything that was found."""

    causes: tuple[DeterminantsCause, ...] = ()


class NotFoundError(TallybookError):
    """What the request names does not exist."""


class AbortedError(TallybookError):
    """Somebody else changed the same thing first; read it again, then retry."""


class LimitExceededError(TallybookError):
    """The request is over a limit (RESOURCE_EXHAUSTED); make it smaller."""


class UnavailableError(TallybookError):
    """The server cannot be reached, is overloaded or did not commit; sending the same again is safe."""


class DeadlineExceededError(TallybookError):
    """The call took too long. A commit already begun is not undone: sending the same events again is safe."""


class ServerFaultError(TallybookError):
    """The server failed in a way it should not."""


_CLASSES: Mapping[grpc.StatusCode, type[TallybookError]] = MappingProxyType(
    {
        grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
        grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
        grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
        grpc.StatusCode.NOT_FOUND: NotFoundError,
        grpc.StatusCode.ABORTED: AbortedError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
        grpc.StatusCode.UNAVAILABLE: UnavailableError,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    }
)
_CODES: Mapping[int, grpc.StatusCode] = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})


def from_call(call: Any) -> TallybookError:
    """The exception for a call that ended with an error; `call` is the RpcError that grpc raised."""
    pushback_s = None
    for name, value in call.trailing_metadata() or ():
        if name == PUSHBACK_TRAILER:
            pushback_s = _pushback_seconds(value)
    status = rpc_status.from_call(call)
    if status is not None:
        return from_status(status, pushback_s)
    return _CLASSES.get(call.code(), ServerFaultError)(
        call.code(), call.details() or call.code().name, pushback_s=pushback_s
    )


def from_status(status: status_pb2.Status, pushback_s: float | None = None) -> TallybookError:
    """The exception for a `google.rpc.Status`, as a stream answers it for one batch."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    cancellation = determinants_pb2.DeterminantsCancellation()
    for detail in status.details:
        # Unpack leaves its argument alone where the detail is of another type.
        detail.Unpack(info)
        detail.Unpack(request)
        detail.Unpack(cancellation)
    fields = tuple(FieldFault(fault.field, fault.description) for fault in request.field_violations)
    if cancellation.causes:
        cancelled = DeterminantsCancelledError(code, status.message, info.reason, info.metadata, pushback_s, fields)
        cancelled.causes = read_causes(cancellation.causes)
        return cancelled
    return _CLASSES.get(code, ServerFaultError)(code, status.message, info.reason, info.metadata, pushback_s, fields)


def read_causes(messages: Iterable[determinants_pb2.DeterminantsCause]) -> tuple[DeterminantsCause, ...]:
    """The values of messages."""
    return tuple(
        DeterminantsCause(
            determinants_pb2.DeterminantsCause.Reason.Name(each.reason),
            each.channel,
            to_datetime(each.period.start_time),
            to_datetime(each.period.end_time),
            each.detail,
        )
        for each in messages
    )


def _pushback_seconds(value: str | bytes) -> float:
    """Seconds of the trailer; what cannot be read means: do not retry, as grpc itself holds it."""
    try:
        return int(value) / 1000
    except ValueError:
        return -1.0
