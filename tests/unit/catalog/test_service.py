"""CatalogService over a book in memory: changes, pages, and every way to be refused."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.support.catalog_files import CARDS, EVERYTHING, catalog, read

from tallybook.v1 import catalog_pb2 as wire
from tallybook_engine.catalog.affected import AffectedLine, ApplyOutcome
from tallybook_engine.catalog.change import KINDS, CatalogChange
from tallybook_engine.catalog.diff import catalog_differences
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.catalog.versions import Versions, apply_change, difference
from tallybook_server import limits
from tallybook_server.errors import ErrorCode, Fault, trailers
from tallybook_server.services import catalog as service_file
from tallybook_server.services import catalog_pages
from tallybook_server.services.catalog import CatalogService

CONTEXT = None
"""The service only hands a call's context on."""
NOW_US = 1_735_689_600_000_000
"""2025-01-01, UTC."""


class BookInMemory:
    """A book that has a catalogue and nothing else."""

    def __init__(self) -> None:
        self.versions = Versions()
        self.expected_version: int | None = None
        self.effective_from_us: int | None = None
        self.affected: tuple[AffectedLine, ...] = ()

    async def apply_catalog(
        self, change: CatalogChange, expected_version: int | None, validate_only: bool
    ) -> ApplyOutcome:
        self.expected_version = expected_version
        self.effective_from_us = change.effective_from_us
        before = self.versions.current
        after = apply_change(before, change)
        if after is not before and not validate_only:
            self.versions.add(difference(before, after))
        return ApplyOutcome(after.version, catalog_differences(before, after), self.affected, len(self.affected))

    def catalog(self, version: int | None = None) -> Catalog:
        return self.versions.current if version is None else self.versions.catalog(version)


@pytest.fixture
def book() -> BookInMemory:
    return BookInMemory()


@pytest.fixture
def service(book) -> CatalogService:
    return CatalogService(lambda _context: book, lambda: NOW_US)


@pytest.fixture
def run(service):
    """Calls a method and waits for its answer."""
    return lambda method, request: asyncio.run(getattr(service, method)(request, CONTEXT))


def put(text: str, **fields) -> wire.ApplyCatalogRequest:
    return wire.ApplyCatalogRequest(put=read(text).message, **fields)


def customers(count: int, name: str = "") -> wire.Catalog:
    return wire.Catalog(customers=[wire.Customer(id=f"c{index}", name=name) for index in range(count)])


def parts(*requests: wire.StreamingApplyCatalogRequest) -> AsyncIterator[wire.StreamingApplyCatalogRequest]:
    async def each():
        for request in requests:
            yield request

    return each()


