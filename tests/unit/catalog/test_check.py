"""Each rule of a catalogue, with the fault that breaks it and what is still fine."""

from dataclasses import replace

import pytest
from tests.support.catalog_files import CARDS, EVERYTHING, catalog, faults

from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.diff import catalog_differences
from tallybook_engine.catalog.faults import CatalogInvalidError, Faults
from tallybook_engine.catalog.versions import apply_change
from tallybook_server.codec.catalog import read_objects, write_objects

PRICE = "per_unit: {unit_price: 0.07}"
PRODUCT_CONTRACTS = "product_contracts: [{plan: cards_2023}]"


def cards(old: str = "", new: str = "", more: str = "") -> str:
    """The catalogue of cards with one thing replaced, and more at its end."""
    assert old in CARDS
    return CARDS.replace(old, new, 1) + more


def priced(price: str) -> str:
    return cards(PRICE, price)


def sold(product_contracts: str) -> str:
    return cards(PRODUCT_CONTRACTS, product_contracts)


def messages(text: str) -> list[str]:
    """Faults without the file's name and line."""
    return [fault.split(": ", 1)[1] for fault in faults(text)]


TIERS = {
    "gap": (
        "[{starts_at: 0, up_to: 100, unit_price: 1}, {starts_at: 102, unit_price: 2}]",
        "tiers[1].starts_at: is 102: leaves a gap after the tier before, which ends at 100",
    ),
    "overlap": (
        "[{starts_at: 0, up_to: 100, unit_price: 1}, {starts_at: 99.5, unit_price: 2}]",
        "tiers[1].starts_at: is 99.5: overlaps the tier before, which ends at 100",
    ),
    "bounds that fall": (
        "[{up_to: 100, unit_price: 1}, {up_to: 50, unit_price: 2}, {unit_price: 3}]",
        "tiers[1].up_to: is 50, not above 100 of the tier before",
    ),
    "bounds that repeat": (
        "[{up_to: 100, unit_price: 1}, {up_to: 100.0, unit_price: 2}, {unit_price: 3}]",
        "tiers[1].up_to: is 100, not above 100 of the tier before",
    ),
    "first tier not at 0": (
        "[{starts_at: 1, up_to: 100, unit_price: 1}, {unit_price: 2}]",
        "tiers[0].starts_at: is 1: the first tier begins at 0",
    ),
    "first tier empty": ("[{up_to: 0, unit_price: 1}, {unit_price: 2}]", "tiers[0].up_to: is 0, not above 0"),
    "first tier negative": ("[{up_to: -5, unit_price: 1}, {unit_price: 2}]", "tiers[0].up_to: is -5, not above 0"),
    "last tier bounded": (
        "[{up_to: 100, unit_price: 1}, {up_to: 200, unit_price: 2}]",
        "tiers[1].up_to: the last tier has no end: leave up_to out",
    ),
    "open tier in the middle": (
        "[{unit_price: 1}, {unit_price: 2}]",
        "tiers[0].up_to: is required in every tier but the last",
    ),
    "no tier": ("[]", "tiers: are required"),
    "tier without a price": (
        "[{up_to: 5, unit_price: 1}, {}]",
        "tiers[1]: has neither unit_price nor flat_fee",
    ),
    "empty bound": (
        '[{up_to: "", unit_price: 1}, {unit_price: 2}]',
        "tiers[0].up_to: is empty: leave it out, or give a number",
    ),
}


@pytest.mark.parametrize("model", ["graduated", "volume"])
@pytest.mark.parametrize(("tiers", "fault"), TIERS.values(), ids=TIERS.keys())
def test_tiers(model, tiers, fault):
    assert messages(priced(f"{model}: {{tiers: {tiers}}}")) == [f"plans[0].{model}.{fault}"]


@pytest.mark.parametrize(
    "tiers",
    [
        "[{unit_price: 1}]",
        "[{flat_fee: 1}]",
        "[{up_to: 0.000000000001, unit_price: -1}, {unit_price: 2}]",
        "[{starts_at: 0, up_to: 100, unit_price: 1}, {starts_at: 100, unit_price: 2}]",
        "[{starts_at: 0, up_to: 100, unit_price: 1}, {starts_at: 101, unit_price: 2}]",
    ],
)
def test_tiers_that_are_fine(tiers):
    assert messages(priced(f"graduated: {{tiers: {tiers}}}")) == []


