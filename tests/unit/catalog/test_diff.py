"""Differences of two versions, for people: fields as a catalogue file names and writes them."""

import pytest
from tests.support.catalog_files import CARDS, EVERYTHING, catalog, change

from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogIds
from tallybook_engine.catalog.diff import Change, ObjectDifference, catalog_differences
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.catalog.versions import apply_change

TARIFF = """
meters: [{id: m, values: [v], properties: [p]}]
products: [{id: product, meter: m, aggregation: SUM, value: v}]
plans: [{id: plan, product: product, currency: EUR, %s}]
"""


def plan_fields(before: str, after: str) -> list[tuple[str, str, str]]:
    """(path, before, after) of a plan whose price changes."""
    base = catalog(TARIFF % before)
    (found,) = catalog_differences(base, catalog(TARIFF % after, base))
    assert (found.kind, found.id, found.change) == ("plans", "plan", Change.CHANGED)
    return [(each.path, each.before, each.after) for each in found.fields]


def test_a_new_catalogue_is_all_added():
    found = catalog_differences(Catalog(), catalog(EVERYTHING))
    assert [each.kind for each in found] == list(KINDS)
    assert {each.change for each in found} == {Change.ADDED}


def test_the_same_catalogue_has_no_difference():
    assert catalog_differences(catalog(), catalog()) == ()