class TestApply:
    def test_answers_version_and_differences(self, run):
        answer = run("ApplyCatalog", put(EVERYTHING))
        assert answer.version == 1
        assert [each.kind for each in answer.differences] == list(KINDS)
        assert answer.difference_count == len(KINDS)

    def test_equal_content_answers_the_same_version(self, run):
        run("ApplyCatalog", put(CARDS))
        assert run("ApplyCatalog", put(CARDS.replace("0.07", "0.070"))) == wire.ApplyCatalogResponse(version=1)

    def test_a_changed_field_is_shown(self, run):
        run("ApplyCatalog", put(CARDS))
        (found,) = run("ApplyCatalog", put(CARDS.replace("0.07", "0.08"))).differences
        assert (found.change, found.kind, found.id) == (wire.ObjectDifference.CHANGED, "plans", "cards_2023")
        assert list(found.fields) == [wire.FieldDifference(path="per_unit.unit_price", before="0.07", after="0.08")]

    def test_validate_only_writes_nothing(self, run, book):
        assert run("ApplyCatalog", put(CARDS, validate_only=True)).version == 1
        assert book.versions.current == Catalog()

    @pytest.mark.parametrize("expected", [None, 0, 7])
    def test_the_expected_version_is_handed_on(self, run, book, expected):
        run("ApplyCatalog", put(CARDS, expected_version=expected))
        assert book.expected_version == expected

    def test_the_instant_is_handed_on(self, run, book):
        instant = Timestamp(seconds=1_773_532_800, nanos=1_999)
        run("ApplyCatalog", put(CARDS, effective_from=instant))
        assert book.effective_from_us == 1_773_532_800_000_001
        first = wire.StreamingApplyCatalogRequest(put=customers(1), effective_from=instant)
        run("StreamingApplyCatalog", parts(first, wire.StreamingApplyCatalogRequest()))
        assert book.effective_from_us == 1_773_532_800_000_001
        run("ApplyCatalog", put(CARDS, prune=True))
        assert book.effective_from_us is None

    @pytest.mark.parametrize(
        "instant", [Timestamp(seconds=-1), Timestamp(seconds=253_402_300_800), Timestamp(nanos=-1)]
    )
    def test_an_instant_that_is_none_is_a_fault(self, run, book, instant):
        with pytest.raises(Fault) as refused:
            run("ApplyCatalog", put(CARDS, effective_from=instant))
        assert [each.field for each in refused.value.fields] == ["effective_from"]
        assert book.versions.current == Catalog()

    def test_only_the_first_part_has_an_instant(self, run):
        second = wire.StreamingApplyCatalogRequest(put=customers(1), effective_from=Timestamp(seconds=1))
        with pytest.raises(Fault) as refused:
            run("StreamingApplyCatalog", parts(wire.StreamingApplyCatalogRequest(), second))
        assert refused.value.code is ErrorCode.FIELD_INVALID

    def test_prune_and_remove(self, run, book):
        run("ApplyCatalog", put(CARDS))
        run("ApplyCatalog", wire.ApplyCatalogRequest(remove=wire.CatalogIds(taxes=["nl"])))
        assert not book.versions.current.taxes
        run("ApplyCatalog", wire.ApplyCatalogRequest(put=customers(1), prune=True))
        assert book.versions.current == catalog("customers: [{id: c0}]", Catalog(2))

    def test_affected_lines_are_shown_in_money(self, run, book):
        line = AffectedLine(7, "bank", ("bank_2023", "p"), "", 1_500_000, 2_000_000, "EUR", 1234, -5)
        book.affected = (line, AffectedLine(8, "bank", ("bank_2023", "p"), "cell", 0, 1, "JPY", 5, None))
        first, second = run("ApplyCatalog", put(CARDS)).affected_lines
        assert (first.line_number, first.customer_id, list(first.contract_path)) == (7, "bank", ["bank_2023", "p"])
        assert (first.amount_excluding_tax.quantity, first.amount_excluding_tax.currency) == ("12.34", "EUR")
        assert first.reprocess_amount_excluding_tax.quantity == "-0.05"
        assert (first.period.start_time.seconds, first.period.start_time.nanos) == (1, 500_000_000)
        assert second.cell_id == "cell"
        assert second.amount_excluding_tax.quantity == "5"
        assert not second.HasField("reprocess_amount_excluding_tax")

    def test_an_answer_shows_so_many_differences_and_counts_the_rest(self, run):
        answer = run("ApplyCatalog", wire.ApplyCatalogRequest(put=customers(service_file.SHOWN_MAX + 1)))
        assert len(answer.differences) == service_file.SHOWN_MAX
        assert answer.difference_count == service_file.SHOWN_MAX + 1


