"""Peers' pricing cases through the service: every step is a customer of its own, and its events really are stored.

What the engine's own table tests show of prices, this shows of the whole way: catalogue, matching, postings, lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from fractions import Fraction

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.support import pricing_vectors
from tests.support.live_server import SETTINGS, live_server
from tests.support.pricing_vectors import Step, VectorCase

from tallybook.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    common_pb2,
    ingest_pb2,
    ingest_pb2_grpc,
    simulate_pb2,
    simulate_pb2_grpc,
)
from tallybook_engine.catalog.change import CatalogObjects
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Contract,
    Customer,
    Frequency,
    Matrix,
    MatrixRule,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
    Tax,
)
from tallybook_engine.decimals import format_decimal
from tallybook_engine.pricing.model import Price
from tallybook_server.codec.catalog import write_objects

CASES = pricing_vectors.cases()
DEFAULT_CURRENCY = "EUR"
SECONDS = 1_700_000_000


def step_id(case: VectorCase, index: int) -> str:
    return f"{case.id}-{index}"


def catalogue() -> catalog_pb2.Catalog:
    """Every step as a plan, a customer and a contract; a case's tax is that of a country of its own."""
    taxes, plans, customers, contracts = [], [], [], []
    for number, case in enumerate(CASES):
        country = f"{chr(65 + number // 26)}{chr(65 + number % 26)}" if case.tax_rate is not None else ""
        if case.tax_rate is not None:
            taxes.append(Tax(case.id, country, int(case.tax_rate * 10**12)))
        for index, step in enumerate(case.steps):
            name = step_id(case, index)
            price: Price | Matrix = step.price
            if case.cells:
                price = Matrix(tuple(MatrixRule(f"rule {n}", *cell) for n, cell in enumerate(case.cells)))
            plans.append(Plan(name, "units", case.currency or DEFAULT_CURRENCY, price))
            customers.append(Customer(name, name, "", country))
            month = Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
            product_contracts = (ProductContract(f"{name}/plan", name),)
            contracts.append(Contract(name, name, "UTC", date(2023, 1, 1), None, month, product_contracts))
    properties = sorted({name for case in CASES for match, _ in case.cells for name, _ in match})
    return write_objects(
        CatalogObjects(
            taxes=tuple(taxes),
            meters=(Meter("meter", "meter", ("units",), tuple(properties), allow_negative=True),),
            products=(Product("units", "units", "meter", Aggregation.SUM, "units"),),
            plans=tuple(plans),
            customers=tuple(customers),
            contracts=tuple(contracts),
        )
    )


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    settings = replace(SETTINGS, data_directory=tmp_path_factory.mktemp("book"))
    with live_server(settings) as address, grpc.insecure_channel(address) as channel:
        service = catalog_pb2_grpc.CatalogServiceStub(channel)
        service.ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=catalogue()))
        yield channel


def event(case: VectorCase, index: int, step: Step, reference: str, units: int) -> ingest_pb2.Event:
    sent = ingest_pb2.Event(customer_id=step_id(case, index), meter_id="meter", reference=reference)
    sent.time.seconds = SECONDS
    sent.meter_values.add(reference="units", number=format_decimal(units, 12))
    for name, value in step.match:
        sent.meter_properties.add(reference=name, value=value)
    return sent


def posted(
    channel: grpc.Channel, case: VectorCase, index: int, step: Step
) -> tuple[Fraction, Fraction, list[common_pb2.AmountLine]]:
    """(exact amount, rounded amount, lines) of a step: of its last event, or of the whole line."""
    service = ingest_pb2_grpc.IngestServiceStub(channel)
    events = [event(case, index, step, "before", step.before)] if step.before else []
    events.append(event(case, index, step, "after", step.after - (step.before or 0)))
    request = ingest_pb2.IngestEventsRequest(events=events, prediction_view=ingest_pb2.CostPrediction.FULL)
    results = service.IngestEvents(request).results
    assert [result.status for result in results] == [ingest_pb2.EventResult.STORED] * len(events)
    if step.before is not None:
        (detail,) = results[-1].cost_prediction.details
        (period,) = detail.periods
        return Fraction(period.exact_amount), Fraction(period.amount), list(period.lines)
    line = charge(channel, case, index)
    return Fraction(line.exact_amount), Fraction(line.amount_excluding_tax.quantity), list(line.lines)


def charge(channel: grpc.Channel, case: VectorCase, index: int) -> ingest_pb2.ChargeLine:
    service = ingest_pb2_grpc.IngestServiceStub(channel)
    (line,) = service.ListCharges(ingest_pb2.ListChargesRequest(customer_id=step_id(case, index))).charges
    return line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_peers_amount(channel: grpc.Channel, case: VectorCase):
    total = Fraction(0)
    for index, step in enumerate(case.steps):
        exact, rounded, lines = posted(channel, case, index, step)
        amount = exact if case.currency is None else rounded
        if step.amount is not None:
            assert amount == step.amount
        priced = [line for line in lines if line.rule != common_pb2.AmountLine.ROUNDING]
        assert sum(Fraction(line.amount) for line in priced) == exact
        if step.lines is not None:
            assert [Fraction(line.amount) for line in priced] == list(step.lines)
        total += amount
    assert total == case.amount
    if case.tax is not None:
        charges = [charge(channel, case, index) for index in range(len(case.steps))]
        assert sum(Fraction(line.tax_summary.tax_amount.quantity) for line in charges) == case.tax