PRICES = {
    "no price": (
        "",
        "plans[0]: has no price: give one of none, per_unit, graduated, volume, stairstep, package, matrix",
    ),
    "no unit price": ("per_unit: {}", "plans[0].per_unit.unit_price: is required"),
    "two models": (
        "per_unit: {unit_price: 1}, none: {}",
        "plans[0].none: stands beside per_unit, which excludes it",
    ),
    "unit price in a stairstep": (
        "stairstep: {tiers: [{flat_fee: 1, unit_price: 2}]}",
        "plans[0].stairstep.tiers[0].unit_price: has no meaning in a stairstep: give a flat_fee",
    ),
    "band without an amount": (
        "stairstep: {tiers: [{up_to: 5, flat_fee: 1}, {}]}",
        "plans[0].stairstep.tiers[1].flat_fee: is required",
    ),
    "gap in a stairstep": (
        "stairstep: {tiers: [{starts_at: 0, up_to: 5, flat_fee: 1}, {starts_at: 7, flat_fee: 2}]}",
        "plans[0].stairstep.tiers[1].starts_at: is 7: leaves a gap after the tier before, which ends at 5",
    ),
    "package of nothing": ("package: {size: 0, amount: 1}", "plans[0].package.size: is not above 0"),
    "package of less": ("package: {size: -1, amount: 1}", "plans[0].package.size: is not above 0"),
    "package without a size": ("package: {amount: 1}", "plans[0].package.size: is required"),
    "package without a price": ("package: {size: 1}", "plans[0].package.amount: is required"),
    "package rounded otherwise": (
        "package: {size: 1, amount: 1, rounding: HALF_EVEN}",
        'plans[0].package.rounding: "HALF_EVEN" is none of UP, DOWN',
    ),
    "less than nothing included": (
        f"{PRICE}, included_quantity: {{quantity: -1}}",
        "plans[0].included_quantity.quantity: is below 0",
    ),
    "nothing said of what is included": (
        f"{PRICE}, included_quantity: {{}}",
        "plans[0].included_quantity.quantity: is required",
    ),
    "negative minimum": (f"{PRICE}, minimum: -0.01", "plans[0].minimum: is below 0"),
    "negative cap": (f"{PRICE}, cap: -0.01", "plans[0].cap: is below 0"),
    "cap below the minimum": (f"{PRICE}, minimum: 5, cap: 4.99", "plans[0].cap: is 4.99, below the minimum 5"),
    "minimum of no price": ("none: {}, minimum: 5", "plans[0].minimum: needs a price: the plan's model is none"),
    "conversion of no price": (
        "none: {}, conversion: {divide_by: 5}",
        "plans[0].conversion: needs a price: the plan's model is none",
    ),
    "conversion by nothing": (
        f"{PRICE}, conversion: {{divide_by: 0}}",
        "plans[0].conversion.divide_by: is not above 0",
    ),
    "conversion to less": (
        f"{PRICE}, conversion: {{multiply_by: -2}}",
        "plans[0].conversion.multiply_by: is not above 0",
    ),
    "conversion both ways": (
        f"{PRICE}, conversion: {{multiply_by: 2, divide_by: 2}}",
        "plans[0].conversion.divide_by: stands beside multiply_by, which excludes it",
    ),
    "conversion by what": (f"{PRICE}, conversion: {{}}", "plans[0].conversion: has neither divide_by nor multiply_by"),
    "conversion too fine": (
        f"{PRICE}, conversion: {{divide_by: 2, decimal_places: 13}}",
        "plans[0].conversion.decimal_places: is 13, not from -14 to 12",
    ),
    "conversion too coarse": (
        f"{PRICE}, conversion: {{divide_by: 2, decimal_places: -15}}",
        "plans[0].conversion.decimal_places: is -15, not from -14 to 12",
    ),
    "too large": (
        "per_unit: {unit_price: 1000000000000000}",
        'plans[0].per_unit.unit_price: "1000000000000000" is not below 10^15 in size',
    ),
    "not a number": ("per_unit: {unit_price: NaN}", 'plans[0].per_unit.unit_price: "NaN" is no decimal number'),
    "rounded otherwise": (
        f"{PRICE}, rounding: UP",
        'plans[0].rounding: "UP" is none of HALF_AWAY_FROM_ZERO, HALF_EVEN',
    ),
}


@pytest.mark.parametrize(("price", "fault"), PRICES.values(), ids=PRICES.keys())
def test_prices(price, fault):
    assert messages(priced(price)) == [fault]


@pytest.mark.parametrize(
    "price",
    [
        "none: {}",
        "per_unit: {unit_price: -0.07}",
        "per_unit: {unit_price: 999999999999999.999999999999}",
        f"{PRICE}, minimum: 0, cap: 0",
        f"{PRICE}, minimum: 5, cap: 5, zero_usage: true, rounding: HALF_EVEN",
        f"{PRICE}, included_quantity: {{quantity: 0, mode: FREE_FIRST_TIER}}",
        f"{PRICE}, conversion: {{divide_by: 1000, decimal_places: -14, rounding: UP}}",
        "package: {size: 0.5, amount: -1, rounding: DOWN}",
        "stairstep: {tiers: [{up_to: 5, flat_fee: 1}, {flat_fee: 0}]}",
    ],
)
def test_prices_that_are_fine(price):
    assert messages(priced(price)) == []


