"""Plans with a minimum that are accumulated by the week and billed by the month, over real gRPC.

April 2024 has five Mondays (1, 8, 15, 22, 29), so that five weeks begin in it; May has four (6, 13, 20, 27).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.support.live_server import live_server
from tests.support.own_customers import MONTHLY, amounts, customer, event, span, use, use_and_rows

import tallybook_client as tb
from tallybook.v1 import catalog_pb2

WEEKLY = {"basis": "CALENDAR", "interval": 1, "unit": "WEEK"}


@pytest.fixture(scope="module")
def client() -> Iterator[tb.Client]:
    with live_server() as address, tb.Client(address) as client:
        yield client


def sold(client: tb.Client, name: str, *, minimum: str = "10", **contract: Any) -> None:
    """A customer who pays 1 a unit and at least a minimum a week, from 1 April 2024 on."""
    plan = {"id": f"{name}_plan", "product": f"{name}_units", "per_unit": {"unit_price": "1"}, "minimum": minimum}
    sale = {"id": f"{name}_sold", "plan": f"{name}_plan", "accumulation_period": WEEKLY}
    customer(
        client, name, "units", plans=(plan,), **{"start_date": "2024-04-01", "product_contracts": [sale], **contract}
    )


def at(day: int, month: int = 4) -> datetime:
    return datetime(2024, month, day, 12, tzinfo=UTC)


def cost(result: tb.EventResult) -> Decimal:
    assert result.cost is not None
    (detail,) = result.cost.details
    return detail.amount_excluding_tax.quantity


def test_a_month_with_one_used_week_has_the_minimum_of_all_its_weeks(client):
    # Given a month without usage, which an invoice shows with five minimums
    sold(client, "ann")
    (before,) = client.preview_invoices("ann", date(2024, 4, 10), period_count=1)
    assert before.amount_excluding_tax.quantity == 50
    # When 3 units are used in one week, then nothing is due beyond its minimum
    (first,) = client.ingest([event("ann", "first", 3, at(10))], tb.View.AMOUNTS)
    assert cost(first) == 0
    assert amounts(client, "ann") == [50]
    (after,) = client.preview_invoices("ann", date(2024, 4, 10), period_count=1)
    assert after.amount_excluding_tax.quantity == 50
    # When 12 are in another, earlier week, then it posts only the difference
    (late,) = client.ingest([event("ann", "late", 12, at(3))], tb.View.AMOUNTS)
    assert cost(late) == 2
    assert amounts(client, "ann") == [52]
    # And deleting both takes the line back to the minimums
    client.delete([tb.EventKey(customer_reference="ann", reference=each, generation=1) for each in ("late", "first")])
    assert amounts(client, "ann") == [50]


def test_a_week_that_began_in_the_month_before_opens_that_month_too(client):
    # Given 15 units on 2 May, in the week from Monday, 29 April
    sold(client, "bob")
    use(client, "bob", "units", "15", at(2, 5))
    # Then April has five minimums, and May four and the 5 that go beyond the fifth
    assert amounts(client, "bob") == [50, 45]


def test_a_month_counts_only_weeks_in_which_the_contract_is_active(client):
    # Given a contract from Wednesday, 10 April to Friday, 26 April: parts of three weeks
    sold(client, "eve", start_date="2024-04-10", end_date="2024-04-26")
    use(client, "eve", "units", "1", at(18))
    assert amounts(client, "eve") == [30]


def test_a_simulation_is_what_is_stored_and_explains_every_week(client):
    sold(client, "sim")
    rows = use_and_rows(client, "sim", "sim_sold", [(date(2024, 4, 10), "13")])
    simulation = client.simulate(rows)
    frame = simulation.to_polars()
    assert frame["amount_excluding_tax"].to_list() == amounts(client, "sim") == [53]
    (line,) = (simulation.explain(each) for each in frame.iter_rows(named=True))
    assert [(part.accumulation_start_time.day, sum(each.amount for each in part.lines)) for part in line.parts] == [
        (1, 10),
        (8, 13),
        (15, 10),
        (22, 10),
        (29, 10),
    ]


def test_a_reprocess_moves_every_week(client):
    # Given a month whose minimum is 20 a week by now
    sold(client, "kim")
    use(client, "kim", "units", "3", at(10))
    (plan,) = [each for each in client.get_catalog().catalog.plans if each.id == "kim_plan"]
    plan.minimum = "20"
    client.apply_catalog(catalog_pb2.Catalog(plans=[plan]))
    assert amounts(client, "kim") == [50]
    # When one week without usage is rated again, the line still has all five
    week = tb.Span(customer_reference="kim", start_time=at(16), end_time=at(17))
    for _ in client.reprocess(week, move_pins=True):
        pass
    assert amounts(client, "kim") == [60]
    # And when all of it is, so are all weeks
    for _ in client.reprocess(span("kim"), move_pins=True):
        pass
    assert amounts(client, "kim") == [100]


def test_a_running_month_is_split_only_behind_the_start_of_its_last_week(client):
    # Given a month whose five weeks are open
    sold(client, "pat")
    use(client, "pat", "units", "3", at(10))
    (plan,) = [each for each in client.get_catalog().catalog.plans if each.id == "pat_plan"]
    plan.minimum = "20"
    # When a version is to hold from the third week on, it is refused, and the last week is named
    with pytest.raises(tb.InvalidArgumentError, match="2024-04-29"):
        client.apply_catalog(catalog_pb2.Catalog(plans=[plan]), effective_from=datetime(2024, 4, 17, tzinfo=UTC))
    # And behind that start it is taken
    client.apply_catalog(catalog_pb2.Catalog(plans=[plan]), effective_from=datetime(2024, 4, 30, tzinfo=UTC))
    use(client, "pat", "units", "4", at(30))
    assert amounts(client, "pat") == [50, 0]


DAILY = {"basis": "CALENDAR", "interval": 1, "unit": "DAY"}


def yearly(count: int) -> dict[str, Any]:
    return {"basis": "CALENDAR", "interval": count, "unit": "YEAR"}


def by_the_day(name: str) -> dict[str, Any]:
    return {"id": f"{name}_sold", "plan": f"{name}_plan", "accumulation_period": DAILY}


def test_the_days_of_two_years_are_a_line_and_those_of_three_are_not(client):
    # Given a year that is billed as one, with a minimum a day
    sold(client, "two", start_date="2024-01-01", billing_frequency=yearly(1), product_contracts=[by_the_day("two")])
    use(client, "two", "units", "3")
    assert amounts(client, "two") == [3660]
    # When three years are to be billed as one, it is refused, and what helps is said
    words = "1 DAY comes 1,098 times in a billing period of 3 YEAR, at most 1,000 are possible: bill more often, or"
    with pytest.raises(tb.InvalidArgumentError, match=words):
        sold(client, "six", billing_frequency=yearly(3), product_contracts=[by_the_day("six")])
    # Also where the level above says how often
    below = {"id": "below", "billing_frequency": MONTHLY, "product_contracts": [by_the_day("six")]}
    with pytest.raises(tb.InvalidArgumentError, match=words):
        sold(
            client,
            "six",
            billing_frequency=yearly(3),
            product_contracts=[],
            override_underlying=True,
            sub_contracts=[below],
        )
    sold(client, "six", billing_frequency=yearly(3), product_contracts=[], sub_contracts=[below])


def test_a_scenario_with_too_many_days_is_named(client):
    # Given three years that are billed as one, with a minimum in all
    sale = {"id": "ten_sold", "plan": "ten_plan"}
    sold(client, "ten", start_date="2024-01-01", billing_frequency=yearly(3), product_contracts=[sale])
    rows = use_and_rows(client, "ten", "ten_sold", [(date(2024, 4, 10), "13")])
    (contract,) = [each for each in client.get_catalog().catalog.contracts if each.id == "ten"]

    def by(count: int) -> tb.Scenario:
        changed = catalog_pb2.Contract()
        changed.CopyFrom(contract)
        period = changed.product_contracts[0].accumulation_period
        period.basis, period.interval, period.unit = (
            catalog_pb2.Frequency.CALENDAR,
            count,
            catalog_pb2.Frequency.DAY,
        )
        return tb.Scenario(name=f"days{count}", put=catalog_pb2.Catalog(contracts=[changed]))

    # When a scenario has a minimum every second day, then it is run
    assert client.simulate(rows, [by(2)]).to_polars()["amount_excluding_tax"].to_list() == [13, 10 * 548 + 3]
    # And every day, then the scenario is named, and why
    with pytest.raises(tb.InvalidArgumentError, match=r"days1.*1 DAY comes 1,098 times in a billing period of 3 YEAR"):
        client.simulate(rows, [by(1)])
