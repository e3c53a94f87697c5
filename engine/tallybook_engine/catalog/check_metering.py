"""Whether what is configured about meters holds together: names, and what refers to what.

What makes no sense by itself cannot be made (`determinants/configuration`). Checked alike are a catalogue and the
configuration that a billing request carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallybook_engine.calendar.zones import UnknownZone, zone
from tallybook_engine.catalog import limits
from tallybook_engine.catalog.change import CatalogChange
from tallybook_engine.catalog.check_names import check_name
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Catalog, DeterminantSource
from tallybook_engine.determinants.configuration import (
    UNCOVERED,
    ChannelClassifier,
    ChannelKind,
    Datasource,
    TimesliceGroup,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.determinants.quality import QualityTable


def check_quality_table(path: str, table: QualityTable, faults: Faults) -> None:
    """Names of statuses."""
    for index, status in enumerate(table.statuses):
        check_name(f"{path}.statuses[{index}].name", status.name, faults)


def check_timeslice_group(path: str, group: TimesliceGroup, faults: Faults) -> None:
    """Names of slices."""
    for index, interval in enumerate(group.intervals):
        check_name(f"{path}.intervals[{index}].slice", interval.channel, faults)


def check_classifier(catalog: Catalog, path: str, classifier: ChannelClassifier, faults: Faults) -> None:
    """Its unit, and the timeslice groups that its reading types name."""
    check_name(f"{path}.unit", classifier.unit, faults)
    for index, each in enumerate(classifier.reading_types):
        if each.timeslice_group is not None and each.timeslice_group not in catalog.timeslice_groups:
            here = f"{path}.reading_types[{index}].timeslice_group"
            faults.add(here, f'no timeslice group "{each.timeslice_group}"')


def check_datasources(catalog: Catalog, places: Sequence[tuple[str, Datasource]], faults: Faults) -> None:
    """Names of channels, and what datasources refer to."""
    owners = _contract_owners(catalog) if any(each.contract_id is not None for _, each in places) else {}
    zones: dict[str, str | None] = {}
    for path, source in places:
        for index, channel in enumerate(source.channels):
            here = f"{path}.channels[{index}]"
            check_name(f"{here}.name", channel.name, faults)
            if channel.classifier not in catalog.channel_classifiers:
                found = f'no channel classifier "{channel.classifier}"' if channel.classifier else "is required"
                faults.add(f"{here}.classifier", found)
        if source.holiday_calendar is not None and source.holiday_calendar not in catalog.holiday_calendars:
            faults.add(f"{path}.holiday_calendar", f'no holiday calendar "{source.holiday_calendar}"')
        if source.quality_table is not None and source.quality_table not in catalog.quality_tables:
            faults.add(f"{path}.quality_table", f'no quality table "{source.quality_table}"')
        if source.time_zone is not None:
            if source.time_zone not in zones:
                zones[source.time_zone] = _zone_fault(source.time_zone)
            if found_zone := zones[source.time_zone]:
                faults.add(f"{path}.time_zone", found_zone)
        _check_usage(catalog, path, source, owners, faults)


def _check_usage(catalog: Catalog, path: str, source: Datasource, owners: Mapping[str, str], faults: Faults) -> None:
    """Who pays, and under which product contract."""
    if source.customer is None:
        return
    if source.customer not in catalog.customers:
        faults.add(f"{path}.customer", f'no customer "{source.customer}"')
    elif source.contract_id is not None and owners.get(source.contract_id) != source.customer:
        found = f'customer "{source.customer}" has no product contract "{source.contract_id}"'
        faults.add(f"{path}.contract_id", found)


def _contract_owners(catalog: Catalog) -> dict[str, str]:
    return {
        each.id: contract.customer
        for contract in catalog.contracts.values()
        for levels in contract.levels()
        for each in levels[-1].product_contracts
    }


def _zone_fault(name: str) -> str | None:
    try:
        zone(name)
    except UnknownZone as error:
        return str(error)
    return None


_REGISTER_KINDS = frozenset({Kind.REGISTER, Kind.REGISTER_DIFFERENCE})


def check_determinant(catalog: Catalog, path: str, source: DeterminantSource, faults: Faults) -> None:
    """What a product says of the determinant that it is made of."""
    classifier = catalog.channel_classifiers.get(source.classifier)
    if classifier is None:
        found = f'no channel classifier "{source.classifier}"' if source.classifier else "is required"
        faults.add(f"{path}.classifier", found)
    elif (source.kind in _REGISTER_KINDS) != (classifier.kind is ChannelKind.REGISTER):
        faults.add(f"{path}.kind", f"{source.kind.value} is not answered for {classifier.kind.value} channels")
    if source.slice is not None:
        check_name(f"{path}.slice", source.slice, faults)
        if source.kind not in (Kind.TIMESLICE, Kind.DEMAND):
            faults.add(f"{path}.slice", f"{source.kind.value} has none")
    elif source.kind is Kind.TIMESLICE:
        faults.add(f"{path}.slice", "is required for TIMESLICE")
    if source.kind is Kind.TIMESLICE:
        _check_slice(catalog, path, source, faults)
    elif source.timeslice_group is not None:
        faults.add(f"{path}.timeslice_group", f"{source.kind.value} has none")
    if source.as_power and source.kind is not Kind.PMAX:
        faults.add(f"{path}.as_power", "only PMAX is answered as power")
    if source.demand is not None:
        check_name(f"{path}.demand", source.demand, faults)
        if source.kind is not Kind.DEMAND:
            faults.add(f"{path}.demand", f"{source.kind.value} has none")
    elif source.kind is Kind.DEMAND:
        faults.add(f"{path}.demand", "is required for DEMAND")
    name = source.meter().id
    if len(name.encode()) > limits.NAME_BYTES_MAX:
        faults.add(path, f"its BILLING channel would have a name of more than {limits.NAME_BYTES_MAX} bytes")


def _check_slice(catalog: Catalog, path: str, source: DeterminantSource, faults: Faults) -> None:
    group = catalog.timeslice_groups.get(source.timeslice_group or "")
    if group is None:
        found = (
            f'no timeslice group "{source.timeslice_group}"' if source.timeslice_group else "is required for TIMESLICE"
        )
        faults.add(f"{path}.timeslice_group", found)
    elif source.slice is not None and source.slice not in (*group.channels(), UNCOVERED):
        faults.add(f"{path}.slice", f'timeslice group "{group.id}" has no slice "{source.slice}"')


def check_determinant_names(catalog: Catalog, change: CatalogChange, faults: Faults) -> None:
    """A determinant's events are of a meter of its BILLING channel's name: nothing else may be named so."""
    if not change.put.products and not change.put.meters:
        return
    sources: dict[str, tuple[str, DeterminantSource]] = {}
    put = {each.id: f"products[{index}]" for index, each in enumerate(change.put.products)}
    references = {each.reference for each in catalog.meters.values()} if change.put.products else set()
    for product in catalog.products.values():
        if product.determinant is None:
            continue
        path = put.get(product.id, f'products["{product.id}"]')
        owner, source = sources.setdefault(product.meter, (path, product.determinant))
        if source != product.determinant:
            here, other = (path, owner) if product.id in put else (owner, path)
            faults.add(f"{here}.determinant", f"{product.meter} is the BILLING channel of another one in {other} too")
        if product.id in put and (product.meter in catalog.meters or product.meter in references):
            faults.add(f"{path}.determinant", f'a meter is named "{product.meter}", as its BILLING channel is')
    for index, meter in enumerate(change.put.meters):
        for field, name in (("id", meter.id), ("reference", meter.reference)):
            if name in sources:
                faults.add(f"meters[{index}].{field}", f"is the BILLING channel of {sources[name][0]}.determinant")
