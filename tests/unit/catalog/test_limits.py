"""Limits of a catalogue: at the edge all is well, over it there is a fault; the contract says the same numbers."""

import re
from pathlib import Path

import pytest
from tests.support.catalog_files import CARDS, faults

from tallybook_engine.catalog import limits
from tallybook_engine.pricing.unit_conversion import PLACES_MAX, PLACES_MIN
from tallybook_server import limits as server_limits
from tallybook_server.services import catalog as service

PROTO = (Path(__file__).resolve().parents[3] / "proto/tallybook/v1/catalog.proto").read_text(encoding="utf-8")
WORDS = " ".join(re.sub(r"^\s*//", "", line).strip() for line in PROTO.splitlines())


def cards(old: str, new: str) -> str:
    assert old in CARDS
    return CARDS.replace(old, new)


def names(count: int) -> str:
    return f"[{', '.join(f'n{index}' for index in range(count))}]"


def tiers(count: int) -> str:
    bounded = [f"{{up_to: {index + 1}, unit_price: 1}}" for index in range(count - 1)]
    return f"graduated: {{tiers: [{', '.join([*bounded, '{unit_price: 1}'])}]}}"


def rules(count: int) -> str:
    return f"matrix: {{rules: [{', '.join(f'{{match: {{card_type: t{i}}}, none: {{}}}}' for i in range(count))}]}}"


def sub_contracts(count: int) -> str:
    return f"sub_contracts: [{', '.join(f'{{id: s{index}}}' for index in range(count))}]"


def levels(count: int) -> str:
    below = ""
    for level in range(count, 1, -1):
        below = f"sub_contracts: [{{id: l{level}, {below}}}]"
    return below or "{}"


def listed_levels(count: int) -> str:
    parents = ["bank_2023", *(f"l{level}" for level in range(2, count))]
    return f"sub_contracts: [{', '.join(f'{{id: l{n + 2}, parent: {name}}}' for n, name in enumerate(parents))}]"


def product_contracts(count: int) -> str:
    return f"product_contracts: [{', '.join(f'{{id: p{i}, plan: cards_2023, shared: true}}' for i in range(count))}]"


def many(text: str, end: int, start: int = 0) -> str:
    return ", ".join(text.format(index) for index in range(start, end))


PRICE = "per_unit: {unit_price: 0.07}"
SOLD = "product_contracts: [{plan: cards_2023}]"
BYTES = limits.NAME_BYTES_MAX
EDGES = {
    "bytes of an id": (lambda n: cards("id: nl,", f"id: {'é' * (n // 2)}{'e' * (n % 2)},"), BYTES),
    "bytes of a reference": (lambda n: cards("id: bank,", f"id: bank, reference: {'r' * n},"), BYTES),
    "bytes of a property's text": (
        lambda n: cards(PRICE, f"matrix: {{rules: [{{id: r, match: {{card_type: {'t' * n}}}, none: {{}}}}]}}"),
        BYTES,
    ),
    "bytes of a customer's name": (lambda n: cards("name: Bank", f"name: {'n' * n}"), limits.TITLE_BYTES_MAX),
    "values": (lambda n: cards("[card_count]", f"[card_count, {names(n - 1)[1:]}"), limits.METER_VALUES_MAX),
    "properties": (lambda n: cards("[card_type]", names(n)), limits.METER_PROPERTIES_MAX),
    "tiers": (lambda n: cards(PRICE, tiers(n)), limits.TIERS_MAX),
    "rules": (lambda n: cards(PRICE, rules(n)), limits.MATRIX_RULES_MAX),
    "product contracts": (lambda n: cards(SOLD, product_contracts(n)), limits.PRODUCT_CONTRACTS_MAX),
    "sub-contracts": (lambda n: cards(SOLD, sub_contracts(n)), limits.SUB_CONTRACTS_MAX),
    "levels within each other": (lambda n: cards(SOLD, levels(n)), limits.NESTED_LEVELS_MAX),
    "levels": (lambda n: cards(SOLD, listed_levels(n)), limits.CONTRACT_LEVELS_MAX),
    "fixed fees": (
        lambda n: cards(SOLD, f"{SOLD}, fixed_fees: [{many('{{id: f{}, amount: 1}}', n)}]"),
        limits.FIXED_FEES_MAX,
    ),
    "revenue shares": (
        lambda n: cards(
            SOLD, f"{SOLD}, revenue_shares: [{many('{{id: s{}, rate: 1, charges: [bank_2023/cards_2023]}}', n)}]"
        ),
        limits.REVENUE_SHARES_MAX,
    ),
    "charges of a revenue share": (
        lambda n: cards(
            SOLD,
            f"{SOLD}, revenue_shares: [{{id: s, rate: 1, charges: [{many('f{}', n)}]}}], "
            f"fixed_fees: [{many('{{id: f{}, amount: 1}}', min(n, 999))}], "
            f"sub_contracts: [{{id: sub, fixed_fees: [{many('{{id: f{}, amount: 1}}', n, 999)}]}}]",
        ),
        limits.SHARED_CHARGES_MAX,
    ),
    "credits": (
        lambda n: cards(SOLD, f"{SOLD}, credits: [{many('{{id: c{}, amount: 1}}', n)}]"),
        limits.CREDITS_MAX,
    ),
    "rate of a revenue share": (
        lambda n: cards(SOLD, f"{SOLD}, revenue_shares: [{{id: s, rate: -{n}, charges: [bank_2023/cards_2023]}}]"),
        limits.SHARE_RATE_MAX,
    ),
    "payment terms": (
        lambda n: cards(SOLD, f"{SOLD}, payment_term_days: {n}"),
        limits.PAYMENT_TERM_DAYS_MAX,
    ),
    "interval": (lambda n: cards("interval: 1,", f"interval: {n},"), limits.INTERVAL_MAX),
    "rate": (lambda n: cards("rate: 0.21", f"rate: {n}"), limits.TAX_RATE_MAX),
    "decimal places": (
        lambda n: cards(PRICE, f"{PRICE}, conversion: {{divide_by: 2, decimal_places: {n}}}"),
        PLACES_MAX,
    ),
}


