"""PreviewInvoice over real gRPC: contract trees of streamOS, and peers' cases of their modifiers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import grpc
import polars as pl
import pytest
from google.protobuf.json_format import ParseDict
from tests.support import pricing_vectors
from tests.support.live_server import live_server
from tests.support.own_customers import MONTHLY, NOON, START, Objects, customer, use, use_and_rows

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, ingest_pb2, ingest_pb2_grpc, simulate_pb2
from tallybook_client import InvoiceLineKind


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live_server() as address:
        yield address


@pytest.fixture(scope="module")
def client(address) -> Iterator[tb.Client]:
    with tb.Client(address) as client:
        yield client


def shown(invoice: tb.Invoice) -> list[tuple[str, str, str, str]]:
    """(contract, kind, id, amount without tax) of each line."""
    return [
        (each.contract_path[-1], each.kind.value, each.id, str(each.amount_excluding_tax.quantity))
        for each in invoice.lines
    ]


# --- streamOS -----------------------------------------------------------------------------------------------------


def test_usage_of_divisions_is_rolled_up_to_the_parent(client):
    # Given Google, YouTube and Google Voice under one parent, two product contracts over one product and one plan
    customer(
        client,
        "google",
        "calls",
        plans=({"id": "by_call", "product": "google_calls", "per_unit": {"unit_price": "0.25"}},),
        sub_contracts=[
            {"id": "youtube", "product_contracts": [{"id": "youtube_calls", "plan": "by_call", "shared": True}]},
            {"id": "voice", "product_contracts": [{"id": "voice_calls", "plan": "by_call", "shared": True}]},
        ],
        discount={"rate": "0.1", "threshold": "100"},
        payment_term_days=30,
    )
    # When both use it
    use(client, "google", "calls", "200", contract_id="youtube_calls")
    use(client, "google", "calls", "400", contract_id="voice_calls")
    (invoice,) = client.preview_invoices("google", date(2024, 3, 31))
    # Then each division has its line, and the parent's discount is on both together
    assert shown(invoice) == [
        ("youtube_calls", "CHARGE", "youtube_calls", "50.00"),
        ("voice_calls", "CHARGE", "voice_calls", "100.00"),
        ("google", "DISCOUNT", "", "-15.00"),
    ]
    levels = [(each.contract_path, str(each.subtotal.quantity), str(each.total.quantity)) for each in invoice.levels]
    assert levels == [
        (("google", "youtube"), "50.00", "50.00"),
        (("google", "voice"), "100.00", "100.00"),
        (("google",), "150.00", "135.00"),
    ]
    assert (invoice.start_date, invoice.end_date) == (date(2024, 3, 1), date(2024, 4, 1))
    assert (invoice.issue_date, invoice.due_date) == (date(2024, 4, 1), date(2024, 5, 1))
    assert invoice.lines[0].charge is not None
    assert invoice.lines[0].charge.lines[0].amount == 50


def test_a_year_in_advance_beside_a_month_in_arrears(client):
    # Given a platform fee of 10,000 a year in advance and support of 500 a month in arrears
    customer(
        client,
        "platform",
        currency="USD",
        payment_term_days=14,
        fixed_fees=[
            {
                "id": "fee",
                "amount": "10000",
                "timing": "IN_ADVANCE",
                "frequency": {"basis": "CONTRACT", "interval": 1, "unit": "YEAR"},
            },
            {"id": "support", "amount": "500"},
        ],
    )
    # When two years of invoices are asked for
    invoices = client.preview_invoices("platform", START, period_count=24)
    # Then the fee is on the first of each year, due so many days after the year begins, and support on every one
    with_fee = [each.start_date for each in invoices if len(each.lines) == 2]
    assert with_fee == [date(2024, 3, 1), date(2025, 3, 1)]
    assert [each.amount_including_tax.quantity for each in invoices[:3]] == [10_500, 500, 500]
    fee, support = invoices[0].lines
    assert (fee.id, fee.due_date, support.id, support.due_date) == (
        "fee",
        date(2024, 3, 15),
        "support",
        date(2024, 4, 15),
    )
    assert (fee.start_time, fee.end_time) == (datetime(2024, 3, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC))


def test_a_plan_is_shared_between_contracts(client):
    # Given two customers with one plan
    plan = {"id": "one_plan", "product": "first_calls", "per_unit": {"unit_price": "2"}}
    sold = [{"id": "first_sold", "plan": "one_plan"}]
    customer(client, "first", "calls", plans=(plan,), product_contracts=sold)
    customer(client, "second", product_contracts=[{"id": "second_sold", "plan": "one_plan"}])
    for name, quantity in (("first", "3"), ("second", "5")):
        event = tb.Event(
            reference="one",
            customer_reference=name,
            meter_reference="first_meter",
            time=NOON,
            values={"calls": Decimal(quantity)},
        )
        client.ingest([event])
    # Then each pays by it, and the quantity of one is not that of the other
    amounts = [client.preview_invoices(name, START)[0].amount_excluding_tax.quantity for name in ("first", "second")]
    assert amounts == [6, 10]


def test_levels_are_billed_at_their_own_boundaries(client):
    # Given a division that is billed by the quarter under a parent that is billed by the month
    quarterly = {"basis": "CALENDAR", "interval": 3, "unit": "MONTH"}
    customer(
        client,
        "mixed",
        currency="EUR",
        fixed_fees=[{"id": "monthly_fee", "amount": "10"}],
        minimum="40",
        sub_contracts=[{"id": "quarter", "billing_frequency": quarterly, "minimum": "300", "prorate": True}],
        end_date="2024-07-01",
    )
    invoices = client.preview_invoices("mixed", START, period_count=12)
    # Then its minimum is on the invoices of the months that end its quarters, the last one by the days of June alone
    monthly = ("mixed", "FIXED_FEE", "monthly_fee", "10.00")
    assert [shown(each) for each in invoices] == [
        [monthly, ("mixed", "MINIMUM", "", "30.00")],
        [monthly, ("mixed", "MINIMUM", "", "30.00")],
        [("quarter", "MINIMUM", "", "300.00"), monthly],
        [("quarter", "MINIMUM", "", "97.83"), monthly],
    ]


def test_a_level_overrides_the_frequencies_below(client):
    # Given a parent that is billed on the 15th, and a division that has months of its own
    own = {"basis": "CONTRACT", "interval": 1, "unit": "MONTH"}
    plan = {"id": "overridden_plan", "product": "overridden_units", "per_unit": {"unit_price": "1"}}
    for name, overrides in (("left", False), ("overridden", True)):
        customer(
            client,
            name,
            *(["units"] if overrides else []),
            plans=(plan,) if overrides else (),
            start_date="2024-02-15",
            billing_frequency=own,
            override_underlying=overrides,
            sub_contracts=[
                {
                    "id": f"{name}_division",
                    "start_date": "2024-03-01",
                    "billing_frequency": MONTHLY,
                    "fixed_fees": [{"id": f"{name}_fee", "amount": "31", "prorate": True}],
                    "product_contracts": [{"id": f"{name}_sold", "plan": plan["id"]}] if overrides else [],
                }
            ],
            currency="EUR",
        )
    use(client, "overridden", "units", "5", datetime(2024, 3, 20, tzinfo=UTC))
    # When the period from 15 March is looked at
    (left,), (overridden,) = (client.preview_invoices(name, date(2024, 3, 20)) for name in ("left", "overridden"))
    # Then the division's own March is of it, or else what is left of its overridden periods
    assert shown(left) == [("left_division", "FIXED_FEE", "left_fee", "31.00")]
    assert left.lines[0].start_time == datetime(2024, 3, 1, tzinfo=UTC)
    assert shown(overridden) == [
        ("overridden_sold", "CHARGE", "overridden_sold", "5.00"),
        ("overridden_division", "FIXED_FEE", "overridden_fee", "31.00"),
    ]
    assert {(each.start_time.day, each.end_time.day) for each in overridden.lines} == {(15, 15)}
    # And the one before has of it what its start leaves: 14 of 29 days
    (first,) = client.preview_invoices("overridden", date(2024, 2, 15))
    assert shown(first) == [("overridden_division", "FIXED_FEE", "overridden_fee", "14.97")]


def test_a_renewed_contract_goes_on(client):
    # Given a contract of a year that is renewed, and one that is not
    fee = {"amount": "12", "prorate": True}
    for name, renewed in (("renewed", True), ("ends", False)):
        customer(
            client,
            name,
            currency="EUR",
            end_date="2025-02-15",
            auto_renewal=renewed,
            sub_contracts=[{"id": f"{name}_sub", "fixed_fees": [{"id": f"{name}_fee", **fee}]}],
        )
    # Then its periods run on, and the other's last one is clipped
    assert [len(client.preview_invoices(name, START, period_count=30)) for name in ("renewed", "ends")] == [30, 12]
    amounts = [client.preview_invoices(name, date(2025, 2, 1))[0] for name in ("renewed", "ends")]
    assert [str(each.amount_excluding_tax) for each in amounts] == ["12.00 EUR", "6.00 EUR"]


def test_a_contract_says_which_term_it_is_in(client):
    # Given a contract of half a year from 30 August in Paris, that is renewed with one level below it; another level
    # ends, and one has no end
    customer(
        client,
        "in_terms",
        currency="EUR",
        time_zone="Europe/Paris",
        start_date="2023-08-30",
        end_date="2024-02-29",
        auto_renewal=True,
        sub_contracts=[
            {"id": "in_terms_too"},
            {"id": "in_terms_until", "start_date": "2023-09-01", "end_date": "2023-10-11"},
        ],
    )
    customer(client, "in_no_term")

    def terms(name: str, time: datetime | None) -> list[tuple[str, int, str, str]]:
        answer = client.get_contract(name, time=time)
        assert answer.contract.id == name
        return [(each.contract_id, each.number, each.start_date, each.end_date) for each in answer.terms]

    def both(*term: Any) -> list[tuple[Any, ...]]:
        return [("in_terms", *term), ("in_terms_too", *term)]

    # Then it is in its first term from the first local midnight on, and in none before
    start = datetime(2023, 8, 29, 22, tzinfo=UTC)
    first = both(1, "2023-08-30", "2024-02-29")
    assert terms("in_terms", start - timedelta(microseconds=1)) == []
    assert terms("in_terms", start) == first
    # And the level that ends is in its own, as long as it runs
    ending = datetime(2023, 10, 10, 22, tzinfo=UTC)
    assert terms("in_terms", ending - timedelta(microseconds=1)) == [
        *first,
        ("in_terms_until", 1, "2023-09-01", "2023-10-11"),
    ]
    assert terms("in_terms", ending) == first
    # And the others are renewed, for as long again each time
    second = datetime(2024, 2, 28, 23, tzinfo=UTC)
    assert terms("in_terms", second - timedelta(microseconds=1)) == first
    assert terms("in_terms", second) == both(2, "2024-02-29", "2024-08-30")
    assert terms("in_terms", datetime(2031, 6, 1, tzinfo=UTC)) == both(16, "2031-02-28", "2031-08-30")
    assert terms("in_terms", datetime(2999, 12, 31, tzinfo=UTC)) == both(1953, "2999-08-30", "3000-02-28")
    # And without a time it is that of now, and without an end none
    assert terms("in_terms", None) == terms("in_terms", datetime.now(UTC))
    assert terms("in_no_term", None) == []


def test_a_time_of_no_term_is_named(client):
    customer(client, "no_time")
    with pytest.raises(tb.InvalidArgumentError, match="time: is no instant from 1900-01-01 to 2999-12-31"):
        client.get_contract("no_time", time=datetime(1899, 12, 31, tzinfo=UTC))


@pytest.mark.parametrize(("renewed", "months"), [(True, 16), (False, 6)])
def test_a_fee_is_due_once_in_each_term(client, renewed, months):
    # Given a contract of six months, renewed or not, with a fee a term in advance and one in arrears
    name = f"termed_{renewed}"
    customer(
        client,
        name,
        currency="EUR",
        payment_term_days=10,
        end_date="2024-09-01",
        auto_renewal=renewed,
        fixed_fees=[
            {"id": f"{name}_first", "amount": "60", "timing": "IN_ADVANCE", "per_term": True},
            {"id": f"{name}_last", "amount": "6", "per_term": True},
        ],
    )
    # When its months are previewed
    invoices = client.preview_invoices(name, START, period_count=16)
    # Then each term has both once, in its first month and in its last, and says which it is
    assert len(invoices) == months
    due = [
        (each.start_date, each.lines[0].id[len(name) + 1 :], each.lines[0].due_date) for each in invoices if each.lines
    ]
    wanted = [
        (date(2024, 3, 1), "first", date(2024, 3, 11)),
        (date(2024, 8, 1), "last", date(2024, 9, 11)),
        (date(2024, 9, 1), "first", date(2024, 9, 11)),
        (date(2025, 2, 1), "last", date(2025, 3, 11)),
        (date(2025, 3, 1), "first", date(2025, 3, 11)),
    ]
    assert due == (wanted if renewed else wanted[:2])
    terms = [(each.term_start_date, each.term_end_date) for each in invoices]
    boundaries = [date(2024, 3, 1), date(2024, 9, 1), date(2025, 3, 1), date(2025, 9, 1)]
    assert terms == [(boundaries[n // 6], boundaries[n // 6 + 1]) for n in range(months)]
    # And a simulation of that time bills the same
    stretch = datetime(2024, 3, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
    simulation = client.simulate([], customer_ids=[name], billed_period=stretch)
    assert simulation.totals[0].amount_excluding_tax.quantity == sum(
        each.amount_excluding_tax.quantity for each in invoices
    )


@pytest.mark.parametrize(
    ("start", "end", "terms"),
    [
        # Whole months, the day clamped.
        ("2024-01-31", "2024-02-29", ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]),
        ("2023-03-01", "2024-03-01", ["2023-03-01", "2024-03-01", "2025-03-01"]),
        # Days otherwise.
        ("2024-01-10", "2024-02-20", ["2024-01-10", "2024-02-20", "2024-04-01"]),
    ],
)
def test_billing_dates_show_the_terms(client, start, end, terms):
    monthly = ParseDict(MONTHLY, catalog_pb2.Frequency())
    first, after = date.fromisoformat(start), date.fromisoformat(end)
    shown = client.billing_dates(first, monthly, after, auto_renewal=True, period_count=30)
    found = sorted({each.term_start_date for each in shown if each.term_start_date is not None})
    assert [str(each) for each in found][: len(terms)] == terms
    assert all(each.term_start_date <= each.start_date < each.term_end_date for each in shown)
    assert {each.term_start_date for each in client.billing_dates(first, monthly, after)} == {first}
    assert {each.term_start_date for each in client.billing_dates(first, monthly, period_count=2)} == {None}
    with pytest.raises(tb.InvalidArgumentError, match="auto_renewal: needs an end_date"):
        client.billing_dates(first, monthly, auto_renewal=True)


def test_a_tree_of_a_thousand_levels(client):
    # Given a thousand levels, each of which takes a cent off by its cap; the lowest has a plan
    names = [f"deep{level}" for level in range(1_000)]
    plan = {"id": "deep_plan", "product": "deep0_units", "per_unit": {"unit_price": "1"}}
    below: list[Objects] = [
        {"id": name, "parent": above, "cap": str(Decimal(10_000 + level) / 100)}
        for level, (above, name) in enumerate(itertools.pairwise(names))
    ]
    below[-1]["product_contracts"] = [{"id": "deep_sold", "plan": "deep_plan"}]
    customer(client, names[0], "units", plans=(plan,), sub_contracts=below, cap="99.99")
    use(client, names[0], "units", "200")
    # When its invoice is looked at, and it is simulated with a lower cap
    (invoice,) = client.preview_invoices(names[0], START)
    row = simulate_pb2.UsageRow(date="2024-03-10", product_id="deep0_units", contract_id="deep_sold", quantity="200")
    found = client.get_catalog().catalog.contracts
    (lower,) = [each for each in found if each.id == names[0]]
    lower.cap = "50"
    simulation = client.simulate([row], [tb.Scenario(name="lower", put=catalog_pb2.Catalog(contracts=[lower]))])
    # Then every level has its line, and the catalogue answers the tree as it is
    assert len(invoice.levels) == 1_000
    assert len(invoice.lines) == 1_001
    assert len(invoice.lines[0].contract_path) == 1_001
    assert str(invoice.amount_including_tax) == "99.99 EUR"
    assert [str(each.amount_excluding_tax.quantity) for each in simulation.totals] == ["99.99", "50.00"]
    assert len(lower.sub_contracts) == 999


# --- What is stored -----------------------------------------------------------------------------------------------


def test_an_invoice_is_of_what_is_stored_now_or_was_then(client):
    # Given a contract with a credit and usage in its first month; its plan costs 5 even without any
    plan = {"id": "usage_plan", "product": "credited_units", "per_unit": {"unit_price": "1"}, "minimum": "5"}
    customer(
        client,
        "credited",
        "units",
        plans=(plan,),
        product_contracts=[{"id": "credited_sold", "plan": "usage_plan"}],
        credits=[{"id": "opening", "amount": "100"}],
    )
    sequence = use(client, "credited", "units", "70")
    # Then the credit pays the first month, and the second one, which no event has opened
    before = client.preview_invoices("credited", START, period_count=2)
    assert [shown(each)[-1] for each in before] == [
        ("credited", "CREDIT", "opening", "-70.00"),
        ("credited", "CREDIT", "opening", "-5.00"),
    ]
    # When more is used in the first
    use(client, "credited", "units", "28", NOON + timedelta(hours=1))
    after = client.preview_invoices("credited", START, period_count=2)
    # Then less is left for the second
    assert [shown(each)[-1] for each in after] == [
        ("credited", "CREDIT", "opening", "-98.00"),
        ("credited", "CREDIT", "opening", "-2.00"),
    ]
    assert after[1].amount_including_tax.quantity == 3
    # And the invoices as they were can still be asked for, also the second one alone
    assert client.preview_invoices("credited", START, period_count=2, as_of_sequence=sequence) == before
    assert client.preview_invoices("credited", date(2024, 4, 20)) == after[1:]


def test_an_answer_that_is_full_goes_on_with_the_next_one(client, monkeypatch):
    customer(client, "long", currency="EUR", end_date="2025-03-01", fixed_fees=[{"id": "long_fee", "amount": "1"}])
    whole = client.preview_invoices("long", START, period_count=1000)
    monkeypatch.setattr("tallybook_server.invoices.ANSWER_BYTES_MAX", 1000)
    assert client.preview_invoices("long", START, period_count=1000) == whole
    assert len(whole) == 12


@pytest.mark.parametrize("more", [0, 1])
def test_a_limit_of_lines(client, monkeypatch, more):
    name = f"lines{more}"
    fees = [{"id": f"fee{more}_{number}", "amount": "1"} for number in range(3 + more)]
    customer(client, name, currency="EUR", fixed_fees=fees)
    monkeypatch.setattr("tallybook_server.limits.INVOICE_LINES_MAX", 3)
    if more == 0:
        assert len(client.preview_invoices(name, START)[0].lines) == 3
    else:
        with pytest.raises(tb.LimitExceededError, match="has 4 lines; at most 3"):
            client.preview_invoices(name, START)


@pytest.mark.parametrize("over", [0, 1])
def test_a_limit_of_billing_periods(client, monkeypatch, over):
    name = f"periods{over}"
    customer(
        client, name, currency="EUR", credits=[{"id": "one", "amount": "1"}], sub_contracts=[{"id": f"{name}_sub"}]
    )
    monkeypatch.setattr("tallybook_engine.contract.calendars.LEVEL_PERIODS_MAX", 20 - over)
    if over == 0:
        assert len(client.preview_invoices(name, date(2024, 12, 31))) == 1
    else:
        with pytest.raises(tb.LimitExceededError, match="more than 19 billing periods of its levels"):
            client.preview_invoices(name, date(2024, 12, 31))


@pytest.mark.parametrize(
    ("contract_id", "day", "more", "reason", "message"),
    [
        ("nobody", START, {}, "OBJECT_NOT_FOUND", 'there is no root contract "nobody"'),
        ("", START, {}, "FIELD_INVALID", "contract_id: is required"),
        (
            "ended",
            date(2024, 2, 29),
            {},
            "FIELD_INVALID",
            "date: 2024-02-29 is no day of the contract, from 2024-03-01 up",
        ),
        ("ended", date(2024, 6, 1), {}, "FIELD_INVALID", "date: 2024-06-01 is no day of the contract"),
        ("ended", date(9999, 12, 30), {}, "FIELD_INVALID", "date: is 9999-12-30, and no billing period"),
        ("ended", date(9999, 12, 29), {}, "FIELD_INVALID", "date: 9999-12-29 is no day of the contract"),
        ("ended", START, {"period_count": -1}, "FIELD_INVALID", "period_count: is below 0"),
        ("ended", START, {"as_of_sequence": -1}, "FIELD_INVALID", "as_of_sequence: is below 0"),
        ("ended", START, {"as_of_sequence": 10**6}, "SEQUENCE_NOT_COMMITTED", "before 1000000"),
    ],
)
def test_bad_input_is_named(client, contract_id, day, more, reason, message):
    customer(client, "ended", currency="EUR", end_date="2024-06-01")
    with pytest.raises(tb.TallybookError, match=message) as error:
        client.preview_invoices(contract_id, day, **more)
    assert error.value.reason == reason


def test_a_contract_without_a_currency_has_no_invoices(client):
    # Given a contract without end, plans and a currency of its own: one call says that nothing is invoiced
    customer(client, "no_coin")
    assert client.preview_invoices("no_coin", START, period_count=3) == []


def test_a_contract_without_end_is_invoiced_as_long_as_there_are_periods(client):
    customer(client, "for_ever", currency="EUR")
    (last,) = client.preview_invoices("for_ever", date(9999, 12, 29), period_count=2)
    assert last.end_date == date(9999, 12, 30)


def test_a_tax_that_does_not_fit(client):
    # Given a fee whose tax is 10^18 units, in an invoice and in a simulation
    client.apply_catalog(
        ParseDict({"taxes": [{"id": "xh", "country_code": "XH", "rate": "1000"}]}, catalog_pb2.Catalog())
    )
    plan = {"id": "huge_plan", "product": "huge_units", "per_unit": {"unit_price": "1"}}
    customer(
        client,
        "huge",
        "units",
        plans=(plan,),
        country_code="XH",
        product_contracts=[{"id": "huge_sold", "plan": "huge_plan"}],
        fixed_fees=[{"id": "huge_fee", "amount": "999999999999999"}],
    )
    with pytest.raises(tb.FailedPreconditionError, match='contract "huge"') as error:
        client.preview_invoices("huge", START)
    assert error.value.reason == "INVOICE_DOES_NOT_FIT"
    row = simulate_pb2.UsageRow(date="2024-03-10", product_id="huge_units", contract_id="huge_sold", quantity="1")
    with pytest.raises(tb.FailedPreconditionError, match='baseline: contract "huge"') as error:
        client.simulate([row])
    assert error.value.reason == "SIMULATION_DOES_NOT_FIT"
    # Then the others are not disturbed
    assert client.preview_invoices("google", START)


def test_lines_outside_of_a_contract_that_was_changed_are_of_its_first_and_last_period(client):
    # Given usage in March, April and May, and then a contract that only has April
    plan = {"id": "changed_plan", "product": "changed_units", "per_unit": {"unit_price": "1"}}
    sold = [{"id": "changed_sold", "plan": "changed_plan"}]
    customer(client, "changed", "units", plans=(plan,), product_contracts=sold)
    for month, quantity in ((3, "3"), (4, "4"), (5, "5")):
        use(client, "changed", "units", quantity, datetime(2024, month, 10, tzinfo=UTC))
    april = {"start_date": "2024-04-10", "end_date": "2024-04-20"}
    customer(client, "changed", "units", plans=(plan,), product_contracts=sold, **april)
    # Then nothing that was used is lost
    (invoice,) = client.preview_invoices("changed", date(2024, 4, 15), period_count=3)
    assert [str(each.amount_excluding_tax.quantity) for each in invoice.lines] == ["3.00", "4.00", "5.00"]


def test_lines_of_an_earlier_currency_are_an_invoice_of_their_own(client):
    # Given usage under a plan in euro, and then, from the next period on, one in dollars with a fee
    plan = {"id": "moved_plan", "product": "moved_units", "per_unit": {"unit_price": "1"}}
    sold = [{"id": "moved_sold", "plan": "moved_plan"}]
    customer(client, "moved", "units", plans=(plan,), product_contracts=sold)
    use(client, "moved", "units", "7")
    dollars = {**plan, "currency": "USD"}
    fee = [{"id": "moved_fee", "amount": "3"}]
    customer(client, "moved", "units", plans=(dollars,), product_contracts=sold, fixed_fees=fee)
    # Then the month has an invoice in each, the fee on that of the contract's currency
    invoices = client.preview_invoices("moved", START, period_count=2)
    amounts = [(each.start_date.month, str(each.amount_including_tax)) for each in invoices]
    assert amounts == [(3, "3.00 USD"), (3, "7.00 EUR"), (4, "3.00 USD")]


# --- Simulated ----------------------------------------------------------------------------------------------------


def test_a_simulation_bills_what_the_invoice_bills(client):
    # Given a division with usage in two months, under a parent with every sort of term
    plan = {"id": "simulated_plan", "product": "simulated_units", "per_unit": {"unit_price": "2"}}
    sold = [{"id": "simulated_sold", "plan": plan["id"]}]
    terms = {
        "fixed_fees": [{"id": "simulated_fee", "amount": "30"}],
        "revenue_shares": [{"id": "simulated_share", "rate": "0.1", "charges": ["simulated_sold"]}],
        "discount": {"rate": "0.5", "threshold": "100", "mode": "EXCESS"},
        "cap": "300",
        "minimum": "60",
        "credits": [{"id": "simulated_credit", "amount": "75"}],
    }
    customer(
        client,
        "simulated",
        "units",
        plans=(plan,),
        sub_contracts=[{"id": "simulated_division", "product_contracts": sold}],
        **terms,
    )
    used = [(date(2024, 3, 10), "4"), (date(2024, 5, 3), "400")]
    rows = use_and_rows(client, "simulated", "simulated_sold", used)
    # When the same rows are simulated, today and with a lower cap
    contract = client.get_catalog().catalog.contracts
    (today,) = [each for each in contract if each.id == "simulated"]
    lower = catalog_pb2.Contract()
    lower.CopyFrom(today)
    lower.cap = "200"
    scenario = tb.Scenario(name="lower cap", put=catalog_pb2.Catalog(contracts=[lower]))
    simulation = client.simulate(rows, [scenario])
    # Then its lines are those of the invoices of March, April and May
    invoices = client.preview_invoices("simulated", START, period_count=3)
    billed = simulation.to_polars().filter(pl.col("scenario") == "baseline")
    found = sorted(billed.select("contract_path", "line_kind", "line_id", "amount_excluding_tax").rows(), key=str)
    wanted = [
        (list(each.contract_path), each.kind.value, _id_of(each), each.amount_excluding_tax.quantity)
        for invoice in invoices
        for each in invoice.lines
    ]
    assert [(*row[:3], Decimal(row[3])) for row in found] == sorted(wanted, key=str)
    assert {kind for _, kind, *_ in wanted} == {each.value for each in InvoiceLineKind}
    # And its totals are theirs
    totals = {each.scenario: each.amount_excluding_tax.quantity for each in simulation.totals}
    assert totals["baseline"] == sum(each.amount_excluding_tax.quantity for each in invoices)
    assert totals["lower cap"] == totals["baseline"] - 100
    assert simulation.customers()["difference_excluding_tax"].to_list() == [0, -100]
    # And the wide frame has what each level comes to
    wide = simulation.to_pandas()
    assert [str(each) for each in wide[("simulated", "total", "", "")]] == [
        str(each.amount_excluding_tax.quantity) for each in invoices
    ]
    assert wide[("simulated", "FIXED_FEE simulated_fee", "", "total_amount")].to_list() == [30, 30, 30]


@pytest.fixture(scope="module")
def invoiced(client) -> list[int]:
    """A customer with two trees and every sort of line; the sequences of the commits of its usage."""
    plan = {"id": "listed_plan", "product": "listed_units", "per_unit": {"unit_price": "2"}}
    idle = {"id": "listed_idle", "product": "listed_units", "per_unit": {"unit_price": "1"}, "minimum": "5"}
    quarterly = {"basis": "CALENDAR", "interval": 3, "unit": "MONTH"}
    customer(
        client,
        "listed",
        "units",
        plans=(plan, idle),
        payment_term_days=10,
        sub_contracts=[
            {
                "id": "listed_division",
                "product_contracts": [{"id": "listed_sold", "plan": "listed_plan", "shared": True}],
            },
            {
                "id": "listed_quarterly",
                "billing_frequency": quarterly,
                "start_date": "2024-06-01",
                "product_contracts": [{"id": "listed_later", "plan": "listed_plan", "shared": True}],
            },
        ],
        fixed_fees=[{"id": "listed_fee", "amount": "30", "timing": "IN_ADVANCE"}],
        revenue_shares=[{"id": "listed_share", "rate": "0.1", "charges": ["listed_sold"]}],
        discount={"rate": "0.5", "threshold": "100", "mode": "EXCESS"},
        cap="300",
        minimum="60",
        credits=[{"id": "listed_credit", "amount": "75"}],
    )
    other = {
        "id": "listed_other",
        "customer": "listed",
        "time_zone": "UTC",
        "start_date": START.isoformat(),
        "billing_frequency": MONTHLY,
        "product_contracts": [
            {"id": "listed_idle_sold", "plan": "listed_idle", "start_date": "2024-04-01", "shared": True}
        ],
    }
    client.apply_catalog(ParseDict({"contracts": [other]}, catalog_pb2.Catalog()))
    days = [datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 5, 3, tzinfo=UTC)]
    return [
        use(client, "listed", "units", quantity, day, contract_id="listed_sold")
        for day, quantity in zip(days, ("4", "400"), strict=True)
    ]


SPRING = tb.Span(
    customer_id="listed", start_time=datetime(2024, 3, 5, tzinfo=UTC), end_time=datetime(2024, 5, 31, tzinfo=UTC)
)


@pytest.mark.parametrize("commit", [0, -1])
def test_charges_as_invoiced_are_the_invoices(client, invoiced, commit):
    # Given the invoices of both trees of March to May, of all usage and of what was stored first
    invoices = [
        invoice
        for contract in ("listed", "listed_other")
        for invoice in client.preview_invoices(contract, START, period_count=3, as_of_sequence=invoiced[commit])
    ]
    # When the charges are listed as invoiced
    found = client.charges(SPRING, as_invoiced=True, as_of_sequence=invoiced[commit])
    # Then both lists together are their lines, in the invoices' order, with tax and due date
    charges = [line for each in invoices for line in each.lines if line.kind is InvoiceLineKind.CHARGE]
    others = [line for each in invoices for line in each.lines if line.kind is not InvoiceLineKind.CHARGE]
    assert found.invoice_lines == others
    assert sorted((each.contract_path, each.amount_excluding_tax.quantity, each.due_date) for each in found) == sorted(
        (each.contract_path, each.amount_excluding_tax.quantity, each.due_date) for each in charges
    )
    assert [each.start_time for each in found] == sorted(each.start_time for each in found)
    every = {each.kind for each in others}
    assert every >= ({*InvoiceLineKind} - {InvoiceLineKind.CHARGE} if commit else {InvoiceLineKind.FIXED_FEE})
    # And without being asked there are charge lines alone, without a due date
    plain = client.charges(SPRING)
    assert (plain.invoice_lines, {each.due_date for each in plain}) == ([], {None})


@pytest.mark.parametrize("page_size", [1, 3, 1000])
def test_charges_as_invoiced_come_in_pages(address, client, invoiced, page_size):
    whole = client.charges(SPRING, as_invoiced=True)
    request = ingest_pb2.ListChargesRequest(**SPRING.fields(), as_invoiced=True, page_size=page_size)
    lines: list[Any] = []
    with grpc.insecure_channel(address) as channel:
        while True:
            page = ingest_pb2_grpc.IngestServiceStub(channel).ListCharges(request)
            assert len(page.charges) + len(page.invoice_lines) <= page_size
            lines += [*page.charges, *page.invoice_lines]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    assert lines == [each.message for each in (*whole, *whole.invoice_lines)]


def test_charges_as_invoiced_that_cannot_be(client, invoiced):
    with pytest.raises(tb.InvalidArgumentError, match="as_invoiced: needs start_time and end_time"):
        client.charges(tb.Span(customer_id="listed"), as_invoiced=True)
    # Given a thousand months, and a day more
    thousand = tb.Span(customer_id="listed", start_time=NOON, end_time=datetime(2107, 7, 1, tzinfo=UTC))
    longer = tb.Span(customer_id="listed", start_time=NOON, end_time=datetime(2107, 7, 2, tzinfo=UTC))
    assert len(client.charges(thousand, as_invoiced=True).invoice_lines) > 1000
    with pytest.raises(
        tb.InvalidArgumentError, match="end_time: lies more than 1,000 billing periods of contract 'listed"
    ):
        client.charges(longer, as_invoiced=True)


def test_a_simulation_bills_what_nothing_opened(client):
    # Given a minimum of a plan and a flat fee at no usage, of which March and May are used and April is not
    plans = (
        {"id": "idle_least", "product": "idle_units", "per_unit": {"unit_price": "2"}, "minimum": "10"},
        {
            "id": "idle_flat",
            "product": "idle_others",
            "zero_usage": True,
            "graduated": {"tiers": [{"unit_price": "1", "flat_fee": "7"}]},
        },
    )
    sold = [{"id": "idle_least_sold", "plan": "idle_least"}, {"id": "idle_flat_sold", "plan": "idle_flat"}]
    customer(client, "idle", "units", "others", plans=plans, product_contracts=sold)
    # And another contract of the customer without any usage
    unused = {
        "id": "idle_unused",
        "customer": "idle",
        "time_zone": "UTC",
        "start_date": START.isoformat(),
        "billing_frequency": MONTHLY,
        "currency": "EUR",
        "fixed_fees": [{"id": "idle_fee", "amount": "3"}],
    }
    client.apply_catalog(ParseDict({"contracts": [unused]}, catalog_pb2.Catalog()))
    used = [(date(2024, 3, 10), "100"), (date(2024, 5, 3), "1")]
    rows = use_and_rows(client, "idle", "idle_least_sold", used)
    # When it is simulated, today and without the minimum
    without = client.get_catalog().catalog
    (least,) = [each for each in without.plans if each.id == "idle_least"]
    least.ClearField("minimum")
    scenario = tb.Scenario(name="no minimum", put=catalog_pb2.Catalog(plans=[least]))
    simulation = client.simulate(rows, [scenario])
    # Then each month has what its invoice has
    invoices = client.preview_invoices("idle", START, period_count=3)
    assert [each.amount_excluding_tax.quantity for each in invoices] == [207, 17, 17]
    frame = simulation.to_polars()
    billed = frame.filter(frame["scenario"] == "baseline").sort("period_start_time", "plan_id")
    assert billed.select("plan_id", "quantity", "amount_excluding_tax", "line_kind").rows() == [
        ("idle_flat", 0, 7, "CHARGE"),
        ("idle_least", 100, 200, "CHARGE"),
        ("idle_flat", 0, 7, "CHARGE"),
        ("idle_least", 0, 10, "CHARGE"),
        ("idle_flat", 0, 7, "CHARGE"),
        ("idle_least", 1, 10, "CHARGE"),
    ]
    totals = {each.scenario: each.amount_excluding_tax.quantity for each in simulation.totals}
    assert totals == {"baseline": 241, "no minimum": 223}
    # And the line of April is explained, and kept
    april = billed.row(3, named=True)
    explained = simulation.explain(april)
    assert (explained.amount, [(each.rule, each.amount) for each in explained.parts[0].lines]) == (
        10,
        [("MINIMUM", 10)],
    )
    # With what its contract comes to, the other line that nothing opened too
    assert [each.level for each in explained.levels] == list(invoices[1].levels)
    # And one of June is not: the simulation does not bill it
    june = april | {"period_start_time": datetime(2024, 6, 1, tzinfo=UTC)}
    with pytest.raises(tb.NotFoundError, match="CHARGE_NOT_FOUND"):
        simulation.explain(june)
    kept = list(client.simulated_charges(simulation.simulation_id, "baseline"))
    assert sorted(each.amount_excluding_tax.quantity for each in kept) == [7, 7, 7, 10, 10, 200]
    # And where June is asked too, everything is billed that is due in it, of both contracts
    stretch = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 6, 2, tzinfo=UTC)
    whole = client.simulate(rows, customer_ids=["idle"], billed_period=stretch)
    assert whole.totals[0].amount_excluding_tax.quantity == 241 + 17 + 4 * 3
    # And so it is without any usage at all
    idle = client.simulate([], customer_ids=["idle"], billed_period=stretch)
    assert idle.totals[0].amount_excluding_tax.quantity == 4 * (10 + 7 + 3)
    assert idle.customers()["customer_id"].to_list() == ["idle"]
    # And of that June's line is explained
    assert idle.explain(june).amount == 10
    assert idle.explain(june).levels[0].level.total.quantity == 17


@pytest.mark.parametrize(
    ("stretch", "field"),
    [
        ((NOON, NOON), r"billed_period\.end_time: is not after the start"),
        ((datetime(1899, 1, 1, tzinfo=UTC), NOON), r"billed_period\.start_time: is no instant"),
    ],
)
def test_a_stretch_that_cannot_be_billed(client, stretch, field):
    with pytest.raises(tb.InvalidArgumentError, match=field):
        client.simulate([], billed_period=stretch)


@pytest.mark.parametrize(
    "beyond",
    [{"start_date": "2026-06-01"}, {"start_date": "2020-01-01", "end_date": "2021-01-01"}],
    ids=["begins after it", "ended before it"],
)
def test_a_contract_beyond_the_stretch_takes_nothing_from_the_others(beyond):
    # Given three contracts with a fee each, of which the middle one has no billing period in a stretch of time
    def contract(name: str, fee: str, **more: Any) -> Objects:
        dates = {"time_zone": "UTC", "start_date": "2026-01-01", "billing_frequency": MONTHLY, **more}
        return {"id": name, "customer": name, "currency": "EUR", "fixed_fees": [{"id": fee, "amount": fee}], **dates}

    contracts = [contract("ann", "5"), contract("bob", "7", **beyond), contract("cid", "11")]
    put = {"customers": [{"id": each["id"]} for each in contracts], "contracts": contracts}
    with live_server() as address, tb.Client(address) as client:
        client.apply_catalog(ParseDict(put, catalog_pb2.Catalog()))
        # When the stretch is billed whole
        stretch = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
        simulation = client.simulate([], billed_period=stretch)
        # Then both others are billed
        lines = simulation.to_polars().select("customer_id", "line_id", "amount_excluding_tax").rows()
        assert lines == 2 * [("ann", "5", 5)] + 2 * [("cid", "11", 11)]
        assert simulation.customers()["amount_excluding_tax"].to_list() == [10, 0, 22]


def test_a_line_is_settled_in_the_period_that_bills_it_however_late(client):
    # Given a month's line of a division below one that is billed by the year, in a contract that is billed by the month
    yearly = {"basis": "CALENDAR", "interval": 1, "unit": "YEAR"}
    deep = {"id": "later_deep", "product_contracts": [{"id": "later_sold", "plan": "later_plan"}]}
    between = {
        "id": "later_year",
        "billing_frequency": yearly,
        "cap": "60",
        "sub_contracts": [{**deep, "billing_frequency": MONTHLY}],
    }
    plan = {"id": "later_plan", "product": "later_units", "per_unit": {"unit_price": "1"}}
    fees = [{"id": "later_fee", "amount": "2"}]
    customer(client, "later", "units", plans=(plan,), sub_contracts=[between], fixed_fees=fees)
    rows = use_and_rows(client, "later", "later_sold", [(date(2024, 3, 10), "100"), (date(2024, 4, 3), "1")])
    # When its usage is simulated
    simulation = client.simulate(rows)
    # Then each month up to December is what its invoice is, the line of March under the year's cap
    invoices = client.preview_invoices("later", START, period_count=10)
    assert [int(each.amount_excluding_tax.quantity) for each in invoices] == [2] * 9 + [62]
    assert simulation.totals[0].amount_excluding_tax.quantity == 9 * 2 + 62
    # And the line is explained with the levels that it is billed in
    (march, _) = simulation.to_polars().filter(pl.col("line_kind") == "CHARGE").rows(named=True)
    levels = [each.level for each in simulation.explain(march).levels]
    assert [(each.contract_path[-1], each.start_time.month, int(each.total.quantity)) for each in levels] == [
        ("later_deep", 3, 100),
        ("later_year", 3, 60),
        ("later", 12, 62),
    ]


def test_a_level_that_ends_is_billed_where_it_ends(client):
    # Given a division whose last week ends with April, in a contract with a fee a month
    weekly = {"basis": "CALENDAR", "interval": 1, "unit": "WEEK"}
    sold = [{"id": "short_sold", "plan": "short_plan"}]
    division = {
        "id": "short_division",
        "end_date": "2024-05-01",
        "billing_frequency": weekly,
        "product_contracts": sold,
    }
    plan = {"id": "short_plan", "product": "short_units", "per_unit": {"unit_price": "1"}}
    fees = [{"id": "short_fee", "amount": "2"}]
    customer(client, "short", "units", plans=(plan,), sub_contracts=[division], fixed_fees=fees)
    rows = use_and_rows(client, "short", "short_sold", [(date(2024, 4, 29), "5")])
    # Then its usage of that week is billed in April, and nothing of May is
    (april, may) = client.preview_invoices("short", date(2024, 4, 1), period_count=2)
    assert [int(each.amount_excluding_tax.quantity) for each in (april, may)] == [7, 2]
    simulation = client.simulate(rows)
    assert simulation.totals[0].amount_excluding_tax.quantity == 7
    (line,) = simulation.to_polars().filter(pl.col("line_kind") == "CHARGE").rows(named=True)
    assert [int(each.level.total.quantity) for each in simulation.explain(line).levels] == [5, 7]


def test_usage_is_settled_from_wherever_it_comes(address, client):
    # Given events in two months under a tree with every sort of modifier
    customer(
        client,
        "sourced",
        "units",
        plans=({"id": "sourced_plan", "product": "sourced_units", "per_unit": {"unit_price": "2"}},),
        sub_contracts=[
            {"id": "sourced_division", "product_contracts": [{"id": "sourced_sold", "plan": "sourced_plan"}]}
        ],
        fixed_fees=[{"id": "sourced_fee", "amount": "30"}],
        discount={"rate": "0.5", "threshold": "100", "mode": "EXCESS"},
        cap="300",
        minimum="60",
        credits=[{"id": "sourced_credit", "amount": "75"}],
    )
    used = [(date(2024, 3, 10), "4"), (date(2024, 5, 3), "400")]
    for day, quantity in used:
        use(client, "sourced", "units", quantity, datetime(day.year, day.month, day.day, tzinfo=UTC))
    frame = pl.DataFrame(
        [(day, "sourced_sold", "sourced_units", Decimal(quantity)) for day, quantity in used],
        schema={"date": pl.Date, "contract_id": pl.String, "product_id": pl.String, "quantity": pl.Decimal(38, 12)},
        orient="row",
    )
    stretch = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    recorded = tb.RecordedUsage(start_time=stretch[0], end_time=stretch[1])
    # When the same usage is sent, uploaded, and read from the book
    sent, uploaded, stored = (
        client.simulate(each, customer_ids=["sourced"]) for each in (frame, client.upload_usage(frame), recorded)
    )
    # Then lines and totals are the same, and those of the invoices
    invoices = client.preview_invoices("sourced", START, period_count=3)
    assert sent.totals[0].amount_excluding_tax.quantity == sum(each.amount_excluding_tax.quantity for each in invoices)
    for each in (uploaded, stored):
        assert each.to_polars().equals(sent.to_polars())
        assert [total.message for total in each.totals] == [total.message for total in sent.totals]
    # And they are all kept
    listed = [
        (list(each.contract_path), each.line_kind, each.line_id or None, each.amount_excluding_tax.quantity)
        for each in client.simulated_charges(stored.simulation_id)
    ]
    kept = stored.to_polars().select("contract_path", "line_kind", "line_id", "amount_excluding_tax").rows()
    assert listed == kept
    assert {kind for _, kind, *_ in listed} == {each.value for each in InvoiceLineKind} - {"REVENUE_SHARE"}
    # And of two months' charge lines each is explained, with what its levels come to, and the other lines are not
    for row in stored.to_polars().iter_rows(named=True):
        if row["line_kind"] == "CHARGE":
            levels = stored.explain(row).levels
            month = next(each for each in invoices if each.start_date == row["period_start_time"].date())
            assert [each.level for each in levels] == list(month.levels)
            assert levels[0].level.total.quantity == row["amount_excluding_tax"]
            # And its lines, rule by rule
            assert levels[0].lines == ()
            assert levels[1].lines == tuple(each for each in month.lines if each.kind is not InvoiceLineKind.CHARGE)
        else:
            with pytest.raises(ValueError, match=f"this is a {row['line_kind']}"):
                stored.explain(row)
    # And a sandbox that begins with these events bills them alike
    made = client.create_sandbox(recorded_usage=stretch, customer_ids=["sourced"])
    with tb.Client(address, made.access_token) as sandbox:
        copied = sandbox.preview_invoices("sourced", START, period_count=3)
        assert [shown(each) for each in copied] == [shown(each) for each in invoices]


def test_an_explained_charge_shows_every_line_of_the_levels_above_it(client):
    # Given a division that is billed by the month under a contract that is billed by the quarter, terms on both
    quarterly = {"basis": "CALENDAR", "interval": 3, "unit": "MONTH"}

    def tree(cap: str) -> Objects:
        return {
            "time_zone": "UTC",
            "start_date": "2024-01-01",
            "billing_frequency": quarterly,
            "sub_contracts": [
                {
                    "id": "leveled_division",
                    "billing_frequency": MONTHLY,
                    "product_contracts": [{"id": "leveled_sold", "plan": "leveled_plan"}],
                    "revenue_shares": [{"id": "leveled_share", "rate": "0.1", "charges": ["leveled_sold"]}],
                    "fixed_fees": [{"id": "leveled_support", "amount": "30"}],
                    "discount": {"rate": "0.5", "threshold": "100", "mode": "EXCESS"},
                    "cap": cap,
                },
                {"id": "leveled_other", "product_contracts": [{"id": "leveled_beside", "plan": "leveled_plan"}]},
            ],
            "fixed_fees": [
                {
                    "id": "leveled_platform",
                    "amount": "1000",
                    "timing": "IN_ADVANCE",
                    "frequency": {"basis": "CALENDAR", "interval": 1, "unit": "YEAR"},
                },
                {"id": "leveled_setup", "amount": "7", "once": True},
            ],
            "minimum": "5000",
            "credits": [{"id": "leveled_credit", "amount": "75"}],
        }

    plan = {"id": "leveled_plan", "product": "leveled_units", "per_unit": {"unit_price": "2"}}
    used = {"leveled_sold": (("2024-01-10", "100"), ("2024-02-03", "400")), "leveled_beside": (("2024-02-20", "5"),)}
    division, other = tree("300")["sub_contracts"]
    shared = {"shared": True}
    division["product_contracts"][0] |= shared
    other["product_contracts"][0] |= shared
    customer(client, "leveled", "units", plans=(plan,), **tree("300") | {"sub_contracts": [division, other]})
    rows = []
    for product_contract, days in used.items():
        for day, quantity in days:
            when = datetime.fromisoformat(day).replace(tzinfo=UTC)
            use(client, "leveled", "units", quantity, when, product_contract)
            rows.append((when.date(), product_contract, "leveled_units", Decimal(quantity)))
    frame = pl.DataFrame(
        rows,
        schema={"date": pl.Date, "contract_id": pl.String, "product_id": pl.String, "quantity": pl.Decimal(38, 12)},
        orient="row",
    )
    # And a scenario under which the division's cap is another one
    changed = {"id": "leveled", "customer": "leveled", **tree("250")}
    changed["sub_contracts"] = [{**division, "cap": "250"}, other]
    scenario = tb.Scenario(name="lower cap", put=ParseDict({"contracts": [changed]}, catalog_pb2.Catalog()))
    found = client.simulate(frame, [scenario])
    # When the division's charge of February is explained
    lines = {
        name: found.explain(row)
        for row in found.to_polars().iter_rows(named=True)
        for name in [row["scenario"]]
        if row["contract_path"][-1] == "leveled_sold" and row["period_start_time"].month == 2
    }
    # Then the levels are those of the invoice, the division's month and the quarter, each with its lines
    (invoice,) = client.preview_invoices("leveled", date(2024, 1, 1))
    division_level, root_level = lines["baseline"].levels
    assert [each.level for each in (division_level, root_level)] == [
        next(each for each in invoice.levels if each.contract_path[-1] == name and each.start_time.month == month)
        for name, month in (("leveled_division", 2), ("leveled", 1))
    ]
    beside = [each for each in invoice.lines if each.kind is not InvoiceLineKind.CHARGE]
    february = [each for each in beside if "leveled_division" in each.contract_path and each.start_time.month == 2]
    assert list(division_level.lines) == february
    assert [(each.kind.value, each.id) for each in division_level.lines] == [
        ("FIXED_FEE", "leveled_support"),
        ("REVENUE_SHARE", "leveled_share"),
        ("DISCOUNT", ""),
        ("CAP", ""),
    ]
    assert list(root_level.lines) == [each for each in beside if each.contract_path == ("leveled",)]
    assert [(each.kind.value, each.id) for each in root_level.lines] == [
        ("FIXED_FEE", "leveled_platform"),
        ("FIXED_FEE", "leveled_setup"),
        ("MINIMUM", ""),
        ("CREDIT", "leveled_credit"),
    ]
    # And under the scenario the cap takes 50 more
    lower = lines["lower cap"].levels[0]
    assert division_level.level.total.quantity == 300
    assert lower.level.total.quantity == 250
    assert lower.lines[-1].amount_excluding_tax.quantity == division_level.lines[-1].amount_excluding_tax.quantity - 50


def _id_of(line: tb.InvoiceLine) -> str | None:
    return None if line.kind is InvoiceLineKind.CHARGE else line.id or None


# --- Peers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A contract of fixed fees, and what its first invoice comes to."""

    contract: Objects
    amounts: dict[str, Decimal] = field(default_factory=dict)
    """Line ("CREDIT") or id -> sum of the lines' amounts."""
    total: Decimal | None = None
    tax: Decimal | None = None


