"""Catalogue files: scalars are text, typed by the field; every fault has its line; no file can exhaust the reader."""

import json

import pytest
from google.protobuf import json_format
from tests.support.catalog_files import CARDS, catalog, faults, read

from tallybook.v1 import catalog_pb2
from tallybook_server import catalog_file
from tallybook_server.catalog_file import check_catalog_file, read_message_file


def customer(text: str) -> catalog_pb2.Customer:
    file = read(text)
    assert not file.faults
    return file.message.customers[0]


@pytest.mark.parametrize("scalar", ["{}", "'{}'", '"{}"'])
def test_quotes_never_matter(scalar):
    # Given every scalar of a catalogue in one style of quotes
    q = scalar.format
    text = f"""
    plans:
      - id: {q("010")}
        product: {q("yes")}
        currency: {q("EUR")}
        zero_usage: {q("true")}
        package: {{size: {q("1000")}, amount: {q("2.50")}, rounding: {q("DOWN")}}}
        conversion: {{divide_by: {q("1024")}, decimal_places: {q("-2")}}}
    """
    # Then the message is the same
    plan = catalog_pb2.Plan(id="010", product="yes", currency="EUR", zero_usage=True)
    plan.package.MergeFrom(catalog_pb2.PackagePrice(size="1000", amount="2.50", rounding=catalog_pb2.PackagePrice.DOWN))
    plan.conversion.MergeFrom(catalog_pb2.UnitConversion(divide_by="1024", decimal_places=-2))
    assert read(text).message.plans[0] == plan


@pytest.mark.parametrize(
    "text",
    ["NO", "null", "~", "yes", "1_000", "0x1F", "1e3", "2013-01-01", "12:30:45", ".5", "=", "No, thanks", "1.10"],
)
def test_a_scalar_is_the_text_that_is_written(text):
    assert customer(f"customers: [{{id: a, name: {json.dumps(text)}}}]").name == text
    assert customer(f"customers:\n  - id: a\n    name: {text}\n").name == text


def test_json_is_read_as_the_same_message():
    # Given a catalogue as JSON with original field names, tabs, and letters beyond the Basic Multilingual Plane
    message = read(CARDS).message
    message.customers[0].name = "Bäckerei \U0001f950 \\ud83e"
    text = json_format.MessageToJson(message, preserving_proto_field_name=True, indent=2).replace("  ", "\t")
    assert "\\ud83e\\udd50" in text
    # Then it reads as what it was made of
    file = read(text, "catalog.json")
    assert not file.faults
    assert file.message == message


def test_null_in_json_leaves_a_field_out():
    file = read('{"customers": [{"id": "a", "name": "null", "reference": null}]}', "catalog.json")
    assert not file.faults
    assert not file.message.customers[0].HasField("reference")
    assert file.message.customers[0].name == "null"


@pytest.mark.parametrize("text", ["", "# nothing\n", "plans:\n", "---\n"])
def test_nothing_is_an_empty_catalogue(text):
    file = read(text)
    assert not file.faults
    assert file.message == catalog_pb2.Catalog()


def test_nothing_after_a_colon_is_an_empty_message():
    plan = read("plans:\n  - id: a\n    none:\n").message.plans[0]
    assert plan.WhichOneof("model") == "none"


def test_an_anchor_is_used_again():
    file = read("""
    customers:
      - &one {id: a, name: A}
      - *one
    """)
    assert [each.id for each in file.message.customers] == ["a", "a"]


