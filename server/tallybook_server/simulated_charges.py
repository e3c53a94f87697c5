"""Charges of simulations that are over, kept for a while to be listed page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tallybook.v1 import common_pb2, ingest_pb2
from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.currencies import minor_digits
from tallybook_server import limits
from tallybook_server.codec.pagination import page_size, read_token, write_token
from tallybook_server.codec.results import timestamp
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.kept import Kept

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CUSTOMERS_NAMED = 20
"""Customers without charges that are named; the others are counted."""


@dataclass
class Charges:
    """The charges of one simulation, as they were streamed."""

    scenarios: Sequence[str]
    streams: list[tuple[str, bytes]] = field(default_factory=list)
    """(scenario, Arrow stream), in the order of their answering."""
    byte_count: int = 0

    def add(self, message: wire.RunSimulationResponse) -> None:
        """Takes the charges of a message; of more than is kept, nothing."""
        if message.WhichOneof("event") != "charges":
            return
        self.byte_count += len(message.charges.arrow)
        if self.fits:
            self.streams.append((message.charges.scenario, message.charges.arrow))
        else:
            self.streams.clear()

    @property
    def fits(self) -> bool:
        """Whether they may be kept."""
        return self.byte_count <= limits.KEPT_CHARGES_BYTES_MAX


class SimulatedCharges:
    """The charges that a server keeps. For one event loop."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """`now_us` tells the time in microseconds since 1970 UTC."""
        self._kept: Kept[Charges] = Kept(now_us, limits.KEPT_CHARGES_SECONDS)

    def keep(self, book: str, simulation_id: str, charges: Charges) -> int | None:
        """Keeps the charges of a simulation, in place of the oldest where need be; until when, in microseconds since
        1970 UTC. None where they are too large.
        """
        if not charges.fits:
            return None
        while self._kept.byte_count() + charges.byte_count > limits.KEPT_CHARGES_OF_SERVER_BYTES_MAX:
            self._kept.forget_oldest()
        return self._kept.put(book, simulation_id, charges, charges.byte_count).expire_time_us

    def forget(self, book: str) -> None:
        """Lets go of the charges of a book's simulations."""
        self._kept.forget(book)

    def get(self, book: str, simulation_id: str) -> Charges:
        """The charges of a simulation of a book. SIMULATION_EXPIRED where they are not kept (any more)."""
        charges = self._kept.get(book, simulation_id)
        if charges is None:
            raise Fault(
                ErrorCode.SIMULATION_EXPIRED, f"the charges of simulation {simulation_id!r} are not kept: run it again"
            )
        return charges


def charges_page(
    book: str, request: wire.ListSimulationChargesRequest, charges: Charges
) -> wire.ListSimulationChargesResponse:
    """A page: scenario by scenario in the order of the simulation, each in the order of its lines."""
    if request.scenario and request.scenario not in charges.scenarios:
        known = ", ".join(map(repr, charges.scenarios))
        raise field_invalid("scenario", f"{request.scenario!r} was not run; there are {known}")
    limit = page_size(request.page_size)
    token = read_token(book, request, 2)
    if token is None:
        _check_customers(request.customer_ids, charges)
    number, row = token or (0, 0)
    wanted = [request.scenario] if request.scenario else charges.scenarios
    streams = [each for name in wanted for each in charges.streams if each[0] == name]
    response = wire.ListSimulationChargesResponse()
    customers = set(request.customer_ids)
    for scenario, stream in streams[number:]:
        for each in _lines(stream, row):
            if len(response.charges) == limit:
                response.next_page_token = write_token(book, request, number, row)
                return response
            row += 1
            if not customers or each["customer_id"] in customers:
                response.charges.append(_charge(scenario, each))
        number, row = number + 1, 0
    return response


def _check_customers(customer_ids: Sequence[str], charges: Charges) -> None:
    """FIELD_INVALID where there are customers that no line of any scenario is of."""
    missing = dict.fromkeys(customer_ids)
    for _, stream in charges.streams:
        if not missing:
            return
        for name in pa.ipc.open_stream(stream).read_all().column("customer_id").unique().to_pylist():
            missing.pop(name, None)
    if missing:
        named = ", ".join(f'"{name}"' for name in list(missing)[:_CUSTOMERS_NAMED])
        more = f" and {len(missing) - _CUSTOMERS_NAMED} more" if len(missing) > _CUSTOMERS_NAMED else ""
        raise field_invalid("customer_ids", f"the simulation has no charges of customer {named}{more}")


def _lines(stream: bytes, first: int) -> Iterator[dict[str, Any]]:
    """The lines of an Arrow stream from a row on; more than a page of them is not looked at at once."""
    table = pa.ipc.open_stream(stream).read_all()
    for start in range(first, table.num_rows, limits.PAGE_SIZE_MAX):
        yield from table.slice(start, limits.PAGE_SIZE_MAX).to_pylist()


def _charge(scenario: str, line: dict[str, Any]) -> wire.SimulatedCharge:
    currency = line["currency"]
    digits = minor_digits(currency)

    def money(amount: Decimal) -> common_pb2.Money:
        return common_pb2.Money(quantity=f"{amount:.{digits}f}", currency=currency)

    return wire.SimulatedCharge(
        scenario=scenario,
        customer_id=line["customer_id"],
        contract_path=line["contract_path"],
        kind=ingest_pb2.InvoiceLine.Kind.Value(line["line_kind"]),
        line_id=line["line_id"] or "",
        product_id=line["product_id"] or "",
        plan_id=line["plan_id"] or "",
        cell_id=line["cell_id"] or "",
        period=common_pb2.Period(
            start_time=_timestamp(line["period_start_time"]), end_time=_timestamp(line["period_end_time"])
        ),
        quantity=_text(line["quantity"]),
        unit_amount=_text(line["unit_amount"]),
        exact_amount=_text(line["exact_amount"]),
        amount_excluding_tax=money(line["amount_excluding_tax"]),
        tax_amount=money(line["tax_amount"]),
        amount_including_tax=money(line["amount_including_tax"]),
    )


def _timestamp(instant: Any) -> Any:
    return timestamp((instant - _EPOCH) // _MICROSECOND)


def _text(number: Decimal | None) -> str:
    """Without trailing zeros; empty where there is none."""
    if number is None:
        return ""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