def money(value: str | Decimal) -> Decimal:
    return Decimal(value).quantize(Decimal("0.01"))


def fees(*amounts: str) -> list[Objects]:
    return [{"id": f"fee{number}", "amount": str(money(amount))} for number, amount in enumerate(amounts)]


def case_of(vector: Any) -> Case:
    """A peer's case as a contract."""
    config, inputs, expected = vector["config"], vector["inputs"], vector["expected"]
    match vector["model"]:
        case "credits":
            given = [{"id": f"c{n}", "amount": amount} for n, amount in enumerate(config["credits"])]
            return Case(
                {"fixed_fees": fees(*inputs["lines"]), "credits": given},
                {f"c{n}": -Decimal(used) for n, used in enumerate(expected["used"])},
                Decimal(expected["due"]),
            )
        case "wallet_burndown":
            wallets = sorted(config["wallets"], key=lambda wallet: int(wallet["priority"]))
            given = [{"id": wallet["id"], "amount": wallet["balance"]} for wallet in wallets]
            used = {name: -Decimal(amount) for name, amount in expected["used"].items()}
            return Case({"fixed_fees": fees(inputs["amount"]), "credits": given}, used, Decimal(expected["due"]))
        case "proration":
            return proration_case(config, inputs, expected)
        case "tax":
            return Case(
                {
                    "fixed_fees": fees(inputs["amount"]),
                    "discount": {"rate": str(Decimal(config["discount_percent"]) / 100)},
                    "country_code": "XT",
                },
                total=Decimal(expected["amount_excluding_tax"]),
                tax=Decimal(expected["tax"]),
            )
    raise ValueError(f"no contract is made of the model {vector['model']}")