class TestRefusals:
    def test_every_fault_is_named(self, run, book):
        # Given a catalogue with faults of reading and of checking
        text = (
            CARDS.replace("0.07", "abc").replace("Europe/Amsterdam", "Nowhere").replace("plan: cards_2023", "plan: x")
        )
        with pytest.raises(Fault) as refused:
            run("ApplyCatalog", put(text))
        # Then all are named with their paths, and nothing is written
        assert refused.value.code is ErrorCode.CATALOG_INVALID
        assert [each.field for each in refused.value.fields] == [
            "plans[0].per_unit.unit_price",
            "contracts[0].product_contracts[0].plan",
            "contracts[0].time_zone",
        ]
        assert refused.value.metadata == {"fault_count": "3"}
        assert book.versions.current == Catalog()

    def test_twenty_faults_fit_an_answer(self, run):
        request = wire.ApplyCatalogRequest(put=wire.Catalog())
        for index in range(20):
            plan = request.put.plans.add(id=f"plan_of_the_year_{index}", product="en_route_2013", currency="USD")
            plan.graduated.tiers.add(unit_price="1")
        with pytest.raises(Fault) as refused:
            run("ApplyCatalog", request)
        assert [each.field for each in refused.value.fields] == [f"plans[{index}].product" for index in range(20)]

    def test_more_faults_than_fit_are_counted(self, run):
        request = wire.ApplyCatalogRequest(
            put=wire.Catalog(taxes=[wire.Tax(id="a" * 200 + str(i)) for i in range(1000)])
        )
        with pytest.raises(Fault) as refused:
            run("ApplyCatalog", request)
        shown = len(refused.value.fields) - 1
        assert refused.value.fields[-1].message == f"and {2000 - shown} more: mend these first"
        # Then the whole answer is below the 8 KiB of metadata that clients take, bytes written as base64
        size = sum(len(name) + len(value) * 4 / 3 + 32 for name, value in trailers(refused.value))
        assert 4_096 < size + len(refused.value.message) < 8_192

    @pytest.mark.parametrize(
        ("method", "request_", "code"),
        [
            ("GetCustomer", wire.GetCustomerRequest(customer_id="x"), ErrorCode.OBJECT_NOT_FOUND),
            ("GetContract", wire.GetContractRequest(), ErrorCode.OBJECT_NOT_FOUND),
            ("GetProduct", wire.GetProductRequest(product_id="x"), ErrorCode.OBJECT_NOT_FOUND),
            ("GetPlan", wire.GetPlanRequest(plan_id="x"), ErrorCode.OBJECT_NOT_FOUND),
            ("GetMeter", wire.GetMeterRequest(meter_id="x"), ErrorCode.OBJECT_NOT_FOUND),
            ("GetCatalog", wire.GetCatalogRequest(version=9), ErrorCode.CATALOG_VERSION_NOT_FOUND),
            ("GetCatalog", wire.GetCatalogRequest(version=-1), ErrorCode.FIELD_INVALID),
            ("ListPlans", wire.ListPlansRequest(page_size=-1), ErrorCode.FIELD_INVALID),
            ("ListPlans", wire.ListPlansRequest(page_token="x"), ErrorCode.PAGE_TOKEN_INVALID),
            ("ListPlans", wire.ListPlansRequest(page_token="é"), ErrorCode.PAGE_TOKEN_INVALID),
            ("ListPlans", wire.ListPlansRequest(page_token="cGxhbnM6MTotMQ=="), ErrorCode.PAGE_TOKEN_INVALID),
            ("ListPlans", wire.ListPlansRequest(page_token="cGxhbnM6OTow"), ErrorCode.CATALOG_VERSION_NOT_FOUND),
        ],
    )
    def test_reads(self, run, method, request_, code):
        run("ApplyCatalog", put(CARDS))
        with pytest.raises(Fault) as refused:
            run(method, request_)
        assert refused.value.code is code


class TestGet:
    def test_one_object_of_each_kind(self, run):
        run("ApplyCatalog", put(CARDS))
        assert run("GetCustomer", wire.GetCustomerRequest(customer_id="bank")).customer.name == "Bank"
        assert run("GetContract", wire.GetContractRequest(contract_id="bank_2023")).contract.customer == "bank"
        assert run("GetProduct", wire.GetProductRequest(product_id="cards")).product.value == "card_count"
        assert run("GetPlan", wire.GetPlanRequest(plan_id="cards_2023")).plan.per_unit.unit_price == "0.07"
        answer = run("GetMeter", wire.GetMeterRequest(meter_id="card_issuing"))
        assert (answer.meter.id, answer.version) == ("card_issuing", 1)

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("Datasource", "m1"),
            ("ChannelClassifier", "active"),
            ("TimesliceGroup", "tariff"),
            ("HolidayCalendar", "nl_days"),
            ("QualityTable", "words"),
        ],
    )
    def test_objects_of_meters(self, run, kind, name):
        # Given one object of each kind
        run("ApplyCatalog", put(EVERYTHING))
        field = re.sub("(?<!^)([A-Z])", r"_\1", kind).lower()
        (wanted,) = getattr(read(EVERYTHING).message, f"{field}s")
        # Then it is answered as it was put, by its id and in its list
        answer = run(f"Get{kind}", getattr(wire, f"Get{kind}Request")(**{f"{field}_id": name}))
        found = getattr(answer, field)
        assert (found.id, answer.version) == (name, 1)
        for descriptor, value in wanted.ListFields():
            if descriptor.message_type is None or not descriptor.is_repeated:
                assert getattr(found, descriptor.name) == value
        listed = run(f"List{kind}s", getattr(wire, f"List{kind}sRequest")())
        assert (list(getattr(listed, f"{field}s")), listed.version) == ([found], 1)
        with pytest.raises(Fault) as refused:
            run(f"Get{kind}", getattr(wire, f"Get{kind}Request")(**{f"{field}_id": "x"}))
        assert refused.value.code is ErrorCode.OBJECT_NOT_FOUND
        assert refused.value.metadata == {"kind": field.replace("_", " "), "id": "x"}