RULES = {
    "no rule": ("[]", "rules: are required"),
    "a property that the meter lacks": (
        "[{match: {colour: red}, none: {}}]",
        'rules[0].match.colour: the meter "card_issuing" has no property "colour"',
    ),
    "the same twice": (
        "[{id: a, match: {card_type: Visa}, none: {}}, {id: b, match: {card_type: Visa}, none: {}}]",
        "rules[1].match: never fits: rules[0] takes all of its events",
    ),
    "after the default": (
        "[{none: {}}, {match: {card_type: Visa}, none: {}}]",
        "rules[1].match: never fits: rules[0] takes all of its events",
    ),
    "the same id": (
        "[{id: a, match: {card_type: Visa}, none: {}}, {id: a, none: {}}]",
        'rules[1].id: "a" is the id of rules[0] too',
    ),
    "no price": (
        "[{match: {card_type: Visa}}]",
        "rules[0]: has no price: give one of none, per_unit, graduated, volume, stairstep, package",
    ),
    "tiers": (
        "[{graduated: {tiers: [{up_to: 5, unit_price: 1}]}}]",
        "rules[0].graduated.tiers[0].up_to: the last tier has no end: leave up_to out",
    ),
}


@pytest.mark.parametrize(("rules", "fault"), RULES.values(), ids=RULES.keys())
def test_matrix_rules(rules, fault):
    assert messages(priced(f"matrix: {{rules: {rules}}}")) == [f"plans[0].matrix.{fault}"]


@pytest.mark.parametrize("beside", ["minimum: 1", "cap: 1", "zero_usage: true", "included_quantity: {quantity: 1}"])
def test_what_stands_around_a_price_belongs_to_a_matrixs_rules(beside):
    field = beside.split(":", maxsplit=1)[0]
    assert messages(priced(f"matrix: {{rules: [{{none: {{}}}}]}}, {beside}")) == [
        f"plans[0].{field}: belongs to the rules of the matrix"
    ]