def proration_case(config: Objects, inputs: Objects, expected: Objects) -> Case:
    """One fee until the day of the change, another from it on: a credit is what the first no longer costs."""
    start, end = map(date.fromisoformat, config["period"])
    if "inclusive" in config["days"]:
        end += timedelta(days=1)
    changed = date.fromisoformat(inputs["date"])
    contract: Objects = {
        "start_date": start.isoformat(),
        "billing_frequency": {"basis": "CONTRACT", "interval": (end - start).days, "unit": "DAY"},
        "fixed_fees": [],
    }
    amounts = {}
    for name, amount, first, last in (("old", "old_amount", start, changed), ("new", "new_amount", changed, None)):
        if first != last:
            fee = {"id": name, "amount": str(money(inputs[amount])), "prorate": True, "start_date": first.isoformat()}
            contract["fixed_fees"].append(fee if last is None else {**fee, "end_date": last.isoformat()})
    amounts["old"] = Decimal(inputs["old_amount"]) + Decimal(expected["credit"])
    amounts["new"] = Decimal(expected.get("charge", "0"))
    return Case(contract, amounts, Decimal(inputs["old_amount"]) + Decimal(expected["net"]))


PEERS = {vector["id"]: vector for vector in pricing_vectors.elsewhere(pricing_vectors.MODIFIERS)}


