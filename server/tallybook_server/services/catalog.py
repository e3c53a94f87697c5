"""CatalogService: changes and reads of a book's catalogue."""
# ruff: noqa: N802 - methods bear the names of the contract

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from tallybook.v1 import catalog_pb2 as wire
from tallybook.v1 import catalog_pb2_grpc, common_pb2
from tallybook_engine.catalog.affected import AffectedLine, ApplyOutcome
from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogObjects
from tallybook_engine.catalog.diff import ObjectDifference
from tallybook_engine.catalog.faults import CatalogFault, CatalogInvalidError, Faults
from tallybook_engine.catalog.model import Catalog, CatalogObject, Contract
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.contract.current_terms import CurrentTerm, current_terms
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import format_money
from tallybook_engine.determinants.configuration import Datasource
from tallybook_server.codec import catalog as codec
from tallybook_server.codec import metering
from tallybook_server.codec.instants import instant_us
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.services.catalog_pages import Page, PageRequest, Written, read_page, within_answer

PARTS_BYTES_MAX = 256 * 1024 * 1024
"""Size of all parts of one StreamingApplyCatalog; more is MESSAGE_TOO_LARGE."""

SHOWN_MAX = 1_000
"""Differences of one answer, and affected lines."""

Kept = TypeVar("Kept", bound=CatalogObject)
Context = ServicerContext[Any, Any]


