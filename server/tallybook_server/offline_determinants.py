"""Determinants without a server: a request out of a file, and what it is answered."""

from __future__ import annotations

from datetime import date

from tallybook.v1 import determinants_pb2 as wire
from tallybook_engine.calendar.zones import UnknownZone
from tallybook_engine.calendar.zones import midnight as local_midnight
from tallybook_engine.determinants.result import Cancellation
from tallybook_server.billing import outcome_of
from tallybook_server.catalog_file import read_message_file
from tallybook_server.codec.columns import CalculateDeterminantsEnvelope
from tallybook_server.codec.determinants import cancelled, result_message
from tallybook_server.errors import Fault


class RequestFileError(ValueError):
    """A file that holds no billing request; `faults` has a line for each thing that is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class DeterminantsError(ValueError):
    """A request that is wrong, or cancelled."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.message} ({fault.code.name})")
        self.detail = fault.detail


def read_request_file(name: str, content: bytes) -> wire.CalculateDeterminantsRequest:
    """A file of the message `CalculateDeterminantsRequest`, YAML or JSON. RequestFileError names every fault."""
    file = read_message_file(name, content, wire.CalculateDeterminantsRequest)
    if file.faults:
        raise RequestFileError(*map(file.located, file.faults))
    return file.message


def midnight_us(zone: str, day: date) -> int:
    """First instant of a local date, microseconds. RequestFileError where there is no such zone."""
    try:
        return local_midnight(zone, day)
    except UnknownZone as error:
        raise RequestFileError(str(error)) from None


def determinants(request: wire.CalculateDeterminantsRequest, now_us: int) -> wire.DeterminantsResult:
    """What a server would answer. DeterminantsError for what it would refuse or cancel."""
    try:
        outcome = outcome_of(CalculateDeterminantsEnvelope.FromString(request.SerializeToString()))
        if isinstance(outcome, Cancellation):
            raise cancelled(outcome)
    except Fault as fault:
        raise DeterminantsError(fault) from None
    return result_message(outcome, now_us)