OBJECTS = {
    "rate below 0": ("rate: 0.21", "rate: -0.1", "taxes[0].rate: is below 0"),
    "rate above the limit": ("rate: 0.21", "rate: 1000.1", "taxes[0].rate: is above 1000 (1 is 100 %)"),
    "no rate": (", rate: 0.21", "", "taxes[0].rate: is required"),
    "tax mode": ("rate: 0.21", "rate: 0.21, mode: BOTH", 'taxes[0].mode: "BOTH" is none of EXCLUSIVE, INCLUSIVE'),
    "country": ("NL, rate", "Nl, rate", 'taxes[0].country_code: "Nl" is no ISO 3166-1 code of two capital letters'),
    "no id": ("{id: nl, ", "{", "taxes[0].id: is required"),
    "value twice": ("[card_count]", "[card_count, card_count]", 'meters[0].values[1]: "card_count" is given twice'),
    "property twice": ("[card_type]", "[card_type, card_type]", 'meters[0].properties[1]: "card_type" is given twice'),
    "spaces around a name": (
        "[card_type]",
        '[card_type, " b"]',
        'meters[0].properties[1]: " b" begins or ends with a space',
    ),
    "control character": ("[card_type]", '[card_type, "a\\tb"]', "meters[0].properties[1]: holds a control character"),
    "no meter": ("meter: card_issuing, ", "", "products[0].meter: is required"),
    "unknown meter": ("meter: card_issuing", "meter: cards", 'products[0].meter: no meter "cards"'),
    "no aggregation": ("aggregation: SUM, ", "", "products[0].aggregation: is required: one of SUM, COUNT, MAX"),
    "unknown value": (
        "value: card_count",
        "value: cards",
        'products[0].value: the meter "card_issuing" has no value "cards"',
    ),
    "sum of nothing": (", value: card_count", "", "products[0].value: is required for SUM"),
    "maximum of nothing": ("SUM, value: card_count", "MAX", "products[0].value: is required for MAX"),
    "filter": (
        "value: card_count",
        "value: card_count, filter: {colour: red}",
        'products[0].filter.colour: the meter "card_issuing" has no property "colour"',
    ),
    "unknown product": ("product: cards", "product: kards", 'plans[0].product: no product "kards"'),
    "unknown currency": ("EUR", "eur", 'plans[0].currency: "eur" is no ISO 4217 code'),
    "unknown plan": ("[{plan: cards_2023}]", "[{plan: x}]", 'contracts[0].product_contracts[0].plan: no plan "x"'),
    "no plan": ("[{plan: cards_2023}]", "[{}]", "contracts[0].product_contracts[0].plan: is required"),
    "unknown customer": ("customer: bank", "customer: x", 'contracts[0].customer: no customer "x"'),
    "no customer": ("customer: bank, ", "", "contracts[0].customer: is required"),
    "unknown zone": ("Europe/Amsterdam", "CEST", 'contracts[0].time_zone: no IANA time zone "CEST"'),
    "no zone": ("time_zone: Europe/Amsterdam, ", "", "contracts[0].time_zone: is required"),
    "no start": ("start_date: 2023-01-01,", "", "contracts[0].start_date: is required"),
    "no such day": (
        "2023-01-01",
        "2023-02-29",
        'contracts[0].start_date: "2023-02-29" is no date of the calendar',
    ),
    "no date": ("2023-01-01", "1 January", 'contracts[0].start_date: "1 January" is no date like "2013-01-31"'),
    "start at another time": (
        "2023-01-01",
        "2023-01-01T23:59:59",
        'contracts[0].start_date: "2023-01-01T23:59:59" is no date like "2013-01-31"',
    ),
    "date too early": (
        "2023-01-01",
        "1899-12-31",
        'contracts[0].start_date: "1899-12-31" is not from 1900-01-01 to 2999-12-31',
    ),
    "date too late": (
        "start_date: 2023-01-01",
        "start_date: 2023-01-01, end_date: 3000-01-01",
        'contracts[0].end_date: "3000-01-01" is not from 1900-01-01 to 2999-12-31',
    ),
    "end before the start": (
        "start_date: 2023-01-01",
        "start_date: 2023-01-01, end_date: 2023-01-01",
        "contracts[0].end_date: is 2023-01-01, not after the start 2023-01-01",
    ),
    "interval 0": ("interval: 1", "interval: 0", "contracts[0].billing_frequency.interval: is 0, not from 1 to 1000"),
    "interval -1": (
        "interval: 1",
        "interval: -1",
        "contracts[0].billing_frequency.interval: is -1, not from 1 to 1000",
    ),
    "interval text": (
        "interval: 1",
        "interval: one",
        'contracts[0].billing_frequency.interval: "one" is no whole number of at most 31 bits',
    ),
    "no basis": (
        "basis: CALENDAR, ",
        "",
        "contracts[0].billing_frequency.basis: is required: one of CALENDAR, CONTRACT",
    ),
    "unit": (
        "unit: MONTH",
        "unit: MOON",
        'contracts[0].billing_frequency.unit: "MOON" is none of DAY, WEEK, MONTH, YEAR',
    ),
    "no frequency": (
        "billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}, ",
        "",
        "contracts[0].billing_frequency: is required",
    ),
    "accumulation interval": (
        "{plan: cards_2023}",
        "{plan: cards_2023, accumulation_period: {interval: 0, unit: YEAR}}",
        "contracts[0].product_contracts[0].accumulation_period.interval: is 0, not from 1 to 1000",
    ),
    "product contract begins before its contract": (
        "{plan: cards_2023}",
        "{plan: cards_2023, start_date: 2022-12-31}",
        "contracts[0].product_contracts[0].start_date: is 2022-12-31, before the contract above it starts on "
        "2023-01-01",
    ),
}


@pytest.mark.parametrize(("old", "new", "fault"), OBJECTS.values(), ids=OBJECTS.keys())
def test_objects(old, new, fault):
    # The fault is named, and nothing that only follows from it.
    assert messages(cards(old, new)) == [fault]


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_is_given_once_in_its_kind(kind):
    # Given an object of each kind
    kept = next(iter(getattr(catalog(EVERYTHING), kind).values()))
    # When it is put twice
    found = refused(catalog(EVERYTHING), CatalogChange(CatalogObjects(**{kind: (kept, kept)})))
    # Then the second one is a fault
    assert f'{kind}[1].id: "{kept.id}" is the id of {kind}[0] too' in found


def refused(base, change) -> list[str]:
    with pytest.raises(CatalogInvalidError) as invalid:
        apply_change(base, change)
    return [str(fault) for fault in invalid.value.faults]