def test_a_flat_fee_is_due_without_any_event(channel: grpc.Channel):
    """Lago's "no events, tax 20 %" (v028): the fee of the first tier, taxed, of a line that no event has opened."""
    # Given a customer of that plan that never sent an event
    catalog = catalogue()
    case = next(case for case in CASES if case.id == "v028")
    name = step_id(case, 0)
    put = catalog_pb2.Catalog()
    customer = next(each for each in catalog.customers if each.id == name)
    contract = next(each for each in catalog.contracts if each.id == name)
    customer.id = customer.reference = contract.customer = contract.id = "silent"
    contract.product_contracts[0].id = "silent/plan"
    put.customers.append(customer)
    put.contracts.append(contract)
    catalog_pb2_grpc.CatalogServiceStub(channel).ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put))
    # When the charges of a month are listed, unopened ones too
    request = ingest_pb2.ListChargesRequest(customer_id="silent", include_unopened=True)
    request.start_time.seconds, request.end_time.seconds = SECONDS, SECONDS + 1
    (line,) = ingest_pb2_grpc.IngestServiceStub(channel).ListCharges(request).charges
    # Then the fee is there
    assert line.line_number == 0
    assert line.amount_excluding_tax.quantity == "100.00"
    assert line.amount_including_tax.quantity == "120.00"


OTHERS = {vector["id"]: vector for vector in pricing_vectors.elsewhere(pricing_vectors.BEFORE_ANY_PRICE)}


def test_every_case_before_any_price_is_here():
    assert set(OTHERS) == {"v391", "v392", "v394", "v436", "v439"}


def test_a_peers_billing_dates(channel: grpc.Channel):
    # streamOS: the boundaries of the periods, of which the contract's own days clip the first and the last
    config = OTHERS["v391"]["config"]
    assert config["frequency"] == "M"
    request = simulate_pb2.PreviewBillingDatesRequest(
        start_date=config["start"],
        end_date=config["end"],
        billing_frequency=ParseDict(
            {"basis": config["type"], "interval": int(config["interval"]), "unit": "MONTH"}, catalog_pb2.Frequency()
        ),
    )
    periods = simulate_pb2_grpc.SimulateServiceStub(channel).PreviewBillingDates(request).periods
    assert [each.whole_start_date for each in periods] == OTHERS["v391"]["expected"]["dates"]


@pytest.mark.parametrize("vector_id", ["v392", "v394", "v439"])
def test_a_peers_table_of_tiers(channel: grpc.Channel, vector_id: str):
    # Given a table that says where each tier begins
    rows = OTHERS[vector_id]["config"]["tiers_raw"]
    tiers = [{"starts_at": start, "up_to": up_to, "unit_price": unit} for start, up_to, unit in rows]
    plan = {"id": vector_id, "product": "units", "currency": "EUR", "graduated": {"tiers": tiers}}
    put = ParseDict({"plans": [plan]}, catalog_pb2.Catalog())
    # When it is applied
    service = catalog_pb2_grpc.CatalogServiceStub(channel)
    request = catalog_pb2.ApplyCatalogRequest(put=put, validate_only=True)
    # Then it is refused where the peer refuses it
    if OTHERS[vector_id]["expected"]["valid"]:
        service.ApplyCatalog(request)
        return
    with pytest.raises(grpc.RpcError) as error:
        service.ApplyCatalog(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "plans[0].graduated.tiers[0].starts_at" in (error.value.details() or "")


def test_a_peers_negative_quantity(channel: grpc.Channel):
    # Given Polar's tiers, of a meter that takes nothing below 0
    vector = OTHERS["v436"]
    tiers = [{"up_to": each["up_to"], "unit_price": each["unit"]} for each in vector["config"]["tiers"]]
    put = write_objects(
        CatalogObjects(
            meters=(Meter("positive", "positive", ("units",), ()),),
            products=(Product("positive_units", "positive_units", "positive", Aggregation.SUM, "units"),),
        )
    )
    plan = {"id": "v436", "product": "positive_units", "currency": "EUR", "graduated": {"tiers": tiers}}
    ParseDict({"plans": [plan]}, put)
    catalog_pb2_grpc.CatalogServiceStub(channel).ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put))
    # When an event of -5 is sent
    sent = ingest_pb2.Event(customer_id="v028-0", meter_id="positive", reference="below")
    sent.meter_values.add(reference="units", number=vector["inputs"]["quantity"])
    request = ingest_pb2.IngestEventsRequest(events=[sent])
    (result,) = ingest_pb2_grpc.IngestServiceStub(channel).IngestEvents(request).results
    # Then it is refused
    assert result.status == ingest_pb2.EventResult.INVALID
    assert result.fault.reason == "QUANTITY_NEGATIVE"
