"""The client: one connection to one book."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc
import polars as pl
import pyarrow as pa

from tallybook.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    determinants_pb2,
    determinants_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    simulate_pb2,
    simulate_pb2_grpc,
)
from tallybook_client.catalog import PART_BYTES, CatalogChange, CatalogVersion, change_of, parts_of
from tallybook_client.channel import DEFAULT_TARGET, credential_metadata, open_channel
from tallybook_client.charges import charges_frame
from tallybook_client.determinants import Determinants, DeterminantsAnswer
from tallybook_client.errors import UnavailableError, from_call
from tallybook_client.events import AnyEvent, EventKey, event_messages
from tallybook_client.frames import ColumnMap, Frame, event_batches
from tallybook_client.invoices import Invoice, InvoiceLine
from tallybook_client.metering import completed
from tallybook_client.numbers import decimal_text, to_timestamp
from tallybook_client.quotes import BillingDates, PriceQuote
from tallybook_client.readings import readings_stream
from tallybook_client.report import IngestReport, OnProgress
from tallybook_client.results import (
    ChargeLine,
    DeleteResult,
    EventResult,
    Match,
    NetAmount,
    ReprocessProgress,
    StoredEvent,
    UsageTotal,
    View,
)
from tallybook_client.sandboxes import CreatedSandbox, Sandbox, sandbox_request
from tallybook_client.simulation import (
    AnyUsage,
    Scenario,
    SimulatedCharge,
    Simulation,
    UploadedUsage,
    simulation_request,
    usage_requests,
)
from tallybook_client.stored_readings import (
    Acknowledgement,
    BillingMessage,
    BillingReading,
    DeletedReadings,
    ReadingsAnswer,
    ReadingsBatch,
    StoredReading,
    readings_requests,
)
from tallybook_client.stream import Batch, BatchAnswer, RetryPolicy, stream_batches, stream_in_window

BATCH_ROWS_DEFAULT = 32_768
"""Rows of one message of a stream: half of the limit, a few megabytes."""

_Answer = TypeVar("_Answer")

_RETRY_DEFAULT = RetryPolicy()
_MAP_DEFAULT = ColumnMap()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whose lines, and of which time: periods that overlap [start_time, end_time)."""

    customer_reference: str = ""
    customer_id: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a request."""
        return {
            "customer_reference": self.customer_reference,
            "customer_id": self.customer_id,
            "start_time": None if self.start_time is None else to_timestamp(self.start_time),
            "end_time": None if self.end_time is None else to_timestamp(self.end_time),
        }


_EVERYTHING = Span()


class Client:
    """Calls of one book, which the key names. Thread-safe; close it, or use it in a `with`.

    Every call raises a subclass of `TallybookError` where it fails as a whole. What is wrong with one row is in the
    row's result.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        key: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        retry: RetryPolicy = _RETRY_DEFAULT,
    ) -> None:
        """`target` is host:port. `credentials` encrypt the connection; without them it is plain text, which is for
        loopback. `retry` says how broken streams are taken up again; other calls follow the service config.
        """
        self._metadata = credential_metadata(key)
        self._channel = open_channel(target, credentials)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(self._channel)
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self._determinants = determinants_pb2_grpc.DeterminantsServiceStub(self._channel)
        self._simulate = simulate_pb2_grpc.SimulateServiceStub(self._channel)
        self._retry = retry

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def wait_until_ready(self) -> None:
        """Connect. UnavailableError as soon as one try has failed; calls without it try for longer."""
        states: SimpleQueue[grpc.ChannelConnectivity] = SimpleQueue()
        self._channel.subscribe(states.put, try_to_connect=True)
        while (state := states.get()) is not grpc.ChannelConnectivity.READY:
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "the server cannot be reached")
        self._channel.unsubscribe(states.put)

    # Events

    def ingest(self, events: Iterable[AnyEvent], view: View = View.NONE) -> list[EventResult]:
        """Store at most 10,000 events; what became of each, in order. Durable when it returns; safe to repeat."""
        request = ingest_pb2.IngestEventsRequest(events=event_messages(events), prediction_view=view.number)
        return [EventResult.read(result) for result in self._call(self._ingest.IngestEvents, request).results]

    def predict(self, events: Iterable[AnyEvent], view: View = View.FULL) -> list[EventResult]:
        """What at most 10,000 events would cost if they were stored now, in order; nothing is written."""
        request = ingest_pb2.PredictCostsRequest(events=event_messages(events), prediction_view=view.number)
        return [EventResult.read(result) for result in self._call(self._ingest.PredictCosts, request).results]

    def stream(self, batches: Iterable[Batch], *, return_costs: bool = False) -> Iterator[BatchAnswer]:
        """Store any number of batches, each of at most 65,536 events; yields the answer to each, in order.

        Batches are taken as the server keeps up: at most 15 are unanswered. A broken connection is taken up again
        and the unanswered batches are sent again; what had been stored unseen is then answered DUPLICATE.
        """
        return stream_batches(
            lambda requests: self._ingest.StreamingIngestEvents(requests, metadata=self._metadata),
            batches,
            return_costs,
            self._retry,
        )

    def ingest_frame(
        self,
        frame: Frame,
        column_map: ColumnMap = _MAP_DEFAULT,
        *,
        batch_rows: int = BATCH_ROWS_DEFAULT,
        return_costs: bool = False,
        on_progress: OnProgress | None = None,
    ) -> IngestReport:
        """Store the rows of a frame. FrameError, before anything is sent, where a column does not fit.

        `on_progress` is told after every batch. Rows of the report are rows of the frame.
        """
        report = IngestReport()
        for answer in self.stream(event_batches(frame, column_map, batch_rows), return_costs=return_costs):
            progress = report.add(answer)
            if on_progress is not None:
                on_progress(progress)
        return report

    def delete(self, keys: Iterable[EventKey], view: View = View.AMOUNTS) -> list[DeleteResult]:
        """Take at most 10,000 events out of every line they moved; what became of each, in order."""
        request = ingest_pb2.DeleteEventsRequest(events=[key.message() for key in keys], prediction_view=view.number)
        return [DeleteResult.read(result) for result in self._call(self._ingest.DeleteEvents, request).results]

    def get_event(self, key: EventKey) -> StoredEvent:
        """One event with its history, explained. NotFoundError where there is none."""
        response = self._call(self._ingest.GetEvent, ingest_pb2.GetEventRequest(event=key.message()))
        return StoredEvent.read(response.event)

    def list_events(
        self,
        span: Span = _EVERYTHING,
        *,
        meter_reference: str = "",
        matches: Iterable[Match] = (),
        show_deleted: bool = False,
    ) -> Iterator[StoredEvent]:
        """Events in the order of their storing, at or after the span's start and before its end, page by page."""
        request = ingest_pb2.ListEventsRequest(
            **span.fields(),
            meter_reference=meter_reference,
            matches=[ingest_pb2.EventResult.Match.Value(match) for match in matches],
            show_deleted=show_deleted,
        )
        for page in self._pages(self._ingest.ListEvents, request):
            yield from map(StoredEvent.read, page.events)

    def reprocess(
        self, span: Span = _EVERYTHING, *, move_pins: bool = False, validate_only: bool = False
    ) -> Iterator[ReprocessProgress]:
        """Rate stored events under the current catalogue; yields progress, the last one with `done`.

        A call that breaks is taken up again where it stopped.
        """
        request = ingest_pb2.ReprocessEventsRequest(**span.fields(), move_pins=move_pins, validate_only=validate_only)
        attempt = 0
        while True:
            try:
                for message in self._ingest.ReprocessEvents(request, metadata=self._metadata):
                    attempt = 0
                    request.resume_token = message.resume_token
                    yield ReprocessProgress.read(message)
                return
            except grpc.RpcError as failure:
                error = from_call(failure)
            attempt += 1
            if self._retry.gives_up(error, attempt):
                raise error
            self._retry.wait(error, attempt)

    # Readings

    def ingest_readings(
        self,
        batches: Iterable[ReadingsBatch],
        *,
        configuration: determinants_pb2.DeterminantsConfiguration | None = None,
    ) -> Iterator[ReadingsAnswer]:
        """Store meter readings, any number of batches; yields the answer to each, in order, once it is durable.

        A batch is a list of (datasource, readings of a channel as `channel_readings` makes them), or a frame with the
        columns datasource, channel, time, value and quality (docs/arrow.md): at most 2,097,152 readings and 16 MiB.
        `configuration` says what the catalogue does not say of the datasources. A delivery that is wrong is in its
        batch's answer, and the others are stored.

        Batches are taken as the server keeps up: at most 15 are unanswered. A broken connection is taken up again and
        the unanswered batches are sent again, which changes nothing where they had been stored.
        """
        return stream_in_window(
            lambda requests: self._ingest.IngestReadings(requests, metadata=self._metadata),
            readings_requests(batches, configuration),
            lambda request: request,
            lambda response, _: ReadingsAnswer.read(response),
            self._retry,
        )

    def delete_readings(
        self,
        datasource: str,
        channel: str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        *,
        sequence: int = 0,
    ) -> DeletedReadings:
        """Take stored readings of one channel back, at or after `start_time` and before `end_time`; with `sequence`,
        only what that commit delivered. They stay for audit; durable when it returns, and safe to repeat.
        """
        request = determinants_pb2.DeleteReadingsRequest(
            datasource=datasource,
            channel=channel,
            start_time=None if start_time is None else to_timestamp(start_time),
            end_time=None if end_time is None else to_timestamp(end_time),
            sequence=sequence,
        )
        response = self._call(self._ingest.DeleteReadings, request)
        return DeletedReadings(response.deleted_count, response.sequence, response)

    def list_readings(
        self,
        datasource: str,
        channel: str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        *,
        as_of_sequence: int = 0,
        include_superseded: bool = False,
    ) -> Iterator[StoredReading]:
        """Stored readings of one channel by timestamp, at or after `start_time` and before `end_time`, page by page.

        The last delivery of each timestamp, or every one.
        """
        request = determinants_pb2.ListReadingsRequest(
            datasource=datasource,
            channel=channel,
            start_time=None if start_time is None else to_timestamp(start_time),
            end_time=None if end_time is None else to_timestamp(end_time),
            as_of_sequence=as_of_sequence,
            include_superseded=include_superseded,
        )
        for page in self._pages(self._determinants.ListReadings, request):
            yield from map(StoredReading.read, page.readings)

    def list_billing_readings(
        self,
        datasource: str,
        billing_channel: str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        *,
        as_of_sequence: int = 0,
        include_superseded: bool = False,
    ) -> Iterator[BillingReading]:
        """Stored determinants of one BILLING channel by the ends of their periods, at or after `start_time` and before
        `end_time`, page by page. The last calculation of each period, or every one.
        """
        request = determinants_pb2.ListBillingReadingsRequest(
            datasource=datasource,
            billing_channel=billing_channel,
            start_time=None if start_time is None else to_timestamp(start_time),
            end_time=None if end_time is None else to_timestamp(end_time),
            as_of_sequence=as_of_sequence,
            include_superseded=include_superseded,
        )
        for page in self._pages(self._determinants.ListBillingReadings, request):
            yield from map(BillingReading.read, page.readings)

    def billing_messages(self) -> Iterator[BillingMessage]:
        """The outbox: billing messages that are not acknowledged, first to last, page by page."""
        request = determinants_pb2.ListBillingMessagesRequest()
        for page in self._pages(self._determinants.ListBillingMessages, request):
            yield from map(BillingMessage.read, page.messages)

    def acknowledge(self, message_ids: Iterable[str]) -> Acknowledgement:
        """Take billing messages out of the outbox, at most 1,000; durable when it returns, and safe to repeat."""
        request = determinants_pb2.AcknowledgeBillingMessagesRequest(message_ids=message_ids)
        response = self._call(self._determinants.AcknowledgeBillingMessages, request)
        return Acknowledgement(
            response.acknowledged_count, response.already_acknowledged_count, tuple(response.unknown_ids), response
        )

    # Totals

    def usage(self, span: Span, *, as_of_sequence: int = 0) -> list[UsageTotal]:
        """Running totals of a customer: one a product contract, matrix cell and accumulation period."""
        request = ingest_pb2.ListUsageRequest(**span.fields(), as_of_sequence=as_of_sequence)
        return [UsageTotal.read(total) for page in self._pages(self._ingest.ListUsage, request) for total in page.usage]

    def charges(
        self, span: Span, *, as_of_sequence: int = 0, include_unopened: bool = False, as_invoiced: bool = False
    ) -> Charges:
        """Charge lines of a customer: one a product contract, matrix cell and billing period.

        With `as_invoiced` they are those of the invoices of the span, each with its due date, and `invoice_lines` of
        the answer has what stands beside them: fees, shares, discounts, caps, minimums, credits. Without, `net_amounts`
        has what contract trees with such terms come to.
        """
        request = ingest_pb2.ListChargesRequest(
            **span.fields(), as_of_sequence=as_of_sequence, include_unopened=include_unopened, as_invoiced=as_invoiced
        )
        charges = Charges()
        for page in self._pages(self._ingest.ListCharges, request):
            charges.extend(map(ChargeLine.read, page.charges))
            charges.invoice_lines.extend(map(InvoiceLine.read, page.invoice_lines))
            charges.net_amounts.extend(map(NetAmount.read, page.net_amounts))
        return charges

    # Simulation

    def quote_price(
        self,
        plan: catalog_pb2.Plan,
        quantity_to: Decimal | int | str,
        quantity_from: Decimal | int | str | None = None,
        *,
        rule_id: str = "",
        days: simulate_pb2.DaysOfPeriod | None = None,
    ) -> PriceQuote:
        """What a quantity costs under a plan, or what it costs to come to it from another one; without tax.

        The plan need not be in the catalogue. `rule_id` names a rule of a matrix. `days` are those that a product
        contract has of an accumulation period that is not whole.
        """
        request = simulate_pb2.QuotePriceRequest(
            plan=plan,
            rule_id=rule_id,
            quantity_to=decimal_text(quantity_to),
            quantity_from=None if quantity_from is None else decimal_text(quantity_from),
            days=days,
        )
        return PriceQuote.read(self._call(self._simulate.QuotePrice, request))

    def billing_dates(
        self,
        start_date: date,
        billing_frequency: catalog_pb2.Frequency,
        end_date: date | None = None,
        *,
        time_zone: str = "UTC",
        from_date: date | None = None,
        period_count: int = 0,
        auto_renewal: bool = False,
    ) -> list[BillingDates]:
        """The billing periods of a contract with these dates, at most 1,000, from the one that holds `from_date` on;
        each with the term that it begins in.
        """
        request = simulate_pb2.PreviewBillingDatesRequest(
            start_date=start_date.isoformat(),
            end_date=None if end_date is None else end_date.isoformat(),
            billing_frequency=billing_frequency,
            time_zone=time_zone,
            from_date=None if from_date is None else from_date.isoformat(),
            period_count=period_count,
            auto_renewal=auto_renewal,
        )
        return list(map(BillingDates.read, self._call(self._simulate.PreviewBillingDates, request).periods))

    def preview_invoices(
        self, contract_id: str, first_day: date, *, period_count: int = 1, as_of_sequence: int = 0
    ) -> list[Invoice]:
        """What a root contract comes to in its billing periods, from the one that holds a day on.

        Fewer than `period_count`, which is at most 1,000, where the contract ends. All stand on one sequence.
        """
        found: list[Invoice] = []
        request = simulate_pb2.PreviewInvoiceRequest(
            contract_id=contract_id,
            date=first_day.isoformat(),
            period_count=period_count,
            as_of_sequence=as_of_sequence,
        )
        while True:
            response = self._call(self._simulate.PreviewInvoice, request)
            found += map(Invoice.read, response.invoices)
            left = period_count - len({each.start_date for each in found})
            # Without invoices there is no currency to invoice in, however far one looks.
            if left <= 0 or not response.next_date or not response.invoices:
                return found
            request.date, request.period_count = response.next_date, left
            request.as_of_sequence = response.sequence

    def simulate(
        self,
        usage: AnyUsage,
        scenarios: Iterable[Scenario] = (),
        *,
        baseline: Scenario | None = None,
        customer_ids: Iterable[str] = (),
        billed_period: tuple[datetime, datetime] | None = None,
        skip_invalid_scenarios: bool = False,
        omit_charges: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Simulation:
        """Run the book's contracts over usage, under its catalogue and under scenarios; nothing in the book changes.

        `usage` is a frame with the columns contract_id (the product contract's), product_id, quantity, date or time,
        and where they are wanted reference, event_count and property:<reference> (docs/arrow.md), or a message a row;
        at most 2,097,152 rows and 16 MiB. Or what the server has: `RecordedUsage`, `DeterminantUsage`,
        `UploadedUsage`. `billed_period`, (first instant, end), is billed whole: all contracts of the customers named,
        or of everyone, also those without usage. `on_progress` is told rows done and rows in all.
        """
        request = simulation_request(
            usage,
            scenarios,
            baseline=baseline,
            customer_ids=customer_ids,
            billed_period=billed_period,
            skip_invalid_scenarios=skip_invalid_scenarios,
            omit_charges=omit_charges,
        )
        return self.run_simulation(request, on_progress=on_progress)

    def run_simulation(
        self,
        request: simulate_pb2.RunSimulationRequest,
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Simulation:
        """The same of a whole request, as `simulation_request` makes it."""

        def messages() -> Iterator[simulate_pb2.RunSimulationResponse]:
            try:
                for message in self._simulate.RunSimulation(request, metadata=self._metadata):
                    if on_progress is not None and message.WhichOneof("event") == "progress":
                        on_progress(message.progress.row_count_done, message.progress.row_count_total)
                    yield message
            except grpc.RpcError as failure:
                raise from_call(failure) from failure

        return Simulation(messages(), request, lambda line: self._call(self._simulate.ExplainSimulatedCharge, line))

    def upload_usage(self, usage: Frame | Iterable[Frame]) -> UploadedUsage:
        """Keep usage on the server for an hour, at most 10,000,000 rows, to simulate it as often as wanted: frames with
        the columns that `simulate` takes. FrameError, before anything is sent, where a column does not fit.
        """
        requests = list(usage_requests(usage))
        return UploadedUsage.read(self._call(self._simulate.UploadUsage, iter(requests)))

    def simulated_charges(
        self, simulation_id: str, scenario: str = "", customer_ids: Iterable[str] = ()
    ) -> Iterator[SimulatedCharge]:
        """The charges of a simulation that the server still has, page by page; under one scenario, or under all.
        NotFoundError where it has them no more, InvalidArgumentError for a customer whom it charges nothing.
        """
        request = simulate_pb2.ListSimulationChargesRequest(
            simulation_id=simulation_id, scenario=scenario, customer_ids=customer_ids
        )
        for page in self._pages(self._simulate.ListSimulationCharges, request):
            yield from map(SimulatedCharge.read, page.charges)

    # Sandboxes

    def create_sandbox(
        self,
        display_name: str = "",
        time_to_live: timedelta | None = None,
        *,
        recorded_usage: tuple[datetime, datetime] | None = None,
        customer_ids: Iterable[str] = (),
    ) -> CreatedSandbox:
        """A book in memory that begins with the catalogue of this one, and the key to it; it lives an hour unless said
        otherwise. Nothing that happens in it changes this book.

        `recorded_usage`, (first instant, end), copies this book's events of the whole accumulation periods that the
        span touches, of some customers or of all.
        """
        request = sandbox_request(display_name, time_to_live, recorded_usage, customer_ids)
        answer = self._call(self._simulate.CreateSandbox, request)
        return CreatedSandbox(Sandbox.read(answer.sandbox), answer.access_token)

    def get_sandbox(self, sandbox_id: str) -> Sandbox:
        """A sandbox of this book. NotFoundError where it has none of this id (any more)."""
        request = simulate_pb2.GetSandboxRequest(sandbox_id=sandbox_id)
        return Sandbox.read(self._call(self._simulate.GetSandbox, request).sandbox)

    def list_sandboxes(self) -> list[Sandbox]:
        """The sandboxes of this book, oldest first."""
        answer = self._call(self._simulate.ListSandboxes, simulate_pb2.ListSandboxesRequest())
        return list(map(Sandbox.read, answer.sandboxes))

    def delete_sandbox(self, sandbox_id: str) -> None:
        """End a sandbox now, with all that was stored in it. NotFoundError as `get_sandbox`."""
        self._call(self._simulate.DeleteSandbox, simulate_pb2.DeleteSandboxRequest(sandbox_id=sandbox_id))

    # Determinants

    def determinants(
        self,
        billing_request: determinants_pb2.BillingRequest,
        configuration: determinants_pb2.DeterminantsConfiguration,
        readings: Frame | Iterable[determinants_pb2.ChannelReadings],
    ) -> Determinants:
        """The billing determinants of one datasource over one period; nothing is stored.

        `readings` are a frame with the columns channel, time, value and quality (docs/arrow.md), or a message a
        channel, as `channel_readings` makes it; at most 1,048,576. DeterminantsCancelledError carries all causes.
        """
        return self.calculate_determinants(determinants_request(billing_request, configuration, readings))

    def calculate_determinants(self, request: determinants_pb2.CalculateDeterminantsRequest) -> Determinants:
        """The same for a request that is already a message; without readings those of the book are taken, and with
        `store` the determinants are kept: the answer's message has `stored_sequence` and `message_id`.
        """
        return Determinants.read(self._call(self._determinants.CalculateDeterminants, request).result)

    def stream_determinants(
        self, requests: Iterable[determinants_pb2.CalculateDeterminantsRequest]
    ) -> Iterator[DeterminantsAnswer]:
        """Any number of billing requests, as `determinants_request` makes them; yields the answer to each, in order.

        What is wrong with one is its answer. Requests are taken as the server keeps up. A broken connection raises; the
        requests that are not answered may be sent again, and one with `store` may then be stored twice.
        """
        numbered = (
            determinants_pb2.StreamingCalculateDeterminantsRequest(request_number=number, request=request)
            for number, request in enumerate(requests)
        )
        try:
            for answer in self._determinants.StreamingCalculateDeterminants(numbered, metadata=self._metadata):
                yield DeterminantsAnswer.read(answer)
        except grpc.RpcError as failure:
            raise from_call(failure) from None

    # Catalogue

    def apply_catalog(
        self,
        put: catalog_pb2.Catalog,
        *,
        remove: catalog_pb2.CatalogIds | None = None,
        prune: bool = False,
        expected_version: int | None = None,
        validate_only: bool = False,
        effective_from: datetime | None = None,
    ) -> CatalogChange:
        """Put objects and remove ids as one change, of any size. InvalidArgumentError carries all the faults in its
        `fields`; AbortedError: the book is not at `expected_version`. From `effective_from` on, accumulation periods
        that are running go on under the change; without it they keep the version that they opened under.
        """
        request = catalog_pb2.ApplyCatalogRequest(
            put=put,
            remove=remove,
            prune=prune,
            expected_version=expected_version,
            validate_only=validate_only,
            effective_from=None if effective_from is None else to_timestamp(effective_from),
        )
        if request.ByteSize() <= PART_BYTES:
            return change_of(self._call(self._catalog.ApplyCatalog, request))
        return change_of(self._call(self._catalog.StreamingApplyCatalog, parts_of(request)))

    def get_catalog(self, version: int = 0) -> CatalogVersion:
        """The whole catalogue of a version; 0: the current one."""
        found = CatalogVersion()
        for page in self._pages(self._catalog.GetCatalog, catalog_pb2.GetCatalogRequest(version=version)):
            found.version = page.version
            found.catalog.MergeFrom(page.catalog)
        return found

    def get_contract(self, contract_id: str, *, time: datetime | None = None) -> catalog_pb2.GetContractResponse:
        """A contract tree by the id of its root, and the terms that its contracts are in at a time; None: now."""
        request = catalog_pb2.GetContractRequest(contract_id=contract_id)
        if time is not None:
            request.time.CopyFrom(to_timestamp(time))
        return self._call(self._catalog.GetContract, request)

    def datasource_configuration(
        self,
        datasource: str,
        timeslice_groups: Iterable[str] = (),
        given: determinants_pb2.DeterminantsConfiguration | None = None,
    ) -> determinants_pb2.DeterminantsConfiguration:
        """What is configured of one datasource: itself, its classifiers, holiday calendar and quality table, and the
        timeslice groups that are named here or by a reading type.

        `given` goes before what the current catalogue has, as in a billing request. NotFoundError names what neither
        has.
        """
        own = determinants_pb2.DeterminantsConfiguration() if given is None else given
        return completed(
            lambda method, request: self._call(getattr(self._catalog, method), request),
            datasource,
            timeslice_groups,
            own,
        )

    def list_customers(self) -> Iterator[catalog_pb2.Customer]:
        """Customers of the current version, page by page."""
        for page in self._pages(self._catalog.ListCustomers, catalog_pb2.ListCustomersRequest()):
            yield from page.customers

    # Calls

    def _call(self, method: Callable[..., _Answer], request: Any) -> _Answer:
        try:
            return method(request, metadata=self._metadata)
        except grpc.RpcError as failure:
            raise from_call(failure) from None

    def _pages(self, method: Callable[..., _Answer], request: Any) -> Iterator[_Answer]:
        """Every page of a list; the request's page_token is moved on."""
        while True:
            page: Any = self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def determinants_request(
    billing_request: determinants_pb2.BillingRequest,
    configuration: determinants_pb2.DeterminantsConfiguration,
    readings: Frame | Iterable[determinants_pb2.ChannelReadings],
) -> determinants_pb2.CalculateDeterminantsRequest:
    """One billing request with its readings. FrameError where a column of a frame does not fit."""
    request = determinants_pb2.CalculateDeterminantsRequest(
        billing_request=billing_request, configuration=configuration
    )
    if isinstance(readings, pl.DataFrame | pa.Table | pa.RecordBatch):
        request.arrow = readings_stream(readings)
    else:
        request.readings.extend(readings)
    return request


class Charges(list[ChargeLine]):
    """Charge lines, by billing period, contract path and cell."""

    def __init__(self, lines: Iterable[ChargeLine] = ()) -> None:
        super().__init__(lines)
        self.invoice_lines: list[InvoiceLine] = []
        """Of the same invoices, what stands beside their charge lines, where that was asked."""
        self.net_amounts: list[NetAmount] = []
        """What contract trees with terms come to in the billing periods of their roots, where that was not asked."""

    def frame(self) -> pl.DataFrame:
        """The lines as a frame of CHARGES_SCHEMA."""
        return charges_frame(self)