class TestReferences:
    def test_defaults_to_the_id(self):
        assert catalog().customers["bank"].reference == "bank"
        assert catalog().meters["card_issuing"].reference == "card_issuing"
        assert catalog().products["cards"].reference == "cards"

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [("customers", ""), ("meters", ""), ("products", ", meter: card_issuing, aggregation: COUNT")],
    )
    def test_is_unique_in_its_kind(self, kind, fields):
        two = f"{kind}: [{{id: a, reference: same{fields}}}, {{id: b, reference: same{fields}}}]"
        fault = f'{kind}[1].reference: "same" is the reference of {kind} "a" too'
        assert [each.split(": ", 1)[1] for each in faults(two, catalog())] == [fault]

    @pytest.mark.parametrize(
        ("kind", "owner", "fields"),
        [
            ("customers", "bank", ""),
            ("meters", "card_issuing", ""),
            ("products", "cards", ", meter: card_issuing, aggregation: COUNT"),
        ],
    )
    def test_may_not_be_that_of_an_object_that_is_there(self, kind, owner, fields):
        found = faults(f"{kind}: [{{id: a, reference: {owner}{fields}}}]", catalog())
        assert found == [f'catalog.yaml:1: {kind}[0].reference: "{owner}" is the reference of {kind} "{owner}" too']

    def test_never_changes(self):
        found = faults("customers: [{id: bank, reference: other}]", catalog())
        assert found == ['catalog.yaml:1: customers[0].reference: is "bank" and never changes']

    def test_may_be_empty_never(self):
        found = faults('customers: [{id: a, reference: ""}]', catalog())
        assert found == ["catalog.yaml:1: customers[0].reference: is required"]


