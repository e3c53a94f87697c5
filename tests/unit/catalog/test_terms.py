"""Terms of contracts: each rule with the fault that breaks it, and what is still fine."""

import pytest
from tests.support.catalog_files import CARDS, catalog, faults

SOLD = "product_contracts: [{plan: cards_2023}]"


def terms(more: str, sold: str = SOLD) -> str:
    return CARDS.replace(SOLD, f"{sold}, {more}" if sold else more)


def messages(text: str) -> list[str]:
    return [fault.split(": ", 1)[1].removeprefix("contracts[0].") for fault in faults(text)]


FINE = {
    "fees": (
        "fixed_fees: [{id: a, amount: -5.25, timing: IN_ADVANCE, frequency: {interval: 1, unit: YEAR}, prorate: true}]"
    ),
    "a fee once": "fixed_fees: [{id: a, amount: 0, once: true, start_date: 2023-02-01, end_date: 2023-02-02}]",
    "a share of a share": (
        "revenue_shares: [{id: a, rate: -1, charges: [b]}, {id: b, rate: 1000, charges: [bank_2023/cards_2023]}]"
    ),
    "a share of a level below": (
        "revenue_shares: [{id: a, rate: 0.1, charges: [b]}], sub_contracts: [{id: s, fixed_fees: [{id: b, amount: 1}]}]"
    ),
    "a discount": "discount: {rate: 1, threshold: 0.01, mode: EXCESS}",
    "a minimum that is the cap": "minimum: 10, cap: 10",
    "credits": "credits: [{id: a, amount: 0}, {id: b, amount: 5, start_date: 2023-02-01, end_date: 2023-02-02}]",
    "ids of credits are a contract's own": (
        "credits: [{id: a, amount: 1}], sub_contracts: [{id: s, credits: [{id: a, amount: 1}]}]"
    ),
    "the plans' currency": "currency: EUR",
    "payment terms": "payment_term_days: 1000",
}


@pytest.mark.parametrize("more", FINE.values(), ids=FINE.keys())
def test_fine(more):
    assert faults(terms(more)) == []