class TestPages:
    @pytest.mark.parametrize(("page_size", "sizes"), [(2, [2, 2, 2]), (4, [4, 2]), (6, [6]), (0, [6]), (7, [6])])
    def test_a_catalogue_is_the_sum_of_its_pages(self, run, book, page_size, sizes):
        run("ApplyCatalog", put(CARDS))
        whole, found, token = wire.Catalog(), [], ""
        while True:
            page = run("GetCatalog", wire.GetCatalogRequest(page_size=page_size, page_token=token))
            found.append(sum(len(getattr(page.catalog, kind)) for kind in KINDS))
            whole.MergeFrom(page.catalog)
            token = page.next_page_token
            if not token:
                break
        assert found == sizes
        # Putting it again changes nothing
        assert run("ApplyCatalog", wire.ApplyCatalogRequest(put=whole, prune=True)).version == 1

    @pytest.mark.parametrize("kind", ["Customers", "Contracts", "Products", "Plans", "Meters"])
    def test_lists_go_on_in_the_version_they_began_in(self, run, kind):
        # Given two objects of each kind, and the first page of one
        more = CARDS.replace("bank", "other").replace("card", "b_card").replace("nl,", "be,").replace("NL", "BE")
        run("ApplyCatalog", put(CARDS))
        run("ApplyCatalog", put(more))
        method, request_type = f"List{kind}", getattr(wire, f"List{kind}Request")
        first = run(method, request_type(page_size=1))
        # When everything is removed before the second
        run("ApplyCatalog", wire.ApplyCatalogRequest(prune=True))
        second = run(method, request_type(page_size=1, page_token=first.next_page_token))
        # Then nothing is skipped or repeated
        field = kind.lower()
        assert [each.id for page in (first, second) for each in getattr(page, field)] == [
            each.id for text in (CARDS, more) for each in getattr(read(text).message, field)
        ]
        assert (first.version, second.version, second.next_page_token) == (2, 2, "")
        assert not getattr(run(method, request_type()), field)

    def test_an_old_version_is_answered(self, run):
        run("ApplyCatalog", put(CARDS))
        run("ApplyCatalog", wire.ApplyCatalogRequest(prune=True))
        assert len(run("GetCatalog", wire.GetCatalogRequest(version=1)).catalog.plans) == 1
        assert run("GetCatalog", wire.GetCatalogRequest()) == wire.GetCatalogResponse(version=2, catalog=wire.Catalog())

    def test_contracts_of_one_customer(self, run):
        run("ApplyCatalog", put(CARDS))
        of_bank = run("ListContracts", wire.ListContractsRequest(customer_id="bank"))
        of_other = run("ListContracts", wire.ListContractsRequest(customer_id="other"))
        assert [each.id for each in of_bank.contracts] == ["bank_2023"]
        assert not of_other.contracts

    def test_datasources_of_one_customer(self, run):
        run("ApplyCatalog", put(EVERYTHING + "  - {id: m2}\n"))
        of_bank = run("ListDatasources", wire.ListDatasourcesRequest(customer_id="bank"))
        assert [each.id for each in of_bank.datasources] == ["m1"]
        assert len(run("ListDatasources", wire.ListDatasourcesRequest()).datasources) == 2

    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("ListPlans", wire.ListPlansRequest()),
            ("ListContracts", wire.ListContractsRequest()),
            ("GetCatalog", wire.GetCatalogRequest()),
        ],
    )
    def test_a_token_belongs_to_its_method_and_fields(self, run, method, request_):
        run("ApplyCatalog", wire.ApplyCatalogRequest(put=customers(2)))
        request_.page_token = run("ListCustomers", wire.ListCustomersRequest(page_size=1)).next_page_token
        with pytest.raises(Fault) as refused:
            run(method, request_)
        assert refused.value.code is ErrorCode.PAGE_TOKEN_INVALID

    def test_a_page_has_so_many_entries_and_no_more(self, run):
        run("ApplyCatalog", wire.ApplyCatalogRequest(put=customers(limits.PAGE_SIZE_MAX + 1)))
        page = run("ListCustomers", wire.ListCustomersRequest(page_size=1_000_000))
        assert len(page.customers) == limits.PAGE_SIZE_MAX
        rest = run("ListCustomers", wire.ListCustomersRequest(page_token=page.next_page_token))
        assert len(rest.customers) == 1

    def test_a_page_ends_where_clients_stop_reading(self, run, monkeypatch):
        run("ApplyCatalog", wire.ApplyCatalogRequest(put=customers(4, name="n" * 500)))
        monkeypatch.setattr(catalog_pages, "ANSWER_BYTES_MAX", 1_200)
        page = run("ListCustomers", wire.ListCustomersRequest())
        assert [each.id for each in page.customers] == ["c0", "c1"]
        monkeypatch.setattr(catalog_pages, "ANSWER_BYTES_MAX", 1)
        page = run("ListCustomers", wire.ListCustomersRequest(page_token=page.next_page_token))
        assert [each.id for each in page.customers] == ["c2"]