class TestContractTrees:
    SUB = "sub_contracts: [{id: sub, product_contracts: [{id: below, plan: cards_2023}]}]"

    def tree(self, sub_contracts: str) -> str:
        return sold(f"sub_contracts: {sub_contracts}")

    def test_a_sub_contract_has_what_its_parent_has(self):
        root = catalog(sold(self.SUB)).contracts["bank_2023"]
        sub = root.sub_contracts[0]
        assert (sub.customer, sub.time_zone) == (root.customer, root.time_zone)
        assert (sub.start_date, sub.end_date) == (root.start_date, root.end_date)
        assert sub.billing_frequency == root.billing_frequency

    @pytest.mark.parametrize(
        ("sub_contracts", "fault"),
        [
            ("[{id: bank_2023}]", '[0].id: a cycle: "bank_2023" would lie below itself'),
            (
                "[{id: a, sub_contracts: [{id: b, sub_contracts: [{id: a}]}]}]",
                '[0].sub_contracts[0].sub_contracts[0].id: a cycle: "a" would lie below itself',
            ),
            ("[{id: a}, {id: a}]", '[1].id: "a" is an id in contracts[0].sub_contracts[0] too'),
            ("[{}]", "[0].id: is required"),
            ("[{id: a, parent: b}]", '["a"].parent: no contract "b" in the tree'),
            (
                "[{id: a, parent: bank_2023}, {id: b, parent: a, end_date: 2022-01-01}]",
                '["b"].end_date: is 2022-01-01, not after the start 2023-01-01',
            ),
            (
                "[{id: a, sub_contracts: [{id: b, parent: a}]}]",
                "[0].sub_contracts[0].parent: stands only in the sub_contracts of the root contract",
            ),
            ("[{id: a, customer: other}]", '[0].customer: is not "bank": a contract tree has one customer'),
            ("[{id: a, time_zone: X}]", '[0].time_zone: no IANA time zone "X"'),
            (
                "[{id: a, start_date: 2022-12-31}]",
                "[0].start_date: is 2022-12-31, before the contract above it starts on 2023-01-01",
            ),
            (
                "[{id: a, billing_frequency: {basis: CONTRACT, interval: 1001, unit: DAY}}]",
                "[0].billing_frequency.interval: is 1001, not from 1 to 1000",
            ),
        ],
    )
    def test_faults(self, sub_contracts, fault):
        assert messages(self.tree(sub_contracts)) == [f"contracts[0].sub_contracts{fault}"]

    def test_parents_in_a_circle_are_named(self):
        circle = "[{id: a, parent: c}, {id: b, parent: a}, {id: c, parent: b}, {id: d, parent: c}]"
        assert messages(self.tree(circle)) == [
            'contracts[0].sub_contracts["a"].parent: a cycle: a -> c -> b -> a',
            'contracts[0].sub_contracts["b"].parent: a cycle: b -> a -> c -> b',
            'contracts[0].sub_contracts["c"].parent: a cycle: c -> b -> a -> c',
        ]

    def test_a_root_has_no_parent(self):
        found = messages(cards("start_date: 2023-01-01,", "start_date: 2023-01-01, parent: other,"))
        assert found == ["contracts[0].parent: is of no root contract: list it in the root's sub_contracts"]

    def test_listed_contracts_have_what_their_parents_have(self):
        # Given levels that are listed in any order, one below one that is written within another
        listed = (
            "[{id: c, parent: b}, {id: a, time_zone: UTC, sub_contracts: [{id: b, end_date: 2024-01-01}]}, "
            "{id: e, parent: c}, {id: d, parent: c, sub_contracts: [{id: f}]}]"
        )
        base = catalog(self.tree(listed))
        root = base.contracts["bank_2023"]
        # Then each lies below its parent, and has of it what it leaves out
        paths = ["/".join(each.id for each in path[1:]) for path in root.levels()]
        assert paths == ["", "a", "a/b", "a/b/c", "a/b/c/e", "a/b/c/d", "a/b/c/d/f"]
        deepest = list(root.levels())[-1][-1]
        assert (deepest.time_zone, str(deepest.end_date)) == ("UTC", "2024-01-01")
        # And it is written so that it reads as it was
        written = write_objects(CatalogObjects(contracts=(root,)))
        assert [each.id for each in written.contracts[0].sub_contracts] == ["a", "c", "e", "d"]
        assert read_objects(written, Faults()).contracts == (root,)
        assert catalog(self.tree(listed), base) is base
        # And a change of one of them is named by its id
        other = catalog(self.tree(listed.replace("{id: e,", "{id: e, prorate: true,")), base)
        (difference,) = catalog_differences(base, other)
        assert [each.path for each in difference.fields] == ['sub_contracts["e"].prorate']

    def test_a_sub_contract_ends_with_its_parent_at_the_latest(self):
        ending = self.tree("[{id: a, end_date: 2024-01-02}]").replace(
            "2023-01-01,", "2023-01-01, end_date: 2024-01-01,"
        )
        assert messages(ending) == [
            "contracts[0].sub_contracts[0].end_date: is 2024-01-02, after the contract above it ends on 2024-01-01"
        ]

    def test_a_sub_contract_is_renewed_with_its_parent_unless_it_has_its_own_end(self):
        renewed = "2023-01-01, end_date: 2024-01-01, auto_renewal: true,"
        subs = "[{id: a}, {id: b, end_date: 2023-06-01}, {id: c, auto_renewal: false}, {id: d, end_date: 2026-01-01}]"
        root = catalog(self.tree(subs).replace("2023-01-01,", renewed)).contracts["bank_2023"]
        ends = [(str(each.end_date), each.auto_renewal) for each in root.sub_contracts]
        assert ends == [("2024-01-01", True), ("2023-06-01", False), ("2024-01-01", False), ("2026-01-01", False)]
        assert [each.ends_on and str(each.ends_on) for each in (root, *root.sub_contracts)] == [
            *(None, None, "2023-06-01", "2024-01-01", "2026-01-01"),
        ]

    def test_what_is_renewed_has_an_end_and_is_not_below_what_ends(self):
        found = messages(self.tree("[{id: a}]").replace("2023-01-01,", "2023-01-01, auto_renewal: true,"))
        assert "contracts[0].auto_renewal: needs an end_date at which the contract is renewed" in found
        ending = self.tree("[{id: a, auto_renewal: true}]").replace("2023-01-01,", "2023-01-01, end_date: 2024-01-01,")
        assert messages(ending) == [
            "contracts[0].sub_contracts[0].auto_renewal: has no end, and the contract above it ends on 2024-01-01"
        ]

    def test_accumulation_periods_have_the_basis_of_what_overrides(self):
        sold = "{plan: cards_2023, accumulation_period: {interval: 1, unit: YEAR}}"
        frequency = "billing_frequency: {basis: CONTRACT, interval: 1, unit: MONTH}"
        tree = self.tree(f"[{{id: a, {frequency}, product_contracts: [{sold}]}}]")
        for more, basis in (("", "CONTRACT"), ("override_underlying: true,", "CALENDAR")):
            root = catalog(tree.replace("2023-01-01,", f"2023-01-01, {more}")).contracts["bank_2023"]
            period = root.sub_contracts[0].product_contracts[0].accumulation_period
            assert period is not None
            assert period.basis.value == basis

    def test_one_currency_a_tree(self):
        dollars = "plans:\n  - {id: dollars, product: cards, currency: USD, none: {}}\n"
        tree = sold(
            "product_contracts: [{plan: cards_2023}], sub_contracts: [{id: s, product_contracts: [{plan: dollars}]}]"
        )
        found = messages(tree.replace("plans:\n", dollars))
        assert (
            'contracts[0].sub_contracts[0].product_contracts[0].plan: is in USD, other plans of "bank_2023" are in EUR'
            in found
        )

    def test_ids_are_unique_over_all_trees(self):
        other = (
            "contracts: [{id: other, customer: bank, time_zone: UTC, start_date: 2020-01-01, end_date: 2021-01-01, "
            "billing_frequency: {basis: CONTRACT, interval: 1, unit: DAY}, "
            "product_contracts: [{id: below, plan: cards_2023}], sub_contracts: [{id: sub}]}]"
        )
        assert faults(other, catalog(sold(self.SUB))) == [
            'catalog.yaml:1: contracts[0].product_contracts[0].id: "below" is an id in contracts["bank_2023"] too',
            'catalog.yaml:1: contracts[0].sub_contracts[0].id: "sub" is an id in contracts["bank_2023"] too',
        ]

    def test_a_product_contracts_id_is_made_of_contract_and_plan(self):
        assert catalog().contracts["bank_2023"].product_contracts[0].id == "bank_2023/cards_2023"

    @pytest.mark.parametrize(
        ("written", "end_date"),
        [("2023-12-31", "2023-12-31"), ("2023-12-31T23:59:59", "2024-01-01"), ("2023-12-31 00:00:00", "2023-12-31")],
    )
    def test_an_end_at_the_last_second_is_the_next_day(self, written, end_date):
        text = cards("start_date: 2023-01-01", f"start_date: 2023-01-01, end_date: {written}")
        assert str(catalog(text).contracts["bank_2023"].end_date) == end_date


