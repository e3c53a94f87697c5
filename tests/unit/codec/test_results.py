"""What the ledger answers, as messages."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.outcomes import CENTS_7, outcome_of

from tallybook.v1 import ingest_pb2 as wire
from tallybook.v1.common_pb2 import AmountLine
from tallybook_engine.ledger.costs import CostArrays
from tallybook_engine.ledger.faults import RowFault
from tallybook_engine.ledger.outcomes import ChargeLine, Match, Status
from tallybook_server.codec import results

EURO_24 = 10**24


def test_event_ids_go_to_text_and_back():
    assert results.event_id_text(0x1000000) == "evt_0000000001000000"
    assert results.event_id_number("evt_0000000001000000") == 0x1000000
    assert results.event_id_text(0) == ""


@pytest.mark.parametrize(
    "text",
    ["", "evt_", "evt_1", "1" * 20, "evt_000000000000000G", "evt_" + "0" * 16, "EVT_" + "1" * 16, "evt_" + "1" * 17],
)
def test_other_texts_are_no_event_ids(text):
    assert results.event_id_number(text) is None


@given(st.integers(1, 2**64 - 1))
def test_every_event_id_has_its_text(event_id):
    assert results.event_id_number(results.event_id_text(event_id)) == event_id


def test_one_detail_a_customer_and_currency_with_the_sums_of_its_lines():
    # Given postings of two lines in EUR, one with its tax inside, and one in JPY
    inclusive = replace(CENTS_7, amount=121, tax=21, tax_inclusive=True)
    yen = replace(CENTS_7, currency="JPY", minor_digits=0, amount=-500, tax=-50)
    # When they are summed
    cost = results.prediction([CENTS_7, inclusive, yen], wire.CostPrediction.AMOUNTS)
    # Then each currency has one detail, and AMOUNTS shows no periods
    euros, yens = cost.details
    assert (euros.amount_excluding_tax.quantity, euros.amount_including_tax.quantity) == ("1.07", "1.29")
    assert (euros.tax_summary.tax_amount.quantity, euros.tax_summary.country_code) == ("0.22", "NL")
    assert (yens.amount_excluding_tax.quantity, yens.amount_including_tax.quantity) == ("-500", "-550")
    assert not euros.periods


def test_full_shows_each_line_and_its_steps():
    [detail] = results.prediction(
        [CENTS_7, replace(CENTS_7, included_quantity_left=5 * 10**12)], wire.CostPrediction.FULL
    ).details
    first, second = detail.periods
    assert (first.lines[0].rule, first.lines[0].unit_amount) == (AmountLine.TIER, "0.07")
    assert (first.included_quantity_left, second.included_quantity_left) == ("", "5")


def test_no_postings_are_a_cost_without_details():
    assert results.prediction([], wire.CostPrediction.FULL) == wire.CostPrediction(response=wire.CostPrediction.OK)


def test_rows_answer_status_match_fault_and_cost():
    # Given one row of each status
    outcome = outcome_of(
        (Status.STORED, Match.MATCHED, RowFault.NONE),
        (Status.DUPLICATE, Match.MATCHED, RowFault.NONE),
        (Status.CONFLICT, Match.NOT_STORED, RowFault.REFERENCE_CONFLICT),
        (Status.UNPRICED, Match.MATCHED, RowFault.AMOUNT_OVERFLOW),
        (Status.INVALID, Match.NOT_STORED, RowFault.DECIMAL_EMPTY),
        fault_fields={4: ("meter_values[0].number", "")},
    )
    # When all are explained
    rows = results.event_results(outcome, wire.CostPrediction.AMOUNTS, [[CENTS_7]] * 5)
    # Then only those that hold a cost show one
    assert [row.status for row in rows] == [1, 2, 3, 4, 5]
    assert [row.cost_prediction.response for row in rows] == [1, 1, 0, 2, 0]
    assert [row.fault.reason for row in rows] == ["", "", "REFERENCE_CONFLICT", "AMOUNT_OVERFLOW", "DECIMAL_EMPTY"]
    assert rows[4].fault.field == "meter_values[0].number"


def test_rows_that_were_not_explained_in_time_have_a_failed_cost():
    outcome = outcome_of(*[(Status.STORED, Match.MATCHED, RowFault.NONE)] * 3)
    rows = results.event_results(outcome, wire.CostPrediction.FULL, [[CENTS_7]])
    assert [row.cost_prediction.response for row in rows] == [1, 2, 2]


@pytest.mark.parametrize("view", [wire.CostPrediction.VIEW_UNSPECIFIED, wire.CostPrediction.NONE])
def test_no_cost_where_none_was_asked_for(view):
    [row] = results.event_results(outcome_of((Status.STORED, Match.MATCHED, RowFault.NONE)), view, [])
    assert not row.HasField("cost_prediction")


def test_a_batch_counts_and_shows_what_wants_attention():
    outcome = outcome_of(
        (Status.STORED, Match.MATCHED, RowFault.NONE),
        (Status.STORED, Match.NO_CONTRACT, RowFault.NONE),
        (Status.DUPLICATE, Match.MATCHED, RowFault.NONE),
        (Status.DUPLICATE, Match.NO_METER, RowFault.NONE),
        (Status.STORED, Match.NOT_BILLED, RowFault.NONE),
        (Status.UNPRICED, Match.MATCHED, RowFault.QUANTITY_OVERFLOW),
        (Status.INVALID, Match.NOT_STORED, RowFault.REFERENCE_EMPTY),
        (Status.CONFLICT, Match.NOT_STORED, RowFault.REFERENCE_CONFLICT),
    )
    batch = wire.BatchResult.FromString(results.batch_result(outcome, 7, None))
    assert (batch.sequence, batch.stored_count, batch.duplicate_count, batch.matched_count) == (7, 3, 2, 2)
    assert (batch.unpriced_count, batch.invalid_count, batch.conflict_count) == (1, 1, 1)
    assert [row.row for row in batch.exceptional_rows] == [1, 5, 6, 7]
    assert list(batch.duplicate_rows) == [2, 3]
    assert not batch.HasField("costs")


def costs_of(entries, currencies):
    rows, codes, *money = zip(*entries, strict=True) if entries else [()] * 6
    amounts, taxes, net_amounts, net_taxes = (np.array(each, dtype=np.int64) for each in money)
    return CostArrays(
        np.array(rows, dtype=np.uint32),
        np.array(codes, dtype=np.uint32),
        amounts,
        taxes,
        net_amounts,
        net_taxes,
        currencies,
        (2,) * len(currencies),
    )


amounts = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), *[amounts] * 4), max_size=200))
def test_cost_columns_are_what_extending_the_fields_makes(entries):
    costs = costs_of(sorted(entries, key=lambda entry: entry[0]), ("EUR", "USD"))
    columns = wire.CostColumns.FromString(results.cost_columns(costs, row_count=10))
    assert list(columns.row) == costs.row.tolist()
    assert list(columns.currency) == costs.currency.tolist()
    assert list(columns.amount_excluding_tax) == costs.amount_excluding_tax.tolist()
    assert list(columns.tax_amount) == costs.tax_amount.tolist()
    net = [*columns.net_amount_excluding_tax], [*columns.net_tax_amount]
    found = costs.net_amount_excluding_tax.tolist(), costs.net_tax_amount.tolist()
    assert net == found or (net == ([], []) and found == ([*columns.amount_excluding_tax], [*columns.tax_amount]))
    assert list(columns.currencies) == ["EUR", "USD"]


def test_columns_that_go_without_saying_are_left_out():
    costs = costs_of([(0, 0, 5, 1, 5, 1), (1, 0, 6, 1, 6, 1)], ("EUR",))
    one_each, gaps = (wire.CostColumns.FromString(results.cost_columns(costs, row_count=count)) for count in (2, 3))
    assert not one_each.row
    assert not one_each.currency
    assert list(gaps.row) == [0, 1]
    assert not one_each.net_amount_excluding_tax
    assert not one_each.net_tax_amount
    # A net tax alone may differ, and then both columns are there.
    adjusted = costs_of([(0, 0, 5, 1, 5, 0)], ("EUR",))
    columns = wire.CostColumns.FromString(results.cost_columns(adjusted, row_count=1))
    assert (list(columns.net_amount_excluding_tax), list(columns.net_tax_amount)) == ([5], [0])


def test_a_response_is_the_message_that_holds_the_result():
    rows = [(status, Match.MATCHED, RowFault.NONE) for status in (Status.STORED, Status.DUPLICATE)]
    outcome = outcome_of(*rows)
    costs = costs_of([(0, 0, 5, 1, 5, 1), (1, 0, 6, 1, 6, 1)], ("EUR",))
    response = wire.StreamingIngestEventsResponse.FromString(results.batch_response(-3, outcome, 7, costs))
    assert response.batch_number == -3
    assert response.result == wire.BatchResult.FromString(results.batch_result(outcome, 7, costs))
    assert list(response.result.costs.amount_excluding_tax) == [5, 6]
    assert list(response.result.duplicate_rows) == [1]


@pytest.mark.parametrize(
    ("amount", "exact", "expected"),
    [(107, EURO_24 + EURO_24 // 14, "-0.001428571428571428571428"), (107, 107 * EURO_24 // 100, None), (1, 0, "0.01")],
)
def test_a_charge_line_closes_with_what_rounding_made(amount, exact, expected):
    line = ChargeLine(
        **{
            name: getattr(CENTS_7, name)
            for name in ChargeLine.__dataclass_fields__
            if name not in ("quantity", "amount", "exact_amount", "applied_tax")
        },
        applied_tax=None,
        quantity=10**12,
        amount=amount,
        exact_amount=exact,
    )
    lines = results.charge_line(line).lines
    rounding = [each.amount for each in lines if each.rule == AmountLine.ROUNDING]
    assert rounding == ([] if expected is None else [expected])


def test_a_fault_says_what_was_found():
    fault = results.row_fault(RowFault.DECIMAL_MALFORMED, "meter_values[0].number", "1,5")
    assert fault.message.endswith("Found '1,5'.")
    assert results.row_fault(RowFault.REFERENCE_EMPTY).message.endswith("255 bytes.")
