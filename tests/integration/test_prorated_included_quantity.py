"""An included quantity by days, over real gRPC: stored, predicted, split, reprocessed, simulated, quoted, explained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.live_server import live_server
from tests.support.own_customers import amounts, customer, span, use, use_and_rows

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, simulate_pb2

INCLUDED = {"quantity": "310", "prorate": True}
"""Of a January, 10 a day."""


@pytest.fixture(scope="module")
def client() -> Iterator[tb.Client]:
    with live_server() as address, tb.Client(address) as client:
        yield client


def sold(client: tb.Client, name: str, *, unit_price: str = "1", included: Any = INCLUDED, **contract: Any) -> None:
    """A customer with one product contract, mostly from 22 January 2024 on: ten days of the month."""
    plan = {
        "id": f"{name}_plan",
        "product": f"{name}_units",
        "per_unit": {"unit_price": unit_price},
        "included_quantity": included,
    }
    customer(
        client,
        name,
        "units",
        plans=(plan,),
        **{
            "start_date": "2024-01-22",
            "product_contracts": [{"id": f"{name}_sold", "plan": f"{name}_plan"}],
            **contract,
        },
    )


def at(day: int, month: int = 1) -> datetime:
    return datetime(2024, month, day, 12, tzinfo=UTC)


def test_a_first_month_includes_its_days_and_the_next_one_all(client):
    # Given a contract that has ten days of January
    sold(client, "begun")
    # When 130 are used in January and 330 in February
    event = tb.Event(
        reference="predicted",
        customer_reference="begun",
        meter_reference="begun_meter",
        time=at(25),
        values={"units": Decimal(30)},
    )
    use(client, "begun", "units", "60", at(23))
    (predicted,) = client.predict([event])
    use(client, "begun", "units", "70", at(24))
    use(client, "begun", "units", "330", at(3, 2))
    # Then a prediction knows what is left of 100, and so does the usage
    assert predicted.cost is not None
    (detail,) = predicted.cost.details
    assert detail.periods[0].included_quantity_left == 10
    left = {each.start_time.month: each.included_quantity_left for each in client.usage(span("begun"))}
    assert left == {1: 0, 2: 0}
    # And 30 and 20 cost something
    assert amounts(client, "begun") == [30, 20]
    assert [
        str(each.amount_excluding_tax.quantity)
        for each in client.preview_invoices("begun", at(22).date(), period_count=2)
    ] == [
        "30.00",
        "20.00",
    ]
    first = next(iter(client.charges(span("begun"))))
    assert [(each.rule, each.quantity) for each in first.lines] == [("INCLUDED", 100), ("TIER", 30)]


def test_a_last_month_includes_its_days(client):
    # Given a product contract that ends after twenty days of January, under a contract that goes on
    sold(
        client,
        "ended",
        start_date="2024-01-01",
        product_contracts=[{"id": "ended_sold", "plan": "ended_plan", "end_date": "2024-01-21"}],
    )
    use(client, "ended", "units", "201", at(20))
    assert amounts(client, "ended") == [1]


def test_both_ends_within_one_period_are_cumulatively_rounded(client):
    # Given one that has the 11th to the 20th of a month of 31 days, of 1 unit
    sold(
        client,
        "within",
        unit_price="1000000000000",
        included={"quantity": "1", "prorate": True},
        start_date="2024-01-11",
        end_date="2024-01-21",
    )
    use(client, "within", "units", "1", at(12))
    # Then 20/31 less 10/31, each rounded to 12 places, are included
    assert amounts(client, "within") == [Decimal("1000000000000") - (645161290323 - 322580645161)]


def test_an_agreed_yearly_quantity_is_by_the_days_of_the_year(client):
    # Given a leap year's 366 units, from July on
    yearly = {"basis": "CALENDAR", "interval": 1, "unit": "YEAR"}
    sold(
        client,
        "yearly",
        included={"quantity": "366", "prorate": True},
        start_date="2024-07-01",
        product_contracts=[{"id": "yearly_sold", "plan": "yearly_plan", "accumulation_period": yearly}],
    )
    use(client, "yearly", "units", "184", at(2, 7))
    use(client, "yearly", "units", "1", at(2, 12))
    assert amounts(client, "yearly") == [0, 1]


def test_a_new_version_in_the_middle_of_the_month_has_its_own_quantity(client):
    # Given ten days of January, of which five are over when a version with 620 a month takes effect
    sold(client, "split")
    use(client, "split", "units", "150", at(23))
    (plan,) = [each for each in client.get_catalog().catalog.plans if each.id == "split_plan"]
    plan.included_quantity.quantity = "620"
    client.apply_catalog(catalog_pb2.Catalog(plans=[plan]), effective_from=datetime(2024, 1, 27, tzinfo=UTC))
    # When more is used behind it
    use(client, "split", "units", "100", at(28))
    # Then the stretch before charged for 150 less 100, and the one behind it for 250 less 200 since 150 was reached
    assert amounts(client, "split") == [50, 50]


def test_a_reprocess_takes_the_switch_on(client):
    # Given 130 units of a plan that includes 310 a month, of whatever days
    sold(client, "moved", included={"quantity": "310"})
    use(client, "moved", "units", "130", at(23))
    assert amounts(client, "moved") == [0]
    # When the plan is by days from now on, and events are rated again
    (plan,) = [each for each in client.get_catalog().catalog.plans if each.id == "moved_plan"]
    plan.included_quantity.prorate = True
    applied = client.apply_catalog(catalog_pb2.Catalog(plans=[plan]))
    (difference,) = applied.differences
    assert [(each.path, each.before, each.after) for each in difference.fields] == [
        ("included_quantity.prorate", "", "true")
    ]
    assert amounts(client, "moved") == [0]
    for _ in client.reprocess(span("moved"), move_pins=True):
        pass
    # Then its days count
    assert amounts(client, "moved") == [30]


def test_a_simulation_charges_what_is_stored_and_explains_it(client):
    # Given usage of ten days of January and of five days of March
    sold(client, "simulated", end_date="2024-03-06")
    used = [(date(2024, 1, 23), "130"), (date(2024, 2, 3), "330"), (date(2024, 3, 2), "60")]
    rows = use_and_rows(client, "simulated", "simulated_sold", used)
    # When it is simulated, today and without the switch
    (plan,) = [each for each in client.get_catalog().catalog.plans if each.id == "simulated_plan"]
    plan.included_quantity.prorate = False
    without = tb.Scenario(name="all of it", put=catalog_pb2.Catalog(plans=[plan]))
    simulation = client.simulate(rows, [without])
    # Then the baseline is what is stored
    frame = simulation.to_polars().sort("scenario", "period_start_time")
    by_scenario = {name: frame.filter(frame["scenario"] == name) for name in ("baseline", "all of it")}
    assert by_scenario["baseline"]["amount_excluding_tax"].to_list() == amounts(client, "simulated") == [30, 20, 10]
    assert by_scenario["all of it"]["amount_excluding_tax"].to_list() == [0, 20, 0]
    # And its first and last month are explained by the days' quantities: 10 x 10, and 310 x 5 / 31
    explained = [simulation.explain(row) for row in by_scenario["baseline"].iter_rows(named=True)]
    lines = [[(each.rule, each.quantity) for part in row.parts for each in part.lines] for row in explained]
    assert lines == [
        [("INCLUDED", 100), ("TIER", 30)],
        [("INCLUDED", 310), ("TIER", 20)],
        [("INCLUDED", 50), ("TIER", 10)],
    ]


QUOTED = ParseDict(
    {"currency": "EUR", "per_unit": {"unit_price": "1"}, "included_quantity": INCLUDED}, catalog_pb2.Plan()
)


def test_a_quote_is_of_so_many_days(client):
    whole = client.quote_price(QUOTED, 130)
    part = client.quote_price(
        QUOTED, 130, days=simulate_pb2.DaysOfPeriod(days_before=21, day_count=10, whole_day_count=31)
    )
    assert (whole.amount, whole.included_quantity_left) == (0, 180)
    assert (part.amount, part.included_quantity_left) == (30, 0)


@pytest.mark.parametrize(
    "days",
    [
        {},
        {"day_count": 0, "whole_day_count": 31},
        {"days_before": -1, "day_count": 1, "whole_day_count": 31},
        {"days_before": 22, "day_count": 10, "whole_day_count": 31},
        {"day_count": 1, "whole_day_count": 1_000_001},
    ],
)
def test_days_that_a_period_does_not_have_are_refused(client, days):
    with pytest.raises(tb.InvalidArgumentError, match=r"a period of .* days has no .* at most 1,000,000"):
        client.quote_price(QUOTED, 130, days=simulate_pb2.DaysOfPeriod(**days))


def test_the_most_days_are_taken(client):
    days = simulate_pb2.DaysOfPeriod(days_before=999_999, day_count=1, whole_day_count=1_000_000)
    assert client.quote_price(QUOTED, 130, days=days).amount == 130