FILE_FAULTS = {
    "unknown field": (
        "plans:\n  - id: a\n    graduatd: {}\n",
        "3: plans[0].graduatd: Plan has no such field; graduated is meant?",
    ),
    "unknown kind": (
        "zzz: []\n",
        "1: zzz: Catalog has no such field; it has taxes, meters, products, plans, customers, "
        "contracts, quality_tables, holiday_calendars, timeslice_groups, channel_classifiers, datasources",
    ),
    "repeated field": ("taxes:\n  - id: a\n    id: b\n", "2: taxes[0].id: is given twice, again on line 3"),
    "repeated kind": ("taxes: []\nmeters: []\ntaxes: []\n", "1: taxes: is given twice, again on line 3"),
    "repeated property": (
        "products:\n  - filter:\n      a: x\n      a: y\n",
        "3: products[0].filter.a: is given twice, again on line 4",
    ),
    "list for a text": ("taxes:\n  - id: [a]\n", "2: taxes[0].id: is a list, wanted is text"),
    "mapping for a text": ("taxes:\n  - rate: {a: b}\n", "2: taxes[0].rate: is a mapping, wanted is text"),
    "text for a list": ("taxes: none\n", "1: taxes: is text, wanted is a list"),
    "mapping for a list": ("taxes: {id: a}\n", "1: taxes: is a mapping, wanted is a list"),
    "text for a mapping": ("taxes:\n\n  - us\n", "3: taxes[0]: is text, wanted is a mapping"),
    "list in a list of texts": ("meters:\n  - values: [[a]]\n", "2: meters[0].values[0]: is a list, wanted is text"),
    "list for a property": ("products:\n  - filter: {a: [b]}\n", "2: products[0].filter.a: is a list, wanted is text"),
    "name that is a list": ("taxes:\n  - {[a]: b}\n", "2: taxes[0]: a name in it (line 2) is a list, wanted is text"),
    "root that is a list": ("- taxes\n", "1: is a list, wanted is a mapping"),
    "flag": ("meters:\n  - allow_negative: yes\n", '2: meters[0].allow_negative: "yes" is neither true nor false'),
    "zero of an enum": (
        "taxes:\n  - mode: MODE_UNSPECIFIED\n",
        '2: taxes[0].mode: "MODE_UNSPECIFIED" is none of EXCLUSIVE, INCLUSIVE',
    ),
    "two documents": ("taxes: []\n---\ntaxes: []\n", "2: a second document begins: a file has one"),
    "broken": ("taxes: [\n", "2: is not YAML: did not find expected node content"),
    "tab": ("taxes:\n\t- id: a\n", "2: is not YAML: found character that cannot start any token"),
    "control character": (
        "taxes: \x00\n",
        "1: is not YAML: unacceptable character #x0000: control characters are not allowed",
    ),
    "anchor of nothing": ("taxes: *a\n", "1: *a names nothing before it, or what it lies in (a cycle)"),
    "cycle": (
        "contracts:\n  - &a\n    id: a\n    sub_contracts: [*a]\n",
        "4: *a names nothing before it, or what it lies in (a cycle)",
    ),
}


@pytest.mark.parametrize(("text", "fault"), FILE_FAULTS.values(), ids=FILE_FAULTS.keys())
def test_a_fault_has_its_line_and_path(text, fault):
    file = read(text)
    assert [file.located(each) for each in file.faults] == [f"catalog.yaml:{fault}"]


def test_a_missing_field_has_the_line_of_what_it_is_missing_in():
    assert faults("taxes:\n\n  - id: a\n    country_code: NL\n") == ["catalog.yaml:3: taxes[0].rate: is required"]


def test_a_file_is_judged_by_what_it_is_put_on_and_what_goes():
    plan = read("plans: [{id: more, product: cards, currency: EUR, per_unit: {unit_price: x}}]\n")
    price = 'catalog.yaml:1: plans[0].per_unit.unit_price: "x" is no decimal number'
    product = 'catalog.yaml:1: plans[0].product: no product "cards"'
    remove = catalog_pb2.CatalogIds(taxes=["none"])
    # Given nothing, then the product is missing; given the catalogue, it is there, unless it is pruned
    assert check_catalog_file(plan) == (price, product)
    assert check_catalog_file(plan, catalog()) == (price,)
    assert check_catalog_file(plan, catalog(), prune=True) == (price, product)
    assert check_catalog_file(plan, catalog(), remove) == (
        price,
        'catalog.yaml:1: remove.taxes[0]: "none" is not there',
    )


def test_bytes_that_are_no_text():
    file = read_message_file("catalog.yaml", b"taxes: []\n# \xff\n", catalog_pb2.Catalog)
    assert file.located(file.faults[0]) == "catalog.yaml:2: is not UTF-8: invalid start byte"


def test_broken_json():
    file = read('{"taxes": [\n{"id": "a",}]}', "catalog.json")
    # The sentence after it is the interpreter's own, and differs between its versions.
    assert file.located(file.faults[0]).startswith("catalog.json:2: is not JSON: ")
    assert len(file.faults) == 1


@pytest.mark.parametrize("name", ["catalog.yaml", "catalog.json"])
def test_a_file_is_so_deep_and_no_deeper(name):
    def nested(levels: int) -> str:
        return '{"x": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    fine, deep = read(nested(catalog_file.DEPTH_MAX), name), read(nested(catalog_file.DEPTH_MAX + 1), name)
    assert fine.faults[0].path == "x"
    assert deep.located(deep.faults[0]) == f"{name}:1: is more than 64 levels deep"
    assert read(nested(100_000), name).faults[0].message.endswith("more than 64 levels deep")


def test_anchors_of_anchors_end_the_reading(monkeypatch):
    # Given a file of a few lines that stands for 10^8 scalars
    lines = ["meters:", "  - &v0 {id: a, values: [" + ", ".join("abcdefghij") + "]}"]
    bomb = "\n".join(lines) + "\ncontracts:\n  - &c0 {id: c, product_contracts: [{id: p, plan: x}]}\n"
    for level in range(1, 9):
        bomb += f"  - &c{level} {{id: c, sub_contracts: [{', '.join([f'*c{level - 1}'] * 10)}]}}\n"
    monkeypatch.setattr(catalog_file, "NODES_MAX", 10_000)
    # Then reading stops at the limit
    assert any(each.message == "has more than 10000 nodes" for each in read(bomb).faults)
