"""What a failed call says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

import tallybook_client as tb
from tallybook_server.errors import DOMAIN, STATUS_TRAILER


def reason_of(status: Status) -> str:
    """The reason of a status; it has exactly one ErrorInfo, of our domain."""
    infos = [ErrorInfo.FromString(each.value) for each in status.details if each.Is(ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    assert infos[0].domain == DOMAIN
    return infos[0].reason


def status_of_call(error: Any) -> Status:
    """The `google.rpc.Status` in the trailers of a failed call."""
    trailers = dict(error.trailing_metadata())
    status = Status.FromString(trailers[STATUS_TRAILER])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return status


def failed_with(error: Any) -> str:
    """The reason of a failed call."""
    return reason_of(status_of_call(error))


def fields_of(status: Status) -> list[str]:
    """The fields that a status names."""
    requests = [BadRequest.FromString(each.value) for each in status.details if each.Is(BadRequest.DESCRIPTOR)]
    return [violation.field for request in requests for violation in request.field_violations]


def reason_raised_by(call: Callable[[], object]) -> str:
    """The reason of the error that the client raises for a call."""
    with pytest.raises(tb.TallybookError) as error:
        call()
    return error.value.reason