FAULTS = {
    "no amount": ("fixed_fees: [{id: a}]", "fixed_fees[0].amount: is required"),
    "too fine": ("minimum: 0.001", "minimum: has more decimals than EUR has: at most 2"),
    "a fee too fine": (
        "fixed_fees: [{id: a, amount: -0.001}]",
        "fixed_fees[0].amount: has more decimals than EUR has: at most 2",
    ),
    "below 0": ("cap: -1", "cap: is below 0"),
    "a minimum above the cap": ("minimum: 10.01, cap: 10", "minimum: is above the cap"),
    "a rate above 1": ("discount: {rate: 1.01}", "discount.rate: is not from 0 to 1 (1 is 100 %)"),
    "a rate below 0": ("discount: {rate: -0.01}", "discount.rate: is not from 0 to 1 (1 is 100 %)"),
    "no rate": ("discount: {}", "discount.rate: is required"),
    "a threshold below 0": ("discount: {rate: 1, threshold: -1}", "discount.threshold: is below 0"),
    "a credit twice": (
        "credits: [{id: a, amount: 1}, {id: a, amount: 1}]",
        'credits[1].id: "a" is the id of credits[0] too',
    ),
    "a credit without id": ("credits: [{amount: 1}]", "credits[0].id: is required"),
    "a credit that never is": (
        "credits: [{id: a, amount: 1, end_date: 2023-01-01}]",
        "credits[0].end_date: is 2023-01-01, not after the start 2023-01-01",
    ),
    "a fee twice": (
        "fixed_fees: [{id: a, amount: 1}], sub_contracts: [{id: s, fixed_fees: [{id: a, amount: 1}]}]",
        'sub_contracts[0].fixed_fees[0].id: "a" is an id in contracts[0].fixed_fees[0] too',
    ),
    "a fee named as a product contract": (
        "fixed_fees: [{id: bank_2023/cards_2023, amount: 1}]",
        'fixed_fees[0].id: "bank_2023/cards_2023" is an id in contracts[0] too',
    ),
    "a frequency of a fee that is due once": (
        "fixed_fees: [{id: a, amount: 1, once: true, frequency: {interval: 1, unit: YEAR}}]",
        "fixed_fees[0].frequency: stands in a fee that is due once",
    ),
    "a frequency of a fee of every term": (
        "end_date: 2024-01-01, fixed_fees: [{id: a, amount: 1, per_term: true, frequency: {interval: 1, unit: YEAR}}]",
        "fixed_fees[0].frequency: stands in a fee that is due every term of the contract",
    ),
    "a fee of every term that is due once": (
        "end_date: 2024-01-01, fixed_fees: [{id: a, amount: 1, per_term: true, once: true}]",
        "fixed_fees[0].once: stands in a fee that is due every term of the contract",
    ),
    "a fee of every term where there is no end": (
        "fixed_fees: [{id: a, amount: 1, per_term: true}]",
        "fixed_fees[0].per_term: needs an end_date of the contract, at which its term ends",
    ),
    "days of a fee that is due once": (
        "fixed_fees: [{id: a, amount: 1, once: true, prorate: true}]",
        "fixed_fees[0].prorate: stands in a fee that is due once: it has no days",
    ),
    "no interval": (
        "fixed_fees: [{id: a, amount: 1, frequency: {unit: YEAR}}]",
        "fixed_fees[0].frequency.interval: is 0, not from 1 to 1000",
    ),
    "a fee before the contract": (
        "fixed_fees: [{id: a, amount: 1, start_date: 2022-12-31}]",
        "fixed_fees[0].start_date: is 2022-12-31, before its contract starts on 2023-01-01",
    ),
    "a fee after the contract": (
        "sub_contracts: [{id: s, end_date: 2024-01-01, fixed_fees: [{id: a, amount: 1, end_date: 2024-01-02}]}]",
        "sub_contracts[0].fixed_fees[0].end_date: is 2024-01-02, after its contract ends on 2024-01-01",
    ),
    "a fee of no day": (
        "fixed_fees: [{id: a, amount: 1, start_date: 2023-02-01, end_date: 2023-02-01}]",
        "fixed_fees[0].end_date: leaves no day: the fee would run from 2023-02-01 to 2023-02-01",
    ),
    "a share of nothing": ("revenue_shares: [{id: a, rate: 1}]", "revenue_shares[0].charges: are 0, not 1 to 1000"),
    "a share of what is not there": (
        "revenue_shares: [{id: a, rate: 1, charges: [b]}]",
        'revenue_shares[0].charges[0]: no product contract, fixed fee or revenue share "b" in the tree',
    ),
    "a share of the level above": (
        "fixed_fees: [{id: b, amount: 1}], sub_contracts: [{id: s, revenue_shares: [{id: a, rate: 1, charges: [b]}]}]",
        'sub_contracts[0].revenue_shares[0].charges[0]: "b" is not of this level or one below it',
    ),
    "a share of itself": (
        "revenue_shares: [{id: a, rate: 1, charges: [c]}, {id: b, rate: 1, charges: [a]}, {id: c, rate: 1, "
        "charges: [b]}]",
        "revenue_shares[0].charges: a share of itself: a -> c -> b -> a",
    ),
    "a share twice": (
        "fixed_fees: [{id: b, amount: 1}], revenue_shares: [{id: a, rate: 1, charges: [b, b]}]",
        'revenue_shares[0].charges[1]: "b" stands at charges[0] too',
    ),
    "another currency than the plans'": ("currency: USD", "currency: is USD, and the contract's plans are in EUR"),
    "no currency": ("currency: EURO", 'currency: "EURO" is no ISO 4217 code'),
    "a currency of a level": (
        "sub_contracts: [{id: s, currency: EUR}]",
        "sub_contracts[0].currency: is the whole tree's: give it in the root contract",
    ),
    "payment terms of a level": (
        "sub_contracts: [{id: s, payment_term_days: 1}]",
        "sub_contracts[0].payment_term_days: is the whole tree's: give it in the root contract",
    ),
    "payment terms below 0": ("payment_term_days: -1", "payment_term_days: is -1, not from 0 to 1000"),
}


@pytest.mark.parametrize(("more", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(more, fault):
    assert messages(terms(more)) == [fault]


def test_amounts_without_a_plan_need_a_currency():
    assert messages(terms("minimum: 5", sold="")) == ["currency: is required: the contract has amounts and no plan"]
    assert messages(terms("minimum: 5, currency: JPY", sold="")) == []
    assert messages(terms("minimum: 5.5, currency: JPY", sold="")) == [
        "minimum: has more decimals than JPY has: at most 0"
    ]


def test_terms_are_judged_again_when_a_plan_changes_its_currency():
    base = catalog(terms("minimum: 5.50"))
    yen = "plans: [{id: cards_2023, product: cards, currency: JPY, per_unit: {unit_price: 1}}]"
    assert faults(yen, base) == [
        'catalog.yaml:1: contracts["bank_2023"].minimum: has more decimals than JPY has: at most 0'
    ]
