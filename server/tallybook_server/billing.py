"""One billing request, from what was sent to its outcome."""

from __future__ import annotations

from typing import Any

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.calculate import calculate
from tallybook_engine.determinants.readings import ReadingsFault
from tallybook_engine.determinants.result import Cancellation, Result
from tallybook_server.codec.determinants import read_request
from tallybook_server.errors import field_invalid


def outcome_of(envelope: Any, catalog: Catalog | None = None) -> Result | Cancellation:
    """Of a `CalculateDeterminantsEnvelope`, and what the book's catalogue has of what it does not configure itself.

    Fault for the first thing that is wrong with it.
    """
    request, readings, configuration = read_request(envelope, catalog)
    try:
        return calculate(request, readings, configuration)
    except ReadingsFault as fault:
        raise field_invalid("readings", str(fault)) from None