class TestStreaming:
    def test_parts_are_one_change(self, run, book):
        message = read(EVERYTHING).message
        in_parts = [
            wire.StreamingApplyCatalogRequest(put=wire.Catalog(**{kind: getattr(message, kind)})) for kind in KINDS
        ]
        # Given each kind in a part of its own, what refers before what is referred to
        answer = run("StreamingApplyCatalog", parts(*reversed(in_parts)))
        assert (answer.version, answer.difference_count) == (1, len(KINDS))
        assert book.versions.current == catalog(EVERYTHING)

    def test_nothing_is_an_empty_change(self, run):
        assert run("StreamingApplyCatalog", parts()) == wire.StreamingApplyCatalogResponse()

    def test_the_first_part_says_how(self, run, book):
        run("ApplyCatalog", put(CARDS))
        first = wire.StreamingApplyCatalogRequest(prune=True, validate_only=True, expected_version=0)
        answer = run("StreamingApplyCatalog", parts(first, wire.StreamingApplyCatalogRequest(put=customers(1))))
        assert answer.version == 2
        assert book.versions.current.version == 1
        assert book.expected_version == 0

    @pytest.mark.parametrize(
        "later",
        [
            wire.StreamingApplyCatalogRequest(prune=True),
            wire.StreamingApplyCatalogRequest(validate_only=True),
            wire.StreamingApplyCatalogRequest(expected_version=0),
        ],
    )
    def test_a_later_part_may_not(self, run, book, later):
        with pytest.raises(Fault) as refused:
            run("StreamingApplyCatalog", parts(wire.StreamingApplyCatalogRequest(put=customers(1)), later))
        assert refused.value.code is ErrorCode.FIELD_INVALID
        assert book.versions.current == Catalog()

    def test_indices_count_over_all_parts(self, run):
        part = wire.StreamingApplyCatalogRequest(
            put=wire.Catalog(taxes=[wire.Tax(id="a", country_code="NL", rate="1")])
        )
        with pytest.raises(Fault) as refused:
            run("StreamingApplyCatalog", parts(part, part))
        assert [each.field for each in refused.value.fields] == ["taxes[1].id"]

    def test_so_many_bytes_and_no_more(self, run, monkeypatch):
        part = wire.StreamingApplyCatalogRequest(put=customers(1))
        monkeypatch.setattr(service_file, "PARTS_BYTES_MAX", 2 * part.ByteSize())
        assert run("StreamingApplyCatalog", parts(part, wire.StreamingApplyCatalogRequest())).version == 1
        with pytest.raises(Fault) as refused:
            run("StreamingApplyCatalog", parts(part, part, part))
        assert refused.value.code is ErrorCode.MESSAGE_TOO_LARGE