def test_the_first_of_many_rules_that_forestall_one_is_named():
    rules = (
        "[{match: {b: x}, none: {}}, {match: {a: x}, none: {}}, {match: {a: y}, none: {}}, "
        "{match: {a: x, b: x}, none: {}}, {match: {a: y, b: z}, none: {}}, {match: {b: z}, none: {}}]"
    )
    text = priced(f"matrix: {{rules: {rules}}}").replace("[card_type]", "[a, b]")
    assert messages(text) == [
        "plans[0].matrix.rules[3].match: never fits: rules[0] takes all of its events",
        "plans[0].matrix.rules[4].match: never fits: rules[2] takes all of its events",
    ]


class TestOverlaps:
    """Two product contracts that charge the same events for the same product must both be shared."""

    OVERLAP = (
        'charges for the product "cards" at the same time as contracts[0].product_contracts[0], '
        "and they are not both shared"
    )

    @pytest.mark.parametrize(
        ("first", "second", "is_fine"),
        [
            ("", "", False),
            ("shared: true", "", False),
            ("", "shared: true", False),
            ("shared: true", "shared: true", True),
            ("end_date: 2023-07-01", "start_date: 2023-06-30", False),
            ("end_date: 2023-07-01", "start_date: 2023-07-01", True),
        ],
    )
    def test_in_one_contract(self, first, second, is_fine):
        text = sold(f"product_contracts: [{{id: a, plan: cards_2023, {first}}}, {{id: b, plan: cards_2023, {second}}}]")
        expected = [] if is_fine else [f"contracts[0].product_contracts[1].plan: {self.OVERLAP}"]
        assert messages(text) == expected

    @pytest.mark.parametrize(
        ("contracts", "faulty"),
        [
            # (first day, end, shared) of January 2023, in any order
            ([(1, 31, True), (2, 5, False), (6, 9, False)], [1, 2]),
            ([(1, 5, False), (2, 20, True), (10, 15, True), (19, 25, False)], [1, 3]),
            ([(1, 20, False), (2, 5, True), (6, 7, True), (21, 25, True)], [1, 2]),
            ([(6, 9, True), (5, 6, False), (1, 5, True), (9, 10, False)], []),
        ],
    )
    def test_many(self, contracts, faulty):
        line = "{{id: c{}, plan: cards_2023, start_date: 2023-01-{:02}, end_date: 2023-01-{:02}, shared: {}}}"
        written = ", ".join(
            line.format(index, first, end, str(shared).lower()) for index, (first, end, shared) in enumerate(contracts)
        )
        found = messages(sold(f"product_contracts: [{written}]"))
        assert [fault.split(": ")[0] for fault in found] == [
            f"contracts[0].product_contracts[{index}].plan" for index in faulty
        ]

    def test_another_plan_of_the_same_product(self):
        more = "plans:\n  - {id: other, product: cards, currency: EUR, none: {}}\n"
        text = sold("product_contracts: [{plan: cards_2023}, {plan: other}]").replace("plans:\n", more)
        assert messages(text) == [f"contracts[0].product_contracts[1].plan: {self.OVERLAP}"]

    def test_another_product_of_the_same_meter(self):
        more_products = "products:\n  - {id: count, meter: card_issuing, aggregation: COUNT}\n"
        more_plans = "plans:\n  - {id: other, product: count, currency: EUR, none: {}}\n"
        text = sold("product_contracts: [{plan: cards_2023}, {plan: other}]")
        assert messages(text.replace("products:\n", more_products).replace("plans:\n", more_plans)) == []

    def test_in_another_contract_of_the_customer(self):
        later = CARDS[CARDS.index("contracts:") :].replace("bank_2023", "later").replace("2023-01-01", "2024-01-01")
        assert faults(later, catalog()) == [
            'catalog.yaml:3: contracts[0].product_contracts[0].plan: charges for the product "cards" at the same time '
            'as contracts["bank_2023"].product_contracts[0], and they are not both shared'
        ]

    def test_of_another_customer(self):
        other = CARDS[CARDS.index("customers:") :].replace("bank_2023", "b_2023").replace("bank", "b")
        assert faults(other, catalog()) == []

    def test_contracts_that_follow_each_other(self):
        ending = cards("start_date: 2023-01-01", "start_date: 2023-01-01, end_date: 2024-01-01")
        later = CARDS[CARDS.index("contracts:") :].replace("bank_2023", "later").replace("2023-01-01", "2024-01-01")
        assert faults(later, catalog(ending)) == []