@pytest.mark.parametrize("vector_id", [each for each in PEERS if each not in ("v196", "v315")])
def test_a_peers_case(client, vector_id):
    case = case_of(PEERS[vector_id])
    if case.tax is not None:
        rate = PEERS[vector_id]["config"]["tax_rate"]
        tax = catalog_pb2.Tax(id=vector_id, country_code="XT", rate=rate)
        client.apply_catalog(catalog_pb2.Catalog(taxes=[tax]))
    customer(client, vector_id, currency="USD", **case.contract)
    (invoice,) = client.preview_invoices(vector_id, date.fromisoformat(case.contract.get("start_date", "2024-03-01")))
    found: dict[str, Decimal] = {}
    for line in invoice.lines:
        found[line.id] = found.get(line.id, Decimal(0)) + line.amount_excluding_tax.quantity
    assert {name: found.get(name, Decimal(0)) for name in case.amounts} == case.amounts
    assert invoice.amount_excluding_tax.quantity == case.total
    assert case.tax is None or invoice.tax_amount.quantity == case.tax


def test_every_case_of_modifiers_is_here():
    assert set(PEERS) == {
        *("v129", "v196", "v236", "v239", "v240", "v315", "v318", "v319", "v321", "v330", "v332", "v333"),
    }


def test_the_discount_comes_before_the_cap(client):
    # v196: 10 a unit, 50 % off, at most 100; from 7 units to 27
    vector = PEERS["v196"]
    config, inputs = vector["config"], vector["inputs"]
    totals = []
    for quantity in (inputs["from_exclusive"], inputs["to_inclusive"]):
        name = f"v196_{quantity}"
        plan = {"id": name, "product": f"{name}_units", "per_unit": {"unit_price": config["unit"]}, "currency": "USD"}
        customer(
            client,
            name,
            "units",
            plans=(plan,),
            product_contracts=[{"plan": name}],
            discount={"rate": str(Decimal(config["discount_percent"]) / 100)},
            cap=config["maximum"],
        )
        use(client, name, "units", quantity)
        (invoice,) = client.preview_invoices(name, START)
        totals.append(invoice.amount_excluding_tax.quantity)
    assert totals[0] == Decimal(inputs["previously_billed"])
    assert totals[1] - totals[0] == Decimal(vector["expected"]["amount"])


def test_a_true_up_is_of_the_rounded_line(client):
    # v315: 749.996 is 750.00, and lacks 250.00
    vector = PEERS["v315"]
    plan = {"id": "v315", "product": "v315_units", "per_unit": {"unit_price": "1"}, "currency": "USD"}
    customer(
        client,
        "v315",
        "units",
        plans=(plan,),
        product_contracts=[{"plan": "v315"}],
        minimum=vector["config"]["minimum"],
    )
    use(client, "v315", "units", vector["inputs"]["amount"])
    (invoice,) = client.preview_invoices("v315", START)
    assert shown(invoice)[1] == ("v315", "MINIMUM", "", vector["expected"]["true_up"])
    assert invoice.lines[1].kind is InvoiceLineKind.MINIMUM
