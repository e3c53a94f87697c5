"""Whether a catalogue holds together: all faults at once, each with its path.

Checked are the objects that a change puts and, of those that were there, the ones that refer to what it puts or
removes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog import limits
from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogObjects
from tallybook_engine.catalog.check_contract import check_contracts, is_for_the_same
from tallybook_engine.catalog.check_metering import (
    check_classifier,
    check_datasources,
    check_determinant,
    check_determinant_names,
    check_quality_table,
    check_timeslice_group,
)
from tallybook_engine.catalog.check_names import check_name, check_names
from tallybook_engine.catalog.check_price import check_matrix, check_price
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import (
    Aggregation,
    Catalog,
    CatalogObject,
    Contract,
    Customer,
    Matrix,
    Meter,
    Plan,
    Product,
    Tax,
)
from tallybook_engine.currencies import is_currency
from tallybook_engine.decimals import UNIT
from tallybook_engine.determinants.configuration import ChannelClassifier, Datasource, TimesliceGroup
from tallybook_engine.determinants.quality import QualityTable

_COUNTRY_CODE = re.compile(r"[A-Z]{2}")

Kind = TypeVar("Kind", bound=CatalogObject)
Referenced = TypeVar("Referenced", Meter, Product, Customer)


def check(base: Catalog, catalog: Catalog, change: CatalogChange, faults: Faults, go_on: GoOn = unasked) -> None:
    """Adds to `faults` what is wrong with `catalog`, which is `base` after `change`.

    Faults found while reading the change are in `faults` already: what they make unknown is not judged.
    """
    _check_ids(base, catalog, change, faults, go_on)
    _check_references(base, catalog, change, faults)
    places = _Places(base, catalog, change, go_on)
    for path, tax in places.of("taxes", Tax):
        _check_tax(catalog, path, tax, faults)
    for path, meter in asking(places.of("meters", Meter), go_on):
        _check_meter(path, meter, faults)
    check_determinant_names(catalog, change, faults)
    for path, product in asking(places.of("products", Product), go_on):
        _check_product(catalog, path, product, faults)
    for path, plan in asking(places.of("plans", Plan), go_on):
        _check_plan(catalog, path, plan, faults)
    for path, customer in asking(places.of("customers", Customer), go_on):
        _check_customer(path, customer, faults)
    check_contracts(base, catalog, change, places.of("contracts", Contract), faults, go_on)
    _check_metering(catalog, places, faults, go_on)


def check_metering(catalog: Catalog, put: CatalogObjects, faults: Faults) -> None:
    """Adds to `faults` what is wrong with objects about meters that a request brings and `catalog` has already."""
    _check_given_once(Catalog(), put, faults, unasked)
    _check_metering(catalog, _Places(catalog, catalog, CatalogChange(put), unasked), faults, unasked)


def _check_metering(catalog: Catalog, places: _Places, faults: Faults, go_on: GoOn) -> None:
    for path, table in places.of("quality_tables", QualityTable):
        check_quality_table(path, table, faults)
    for path, group in places.of("timeslice_groups", TimesliceGroup):
        check_timeslice_group(path, group, faults)
    for path, classifier in places.of("channel_classifiers", ChannelClassifier):
        check_classifier(catalog, path, classifier, faults)
    go_on()
    check_datasources(catalog, places.of("datasources", Datasource), faults)


class _Places:
    """The objects to check, kind by kind, each with the path that it goes by."""

    def __init__(self, base: Catalog, catalog: Catalog, change: CatalogChange, go_on: GoOn) -> None:
        self._places: dict[str, list[tuple[str, CatalogObject]]] = {kind: [] for kind in KINDS}
        touched = {kind: set(change.remove.of_kind(kind)) for kind in KINDS}
        for kind in KINDS:
            put = change.put.of_kind(kind)
            self._places[kind] += [(f"{kind}[{index}]", each) for index, each in enumerate(asking(put, go_on))]
            touched[kind].update([each.id for each in put])
        if change.prune:
            # What is left was put, so it is checked anyway.
            return
        for product in catalog.products.values() if touched["meters"] else ():
            if product.meter in touched["meters"]:
                self._add("products", product, touched)
        for plan in catalog.plans.values() if touched["products"] else ():
            if plan.product in touched["products"]:
                self._add("plans", plan, touched)
        # A contract asks of a plan what it is for, not what it costs.
        other = {
            name for name in touched["plans"] if not is_for_the_same(base.plans.get(name), catalog.plans.get(name))
        }
        for contract in asking(catalog.contracts.values() if other or change.remove.customers else (), go_on):
            plans = {each.plan for path in contract.levels() for each in path[-1].product_contracts}
            if not plans.isdisjoint(other) or contract.customer in change.remove.customers:
                self._add("contracts", contract, touched)
        self._add_metering(catalog, change, touched)

    def _add_metering(self, catalog: Catalog, change: CatalogChange, touched: Mapping[str, set[str]]) -> None:
        """What refers to objects that are gone; a datasource's contract may also have become another customer's, and a
        product's determinant another kind's, or of a slice that there is no more.
        """
        gone = {kind: set(change.remove.of_kind(kind)) for kind in KINDS}
        classifiers, groups = touched["channel_classifiers"], touched["timeslice_groups"]
        for product in catalog.products.values() if classifiers or groups else ():
            made_of = product.determinant
            if made_of is not None and (made_of.classifier in classifiers or made_of.timeslice_group in groups):
                self._add("products", product, touched)
        for classifier in catalog.channel_classifiers.values() if gone["timeslice_groups"] else ():
            if any(each.timeslice_group in gone["timeslice_groups"] for each in classifier.reading_types):
                self._add("channel_classifiers", classifier, touched)
        named = any(gone[kind] for kind in ("customers", "quality_tables", "holiday_calendars", "channel_classifiers"))
        contracts_changed = bool(change.put.contracts or change.remove.contracts)
        for source in catalog.datasources.values() if named or contracts_changed else ():
            if (
                (contracts_changed and source.contract_id is not None)
                or source.customer in gone["customers"]
                or source.quality_table in gone["quality_tables"]
                or source.holiday_calendar in gone["holiday_calendars"]
                or any(each.classifier in gone["channel_classifiers"] for each in source.channels)
            ):
                self._add("datasources", source, touched)

    def _add(self, kind: str, each: CatalogObject, touched: Mapping[str, set[str]]) -> None:
        if each.id not in touched[kind]:
            touched[kind].add(each.id)
            self._places[kind].append((f'{kind}["{each.id}"]', each))

    def of(self, kind: str, type_of_kind: type[Kind]) -> list[tuple[str, Kind]]:
        """(path, object) of one kind."""
        return [(path, each) for path, each in self._places[kind] if isinstance(each, type_of_kind)]


def _check_ids(base: Catalog, catalog: Catalog, change: CatalogChange, faults: Faults, go_on: GoOn) -> None:
    _check_given_once(base, change.put, faults, go_on)
    for kind in KINDS:
        if len(getattr(catalog, kind)) > limits.OBJECTS_MAX:
            faults.add(kind, f"more than {limits.OBJECTS_MAX} of them")


def _check_given_once(base: Catalog, put: CatalogObjects, faults: Faults, go_on: GoOn) -> None:
    """Ids are names, and of each kind each is given once. Those of `base` are known to be names."""
    for kind in KINDS:
        known, first_at = getattr(base, kind), dict[str, int]()
        for index, each in enumerate(asking(put.of_kind(kind), go_on)):
            if each.id not in known:
                check_name(f"{kind}[{index}].id", each.id, faults)
            first = first_at.setdefault(each.id, index)
            if first != index:
                faults.add(f"{kind}[{index}].id", f'"{each.id}" is the id of {kind}[{first}] too')


def _check_references(base: Catalog, catalog: Catalog, change: CatalogChange, faults: Faults) -> None:
    """References are unique within their kind and never change."""
    _check_kind_references("meters", base.meters, catalog.meters, change.put.meters, faults)
    _check_kind_references("products", base.products, catalog.products, change.put.products, faults)
    _check_kind_references("customers", base.customers, catalog.customers, change.put.customers, faults)


def _check_kind_references(
    kind: str,
    before: Mapping[str, Referenced],
    after: Mapping[str, Referenced],
    put: tuple[Referenced, ...],
    faults: Faults,
) -> None:
    put_ids = {each.id for each in put}
    owners = {each.reference: each.id for each in after.values() if each.id not in put_ids} if put else {}
    for index, each in enumerate(put):
        path = f"{kind}[{index}].reference"
        if each.reference != each.id:
            check_name(path, each.reference, faults)
        owner = owners.setdefault(each.reference, each.id)
        if owner != each.id:
            faults.add(path, f'"{each.reference}" is the reference of {kind} "{owner}" too')
        elif each.id in before and before[each.id].reference != each.reference:
            faults.add(path, f'is "{before[each.id].reference}" and never changes')


def _check_tax(catalog: Catalog, path: str, tax: Tax, faults: Faults) -> None:
    _check_country(f"{path}.country_code", tax.country_code, faults)
    if tax.rate < 0:
        faults.add(f"{path}.rate", "is below 0")
    elif tax.rate > limits.TAX_RATE_MAX * UNIT:
        faults.add(f"{path}.rate", f"is above {limits.TAX_RATE_MAX} (1 is 100 %)")
    # The first one of a country is fine, the ones after it are not.
    first = next(other for other in catalog.taxes.values() if other.country_code == tax.country_code)
    if first.id != tax.id and not faults.at(f"{path}.country_code"):
        faults.add(f"{path}.country_code", f'"{tax.country_code}" has the tax "{first.id}" already')


def _check_meter(path: str, meter: Meter, faults: Faults) -> None:
    check_names(f"{path}.values", meter.values, limits.METER_VALUES_MAX, faults)
    check_names(f"{path}.properties", meter.properties, limits.METER_PROPERTIES_MAX, faults)


def _check_product(catalog: Catalog, path: str, product: Product, faults: Faults) -> None:
    meter = catalog.meter_of(product)
    if product.determinant is not None:
        check_determinant(catalog, f"{path}.determinant", product.determinant, faults)
    elif meter is None:
        _check_known(f"{path}.meter", "meter", product.meter, faults)
    if product.value is None:
        if product.aggregation is not Aggregation.COUNT and not faults.at(f"{path}.aggregation"):
            faults.add(f"{path}.value", f"is required for {product.aggregation.value}")
    elif meter is not None and product.value not in meter.values:
        faults.add(f"{path}.value", f'the meter "{meter.id}" has no value "{product.value}"')
    _check_properties(f"{path}.filter", product.filter, meter, faults)


def _check_plan(catalog: Catalog, path: str, plan: Plan, faults: Faults) -> None:
    product = catalog.products.get(plan.product)
    if product is None:
        _check_known(f"{path}.product", "product", plan.product, faults)
    if not is_currency(plan.currency):
        faults.add(f"{path}.currency", f'"{plan.currency}" is no ISO 4217 code')
    if not isinstance(plan.price, Matrix):
        check_price(path, plan.price, faults)
        return
    check_matrix(f"{path}.matrix", plan.price, faults)
    meter = None if product is None else catalog.meter_of(product)
    for index, rule in enumerate(plan.price.rules):
        _check_properties(f"{path}.matrix.rules[{index}].match", rule.match, meter, faults)


def _check_customer(path: str, customer: Customer, faults: Faults) -> None:
    if len(customer.name.encode()) > limits.TITLE_BYTES_MAX:
        faults.add(f"{path}.name", f"is longer than {limits.TITLE_BYTES_MAX} bytes")
    if customer.country_code:
        _check_country(f"{path}.country_code", customer.country_code, faults)


def _check_country(path: str, code: str, faults: Faults) -> None:
    if not _COUNTRY_CODE.fullmatch(code):
        faults.add(path, f'"{code}" is no ISO 3166-1 code of two capital letters')


def _check_known(path: str, kind: str, name: str, faults: Faults) -> None:
    faults.add(path, f'no {kind} "{name}"' if name else "is required")


def _check_properties(path: str, match: tuple[tuple[str, str], ...], meter: Meter | None, faults: Faults) -> None:
    for name, text in match:
        if meter is not None and name not in meter.properties:
            faults.add(f"{path}.{name}", f'the meter "{meter.id}" has no property "{name}"')
        elif len(text.encode()) > limits.NAME_BYTES_MAX:
            faults.add(f"{path}.{name}", f"is longer than {limits.NAME_BYTES_MAX} bytes")