def test_what_is_removed_comes_last_in_its_kind():
    base = catalog("customers: [{id: a}, {id: b}, {id: c}]")
    later = apply_change(base, change("customers: [{id: d}, {id: c, name: C}]", customers=("a",)))
    assert [(each.id, each.change) for each in catalog_differences(base, later)] == [
        ("c", Change.CHANGED),
        ("d", Change.ADDED),
        ("a", Change.REMOVED),
    ]


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        (
            "per_unit: {unit_price: 1.50}",
            "per_unit: {unit_price: 2}",
            [("per_unit.unit_price", "1.5", "2")],
        ),
        (
            "graduated: {tiers: [{up_to: 5, unit_price: 1}, {unit_price: 2}]}",
            "graduated: {tiers: [{up_to: 6, unit_price: 1}, {unit_price: 2}]}",
            [("graduated.tiers[0].up_to", "5", "6")],
        ),
        (
            "graduated: {tiers: [{unit_price: 2}]}",
            "volume: {tiers: [{unit_price: 2}]}",
            [
                ("volume.tiers[0].unit_price", "", "2"),
                ("volume.tiers[0].flat_fee", "", "0"),
                ("graduated.tiers[0].unit_price", "2", ""),
                ("graduated.tiers[0].flat_fee", "0", ""),
            ],
        ),
        ("none: {}", "per_unit: {unit_price: 0}", [("per_unit.unit_price", "", "0"), ("none", "{}", "")]),
        (
            "stairstep: {tiers: [{flat_fee: 2}]}",
            "stairstep: {tiers: [{flat_fee: 3}]}",
            [("stairstep.tiers[0].flat_fee", "2", "3")],
        ),
        (
            "package: {size: 10, amount: 5}",
            "package: {size: 10, amount: 5, rounding: DOWN}, rounding: HALF_EVEN",
            [("rounding", "HALF_AWAY_FROM_ZERO", "HALF_EVEN"), ("package.rounding", "UP", "DOWN")],
        ),
        (
            "per_unit: {unit_price: 1}",
            "per_unit: {unit_price: 1}, minimum: 5, cap: 9, zero_usage: true, "
            "included_quantity: {quantity: 3, prorate: true}, conversion: {divide_by: 8, rounding: UP}",
            [
                ("included_quantity.quantity", "", "3"),
                ("included_quantity.mode", "", "SUBTRACT_FIRST"),
                ("included_quantity.prorate", "", "true"),
                ("minimum", "", "5"),
                ("cap", "", "9"),
                ("zero_usage", "", "true"),
                ("conversion.divide_by", "", "8"),
                ("conversion.decimal_places", "", "12"),
                ("conversion.rounding", "", "UP"),
            ],
        ),
        (
            "matrix: {rules: [{match: {p: a}, per_unit: {unit_price: 1}}, {none: {}}]}",
            "matrix: {rules: [{match: {p: b}, id: p=a, per_unit: {unit_price: 2}}, {none: {}}]}",
            [
                ('matrix.rules["p=a"].match', "{p: a}", "{p: b}"),
                ('matrix.rules["p=a"].per_unit.unit_price', "1", "2"),
            ],
        ),
        (
            "matrix: {rules: [{match: {p: a}, none: {}}, {none: {}}]}",
            "matrix: {rules: [{match: {p: a}, none: {}}]}",
            [("matrix.rules", "p=a, default", "p=a"), ('matrix.rules["default"].none', "{}", "")],
        ),
    ],
)
def test_prices(before, after, fields):
    assert plan_fields(before, after) == fields


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ("rate: 0.21", "rate: 0.09, mode: INCLUSIVE", [("rate", "0.21", "0.09"), ("mode", "EXCLUSIVE", "INCLUSIVE")]),
        ("properties: [card_type]", "properties: [card_type, b]", [("properties", "card_type", "card_type, b")]),
        ("properties: [card_type]", "properties: [card_type], allow_negative: true", [("allow_negative", "", "true")]),
        (
            "SUM, value: card_count",
            "COUNT, filter: {card_type: Visa}",
            [("aggregation", "SUM", "COUNT"), ("filter", "", "{card_type: Visa}"), ("value", "card_count", "")],
        ),
        ("name: Bank", "name: The bank", [("name", "Bank", "The bank")]),
        (
            "start_date: 2023-01-01",
            "start_date: 2023-02-01, end_date: 2024-01-01",
            [("start_date", "2023-01-01", "2023-02-01"), ("end_date", "", "2024-01-01")],
        ),
        (
            "interval: 1,",
            "interval: 3,",
            [
                (
                    "billing_frequency",
                    "{basis: CALENDAR, interval: 1, unit: MONTH}",
                    "{basis: CALENDAR, interval: 3, unit: MONTH}",
                )
            ],
        ),
        (
            "[{plan: cards_2023}]",
            "[{plan: cards_2023, accumulation_period: {interval: 1, unit: YEAR}, start_date: 2023-03-01, "
            "end_date: 2023-04-01, shared: true}]",
            [
                (
                    'product_contracts["bank_2023/cards_2023"].accumulation_period',
                    "",
                    "{basis: CALENDAR, interval: 1, unit: YEAR}",
                ),
                ('product_contracts["bank_2023/cards_2023"].start_date', "", "2023-03-01"),
                ('product_contracts["bank_2023/cards_2023"].end_date', "", "2023-04-01"),
                ('product_contracts["bank_2023/cards_2023"].shared', "", "true"),
            ],
        ),
        (
            "product_contracts: [{plan: cards_2023}]",
            "product_contracts: [{plan: cards_2023}], currency: EUR, payment_term_days: 30, prorate: true, "
            "end_date: 2024-01-01, auto_renewal: true, override_underlying: true, "
            "fixed_fees: [{id: fee, amount: 10, timing: IN_ADVANCE, frequency: {interval: 1, unit: YEAR}, "
            "start_date: 2023-02-01, end_date: 2023-03-01, prorate: true}, {id: setup, amount: 5, once: true}], "
            "revenue_shares: [{id: share, rate: 0.1, charges: [fee, setup]}], cap: 20, minimum: 3, "
            "discount: {rate: 0.1, threshold: 5, mode: EXCESS}, "
            "credits: [{id: credit, amount: 7, start_date: 2023-02-01, end_date: 2023-03-01}]",
            [
                ("end_date", "", "2024-01-01"),
                ("currency", "", "EUR"),
                ("payment_term_days", "", "30"),
                ('fixed_fees["fee"].amount', "", "10"),
                ('fixed_fees["fee"].timing', "", "IN_ADVANCE"),
                ('fixed_fees["fee"].frequency', "", "{basis: CALENDAR, interval: 1, unit: YEAR}"),
                ('fixed_fees["fee"].start_date', "", "2023-02-01"),
                ('fixed_fees["fee"].end_date', "", "2023-03-01"),
                ('fixed_fees["fee"].prorate', "", "true"),
                ('fixed_fees["setup"].amount', "", "5"),
                ('fixed_fees["setup"].timing', "", "IN_ARREARS"),
                ('fixed_fees["setup"].once', "", "true"),
                ('revenue_shares["share"].rate', "", "0.1"),
                ('revenue_shares["share"].charges', "", "fee, setup"),
                ("discount.rate", "", "0.1"),
                ("discount.threshold", "", "5"),
                ("discount.mode", "", "EXCESS"),
                ("cap", "", "20"),
                ("minimum", "", "3"),
                ('credits["credit"].amount', "", "7"),
                ('credits["credit"].start_date', "", "2023-02-01"),
                ('credits["credit"].end_date', "", "2023-03-01"),
                ("prorate", "", "true"),
                ("auto_renewal", "", "true"),
                ("override_underlying", "", "true"),
            ],
        ),
        (
            "product_contracts: [{plan: cards_2023}]",
            "sub_contracts: [{id: sub, product_contracts: [{id: bank_2023/cards_2023, plan: cards_2023}]}]",
            [
                ('sub_contracts["sub"].customer', "", "bank"),
                ('sub_contracts["sub"].time_zone', "", "Europe/Amsterdam"),
                ('sub_contracts["sub"].start_date', "", "2023-01-01"),
                ('sub_contracts["sub"].billing_frequency', "", "{basis: CALENDAR, interval: 1, unit: MONTH}"),
                ('sub_contracts["sub"].product_contracts["bank_2023/cards_2023"].plan', "", "cards_2023"),
                ('product_contracts["bank_2023/cards_2023"].plan', "cards_2023", ""),
            ],
        ),
    ],
)
def test_objects(old, new, fields):
    base = catalog()
    later = catalog(CARDS.replace(old, new), base)
    (found,) = catalog_differences(base, later)
    assert found.change is Change.CHANGED
    assert [(each.path, each.before, each.after) for each in found.fields] == fields


def test_a_removed_object_has_no_fields():
    later = apply_change(catalog(), CatalogChange(remove=CatalogIds(taxes=("nl",))))
    assert catalog_differences(catalog(), later) == (ObjectDifference("taxes", "nl", Change.REMOVED),)