class CatalogBook(Protocol):
    """What the service needs of a book."""

    async def apply_catalog(
        self, change: CatalogChange, expected_version: int | None, validate_only: bool
    ) -> ApplyOutcome:
        """Applies a change, durable on return. Raises CatalogInvalidError, or Fault for a version or object in use."""

    def catalog(self, version: int | None = None) -> Catalog:
        """A version; None: the current one. Raises KeyError for one that does not exist."""


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Changes go through the book's writer; reads see the version that is current when they begin."""

    def __init__(self, book_of: Callable[[Context], CatalogBook], now_us: Callable[[], int]) -> None:
        """`book_of` answers the book that a call's credential names; `now_us` tells the time in microseconds since 1970
        UTC.
        """
        self._book_of = book_of
        self._now_us = now_us

    async def ApplyCatalog(self, request: wire.ApplyCatalogRequest, context: Context) -> wire.ApplyCatalogResponse:
        """A change in one message."""
        outcome = await _apply(self._book_of(context), request)
        return wire.ApplyCatalogResponse(
            version=outcome.version,
            differences=_differences(outcome),
            difference_count=len(outcome.differences),
            affected_lines=_affected_lines(outcome),
            affected_line_count=outcome.affected_line_count,
        )

    async def StreamingApplyCatalog(
        self, request_iterator: AsyncIterator[wire.StreamingApplyCatalogRequest], context: Context
    ) -> wire.StreamingApplyCatalogResponse:
        """A change in parts, applied when the client closes its side."""
        outcome = await _apply(self._book_of(context), await _gathered(request_iterator))
        return wire.StreamingApplyCatalogResponse(
            version=outcome.version,
            differences=_differences(outcome),
            difference_count=len(outcome.differences),
            affected_lines=_affected_lines(outcome),
            affected_line_count=outcome.affected_line_count,
        )

    async def GetCatalog(self, request: wire.GetCatalogRequest, context: Context) -> wire.GetCatalogResponse:
        """A page of any version, all kinds one after the other."""
        if request.version < 0:
            raise field_invalid("version", "is below 0")
        book = self._book_of(context)
        page = read_page(
            request,
            f"catalog/{request.version}",
            lambda version: book.catalog(version if version is not None else request.version or None),
            _all_objects,
            lambda each: codec.write_objects(CatalogObjects(**{each[0]: (each[1],)})),  # type: ignore[arg-type]
        )
        catalog = wire.Catalog()
        for entry in page.entries:
            catalog.MergeFrom(entry)
        return wire.GetCatalogResponse(version=page.version, catalog=catalog, next_page_token=page.next_page_token)

    async def GetCustomer(self, request: wire.GetCustomerRequest, context: Context) -> wire.GetCustomerResponse:
        """One customer."""
        catalog = self._book_of(context).catalog()
        customer = _found(catalog.customers, "customer", request.customer_id)
        return wire.GetCustomerResponse(customer=codec.write_customer(customer), version=catalog.version)

    async def ListCustomers(self, request: wire.ListCustomersRequest, context: Context) -> wire.ListCustomersResponse:
        """A page of customers."""
        page = self._page(
            request, context, "customers", lambda catalog: catalog.customers.values(), codec.write_customer
        )
        return wire.ListCustomersResponse(
            customers=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetContract(self, request: wire.GetContractRequest, context: Context) -> wire.GetContractResponse:
        """One contract tree, and the terms that its contracts are in."""
        catalog = self._book_of(context).catalog()
        contract = _found(catalog.contracts, "contract", request.contract_id)
        time_us = instant_us(request.time, "time") if request.HasField("time") else self._now_us()
        return wire.GetContractResponse(
            contract=codec.write_contract(contract),
            version=catalog.version,
            terms=map(_term, current_terms(contract, time_us)),
        )

    async def ListContracts(self, request: wire.ListContractsRequest, context: Context) -> wire.ListContractsResponse:
        """A page of contract trees."""

        def of_customer(catalog: Catalog) -> Iterable[Contract]:
            every = catalog.contracts.values()
            return (each for each in every if request.customer_id in ("", each.customer))

        page = self._page(request, context, f"contracts/{request.customer_id}", of_customer, codec.write_contract)
        return wire.ListContractsResponse(
            contracts=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetProduct(self, request: wire.GetProductRequest, context: Context) -> wire.GetProductResponse:
        """One product."""
        catalog = self._book_of(context).catalog()
        product = _found(catalog.products, "product", request.product_id)
        return wire.GetProductResponse(product=codec.write_product(product), version=catalog.version)

    async def ListProducts(self, request: wire.ListProductsRequest, context: Context) -> wire.ListProductsResponse:
        """A page of products."""
        page = self._page(request, context, "products", lambda catalog: catalog.products.values(), codec.write_product)
        return wire.ListProductsResponse(
            products=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetPlan(self, request: wire.GetPlanRequest, context: Context) -> wire.GetPlanResponse:
        """One plan."""
        catalog = self._book_of(context).catalog()
        plan = _found(catalog.plans, "plan", request.plan_id)
        return wire.GetPlanResponse(plan=codec.write_plan(plan), version=catalog.version)

    async def ListPlans(self, request: wire.ListPlansRequest, context: Context) -> wire.ListPlansResponse:
        """A page of plans."""
        page = self._page(request, context, "plans", lambda catalog: catalog.plans.values(), codec.write_plan)
        return wire.ListPlansResponse(plans=page.entries, next_page_token=page.next_page_token, version=page.version)

    async def GetMeter(self, request: wire.GetMeterRequest, context: Context) -> wire.GetMeterResponse:
        """One meter."""
        catalog = self._book_of(context).catalog()
        meter = _found(catalog.meters, "meter", request.meter_id)
        return wire.GetMeterResponse(meter=codec.write_meter(meter), version=catalog.version)

    async def ListMeters(self, request: wire.ListMetersRequest, context: Context) -> wire.ListMetersResponse:
        """A page of meters."""
        page = self._page(request, context, "meters", lambda catalog: catalog.meters.values(), codec.write_meter)
        return wire.ListMetersResponse(meters=page.entries, next_page_token=page.next_page_token, version=page.version)

    async def GetDatasource(self, request: wire.GetDatasourceRequest, context: Context) -> wire.GetDatasourceResponse:
        """One datasource."""
        catalog = self._book_of(context).catalog()
        found = _found(catalog.datasources, "datasource", request.datasource_id)
        return wire.GetDatasourceResponse(datasource=metering.write_datasource(found), version=catalog.version)

    async def ListDatasources(
        self, request: wire.ListDatasourcesRequest, context: Context
    ) -> wire.ListDatasourcesResponse:
        """A page of datasources."""

        def of_customer(catalog: Catalog) -> Iterable[Datasource]:
            every = catalog.datasources.values()
            return (each for each in every if request.customer_id in ("", each.customer))

        page = self._page(
            request, context, f"datasources/{request.customer_id}", of_customer, metering.write_datasource
        )
        return wire.ListDatasourcesResponse(
            datasources=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetChannelClassifier(
        self, request: wire.GetChannelClassifierRequest, context: Context
    ) -> wire.GetChannelClassifierResponse:
        """One channel classifier."""
        catalog = self._book_of(context).catalog()
        found = _found(catalog.channel_classifiers, "channel classifier", request.channel_classifier_id)
        return wire.GetChannelClassifierResponse(
            channel_classifier=metering.write_channel_classifier(found), version=catalog.version
        )

    async def ListChannelClassifiers(
        self, request: wire.ListChannelClassifiersRequest, context: Context
    ) -> wire.ListChannelClassifiersResponse:
        """A page of channel classifiers."""
        page = self._page(
            request,
            context,
            "channel_classifiers",
            lambda catalog: catalog.channel_classifiers.values(),
            metering.write_channel_classifier,
        )
        return wire.ListChannelClassifiersResponse(
            channel_classifiers=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetTimesliceGroup(
        self, request: wire.GetTimesliceGroupRequest, context: Context
    ) -> wire.GetTimesliceGroupResponse:
        """One timeslice group."""
        catalog = self._book_of(context).catalog()
        found = _found(catalog.timeslice_groups, "timeslice group", request.timeslice_group_id)
        return wire.GetTimesliceGroupResponse(
            timeslice_group=metering.write_timeslice_group(found), version=catalog.version
        )

    async def ListTimesliceGroups(
        self, request: wire.ListTimesliceGroupsRequest, context: Context
    ) -> wire.ListTimesliceGroupsResponse:
        """A page of timeslice groups."""
        page = self._page(
            request,
            context,
            "timeslice_groups",
            lambda catalog: catalog.timeslice_groups.values(),
            metering.write_timeslice_group,
        )
        return wire.ListTimesliceGroupsResponse(
            timeslice_groups=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetHolidayCalendar(
        self, request: wire.GetHolidayCalendarRequest, context: Context
    ) -> wire.GetHolidayCalendarResponse:
        """One holiday calendar."""
        catalog = self._book_of(context).catalog()
        found = _found(catalog.holiday_calendars, "holiday calendar", request.holiday_calendar_id)
        return wire.GetHolidayCalendarResponse(
            holiday_calendar=metering.write_holiday_calendar(found), version=catalog.version
        )

    async def ListHolidayCalendars(
        self, request: wire.ListHolidayCalendarsRequest, context: Context
    ) -> wire.ListHolidayCalendarsResponse:
        """A page of holiday calendars."""
        page = self._page(
            request,
            context,
            "holiday_calendars",
            lambda catalog: catalog.holiday_calendars.values(),
            metering.write_holiday_calendar,
        )
        return wire.ListHolidayCalendarsResponse(
            holiday_calendars=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    async def GetQualityTable(
        self, request: wire.GetQualityTableRequest, context: Context
    ) -> wire.GetQualityTableResponse:
        """One quality table."""
        catalog = self._book_of(context).catalog()
        found = _found(catalog.quality_tables, "quality table", request.quality_table_id)
        return wire.GetQualityTableResponse(quality_table=metering.write_quality_table(found), version=catalog.version)

    async def ListQualityTables(
        self, request: wire.ListQualityTablesRequest, context: Context
    ) -> wire.ListQualityTablesResponse:
        """A page of quality tables."""
        page = self._page(
            request,
            context,
            "quality_tables",
            lambda catalog: catalog.quality_tables.values(),
            metering.write_quality_table,
        )
        return wire.ListQualityTablesResponse(
            quality_tables=page.entries, next_page_token=page.next_page_token, version=page.version
        )

    def _page(
        self,
        request: PageRequest,
        context: Context,
        scope: str,
        entries_of: Callable[[Catalog], Iterable[Kept]],
        write: Callable[[Kept], Written],
    ) -> Page[Written]:
        return read_page(request, scope, self._book_of(context).catalog, entries_of, write)


async def _apply(book: CatalogBook, request: wire.ApplyCatalogRequest) -> ApplyOutcome:
    faults = Faults()
    # A large catalogue takes seconds, in which other calls go on.
    effective_from = request.effective_from if request.HasField("effective_from") else None
    change = await asyncio.to_thread(
        codec.read_change, request.put, request.remove, request.prune, faults, effective_from
    )
    try:
        if faults.ordered():
            # What cannot be read is never applied: this finds what else is wrong, and raises.
            await asyncio.to_thread(apply_change, book.catalog(), change, faults)
        expected_version = request.expected_version if request.HasField("expected_version") else None
        return await book.apply_catalog(change, expected_version, request.validate_only)
    except CatalogInvalidError as invalid:
        raise catalog_invalid(invalid.faults) from invalid


async def _gathered(parts: AsyncIterator[wire.StreamingApplyCatalogRequest]) -> wire.ApplyCatalogRequest:
    """All parts of a change as one."""
    gathered = wire.ApplyCatalogRequest()
    bytes_left = PARTS_BYTES_MAX
    first = True
    async for part in parts:
        bytes_left -= part.ByteSize()
        if bytes_left < 0:
            raise Fault(ErrorCode.MESSAGE_TOO_LARGE, f"the parts are over {PARTS_BYTES_MAX} bytes together")
        if first:
            gathered.prune, gathered.validate_only = part.prune, part.validate_only
            if part.HasField("expected_version"):
                gathered.expected_version = part.expected_version
            if part.HasField("effective_from"):
                gathered.effective_from.CopyFrom(part.effective_from)
        elif part.prune or part.validate_only or part.HasField("expected_version") or part.HasField("effective_from"):
            raise field_invalid("prune, expected_version, validate_only, effective_from", "belong to the first part")
        gathered.put.MergeFrom(part.put)
        gathered.remove.MergeFrom(part.remove)
        first = False
    return gathered


def catalog_invalid(faults: tuple[CatalogFault, ...]) -> Fault:
    """CATALOG_INVALID with every fault, or the first ones and how many more there are."""
    fields = metering.fields_within_answer(faults)
    count = f"{len(faults)} faults, the first one: " if len(faults) > 1 else ""
    return Fault(ErrorCode.CATALOG_INVALID, f"{count}{faults[0]}", {"fault_count": str(len(faults))}, fields)


def _term(term: CurrentTerm) -> wire.ContractTerm:
    return wire.ContractTerm(
        contract_id=term.contract_id,
        number=term.number,
        start_date=term.start_date.isoformat(),
        end_date=term.end_date.isoformat(),
    )


def _found(objects: Mapping[str, Kept], kind: str, name: str) -> Kept:
    if name not in objects:
        raise Fault(ErrorCode.OBJECT_NOT_FOUND, f'there is no {kind} "{name}"', {"kind": kind, "id": name})
    return objects[name]


def _all_objects(catalog: Catalog) -> Iterable[tuple[str, CatalogObject]]:
    return ((kind, each) for kind in KINDS for each in getattr(catalog, kind).values())


def _differences(outcome: ApplyOutcome) -> list[wire.ObjectDifference]:
    return within_answer(_difference(each) for each in outcome.differences[:SHOWN_MAX])


def _difference(difference: ObjectDifference) -> wire.ObjectDifference:
    return wire.ObjectDifference(
        change=wire.ObjectDifference.Change.Value(difference.change.value),
        kind=difference.kind,
        id=difference.id,
        fields=[
            wire.FieldDifference(path=each.path, before=each.before, after=each.after) for each in difference.fields
        ],
    )


def _affected_lines(outcome: ApplyOutcome) -> list[wire.AffectedLine]:
    return [_affected_line(each) for each in outcome.affected_lines[:SHOWN_MAX]]


def _affected_line(line: AffectedLine) -> wire.AffectedLine:
    period = common_pb2.Period(start_time=_timestamp(line.start_us), end_time=_timestamp(line.end_us))
    posting = line.reprocess_amount_minor
    return wire.AffectedLine(
        customer_id=line.customer_id,
        contract_path=line.contract_path,
        cell_id=line.cell_id,
        period=period,
        amount_excluding_tax=_money(line.amount_minor, line.currency),
        reprocess_amount_excluding_tax=None if posting is None else _money(posting, line.currency),
        line_number=line.line_number,
    )


def _money(minor: int, currency: str) -> common_pb2.Money:
    return common_pb2.Money(quantity=format_money(minor, minor_digits(currency)), currency=currency)


def _timestamp(instant_us: int) -> Timestamp:
    seconds, microseconds = divmod(instant_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1_000)