class TestWhatWasThereBefore:
    """A change is judged by the whole catalogue that it makes."""

    @pytest.mark.parametrize(
        ("kind", "name", "fault"),
        [
            ("meters", "card_issuing", 'products["cards"].meter: no meter "card_issuing"'),
            ("products", "cards", 'plans["cards_2023"].product: no product "cards"'),
            ("plans", "cards_2023", 'contracts["bank_2023"].product_contracts[0].plan: no plan "cards_2023"'),
            ("customers", "bank", 'contracts["bank_2023"].customer: no customer "bank"'),
        ],
    )
    def test_what_is_referred_to_stays(self, kind, name, fault):
        assert refused(catalog(), CatalogChange(remove=CatalogIds(**{kind: (name,)}))) == [fault]

    @pytest.mark.parametrize(("kind", "name"), [("taxes", "nl"), ("contracts", "bank_2023")])
    def test_what_is_not_referred_to_goes(self, kind, name):
        removed = apply_change(catalog(), CatalogChange(remove=CatalogIds(**{kind: (name,)})))
        assert name not in getattr(removed, kind)

    def test_what_is_not_there_cannot_go(self):
        assert refused(catalog(), CatalogChange(remove=CatalogIds(plans=("x",)))) == [
            'remove.plans[0]: "x" is not there'
        ]

    def test_what_is_put_cannot_go(self):
        tax = catalog().taxes["nl"]
        both = CatalogChange(CatalogObjects(taxes=(tax,)), CatalogIds(taxes=("nl",)))
        assert refused(catalog(), both) == ['remove.taxes[0]: "nl" is put by the same change']

    def test_a_meter_loses_a_value_in_use(self):
        assert faults("meters: [{id: card_issuing, values: [], properties: []}]", catalog()) == [
            'catalog.yaml:1: products["cards"].value: the meter "card_issuing" has no value "card_count"'
        ]

    def test_a_meter_loses_a_property_in_use(self):
        base = catalog(priced("matrix: {rules: [{match: {card_type: Visa}, none: {}}]}"))
        assert faults("meters: [{id: card_issuing, values: [card_count]}]", base) == [
            'catalog.yaml:1: plans["cards_2023"].matrix.rules[0].match.card_type: '
            'the meter "card_issuing" has no property "card_type"'
        ]

    def test_a_plan_changes_its_currency(self):
        base = catalog(
            cards(PRODUCT_CONTRACTS, "product_contracts: [{plan: cards_2023}, {plan: p2}]")
            .replace("plans:\n", "plans:\n  - {id: p2, product: p2, currency: EUR, none: {}}\n")
            .replace("products:\n", "products:\n  - {id: p2, meter: card_issuing, aggregation: COUNT}\n")
        )
        assert faults("plans: [{id: p2, product: p2, currency: USD, none: {}}]", base) == [
            'catalog.yaml:1: contracts["bank_2023"].product_contracts[1].plan: '
            'is in USD, other plans of "bank_2023" are in EUR'
        ]

    def test_a_plan_changes_its_product(self):
        more = "products:\n  - {id: p2, meter: card_issuing, aggregation: COUNT}\n"
        plan = "plans:\n  - {id: p2, product: p2, currency: EUR, none: {}}\n"
        base = catalog(
            sold("product_contracts: [{plan: cards_2023}, {plan: p2}]")
            .replace("products:\n", more)
            .replace("plans:\n", plan)
        )
        assert faults("plans: [{id: p2, product: cards, currency: EUR, none: {}}]", base) == [
            'catalog.yaml:1: contracts["bank_2023"].product_contracts[1].plan: charges for the product "cards" at the '
            'same time as contracts["bank_2023"].product_contracts[0], and they are not both shared'
        ]

    def test_two_taxes_of_one_country(self):
        assert faults("taxes: [{id: other, country_code: NL, rate: 0.09}]", catalog()) == [
            'catalog.yaml:1: taxes[0].country_code: "NL" has the tax "nl" already'
        ]

    def test_a_tax_takes_the_place_of_another(self):
        replaced = apply_change(
            catalog(),
            CatalogChange(
                CatalogObjects(taxes=(replace(catalog().taxes["nl"], id="nl_2024"),)), CatalogIds(taxes=("nl",))
            ),
        )
        assert list(replaced.taxes) == ["nl_2024"]