@pytest.mark.parametrize(("text_of", "maximum"), EDGES.values(), ids=EDGES.keys())
def test_at_and_over_the_edge(text_of, maximum):
    assert faults(text_of(maximum)) == []
    assert len(faults(text_of(maximum + 1))) == 1


def test_so_many_objects_of_a_kind(monkeypatch):
    monkeypatch.setattr(limits, "OBJECTS_MAX", 3)
    assert faults("customers: [{id: a}, {id: b}, {id: c}]") == []
    assert faults("customers: [{id: a}, {id: b}, {id: c}, {id: d}]") == [
        "catalog.yaml:1: customers: more than 3 of them"
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        f"have 1 to {limits.NAME_BYTES_MAX} bytes of UTF-8",
        f"at most {limits.OBJECTS_MAX:,} objects of a kind",
        f"numbers that an event may carry; at most {limits.METER_VALUES_MAX}, each once",
        f"texts that an event may carry; at most {limits.METER_PROPERTIES_MAX}, each once",
        f"Ascending; 1 to {limits.TIERS_MAX:,}.",
        f"1 to {limits.MATRIX_RULES_MAX:,}, in the order in which they are tried",
        f"The plans of this level; at most {limits.PRODUCT_CONTRACTS_MAX:,}.",
        f"The levels below; at most {limits.SUB_CONTRACTS_MAX:,} directly below one contract, and at most "
        f"{limits.CONTRACT_LEVELS_MAX:,} levels in all. At most {limits.NESTED_LEVELS_MAX} levels are written within",
        f"due without usage; at most {limits.FIXED_FEES_MAX:,}.",
        f"Percentages of other charges; at most {limits.REVENUE_SHARES_MAX:,}.",
        f"of the same level or below; 1 to {limits.SHARED_CHARGES_MAX:,}, each once",
        f"What pays the level's amounts last; at most {limits.CREDITS_MAX:,}.",
        f"0.1 is 10 %; from -{limits.SHARE_RATE_MAX:,} to {limits.SHARE_RATE_MAX:,}.",
        f"to when it is due, 0 to {limits.PAYMENT_TERM_DAYS_MAX:,};",
        f"Units in a period, 1 to {limits.INTERVAL_MAX:,}.",
        f"At most {limits.ACCUMULATION_PERIODS_MAX:,} may begin within one billing period",
        f"From 0 to {limits.TAX_RATE_MAX:,}.",
        f"Name for people; at most {limits.TITLE_BYTES_MAX:,} bytes",
        f"Decimals kept, from {PLACES_MIN} to {PLACES_MAX};",
        f"from {limits.DATE_MIN}.",
        f"until {limits.DATE_MAX};",
        f"0 and more than {server_limits.PAGE_SIZE_MAX:,} are read as {server_limits.PAGE_SIZE_MAX:,}",
        f"`Catalog`; at most {service.SHOWN_MAX:,}.",
        f"At most {service.PARTS_BYTES_MAX // 2**20} MiB together",
    ],
)
def test_the_contract_states_the_limit(sentence):
    assert sentence in WORDS
