"""What a catalogue says of one datasource."""

from __future__ import annotations

from tallybook_engine.catalog.model import Catalog
from tallybook_engine.determinants.quality import DEFAULT_QUALITY
from tallybook_engine.determinants.request import BillingConfiguration


def billing_configuration(catalog: Catalog, datasource_id: str) -> BillingConfiguration:
    """What it takes to compute determinants of a datasource, of a catalogue that holds together.

    Time in the number of the datasource's channels; everything else is the catalogue's own. KeyError where it has no
    such datasource.
    """
    source = catalog.datasources[datasource_id]
    calendar, table = source.holiday_calendar, source.quality_table
    return BillingConfiguration(
        classifiers={each.name: catalog.channel_classifiers[each.classifier] for each in source.channels},
        timeslice_groups=catalog.timeslice_groups,
        holiday_calendar=None if calendar is None else catalog.holiday_calendars[calendar],
        quality=DEFAULT_QUALITY if table is None else catalog.quality_tables[table],
        register_tolerance_us=source.register_tolerance_us,
        catalog_version=catalog.version,
    )


def determinant_customers(catalog: Catalog) -> frozenset[str]:
    """Ids of the customers that have a plan for a product that is made of a determinant."""
    products = {each.id for each in catalog.products.values() if each.determinant is not None}
    plans = {each.id for each in catalog.plans.values() if each.product in products}
    if not plans:
        return frozenset()
    return frozenset(
        root.customer
        for root in catalog.contracts.values()
        if any(each.plan in plans for path in root.levels() for each in path[-1].product_contracts)
    )
