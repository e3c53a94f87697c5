"""What differs between two versions of a catalogue, for people: objects, and their fields as a catalogue file names
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum

from tallybook_engine.catalog.change import KINDS
from tallybook_engine.catalog.model import (
    Catalog,
    CatalogObject,
    Contract,
    Credit,
    Customer,
    FixedFee,
    Frequency,
    Matrix,
    Meter,
    Plan,
    Product,
    ProductContract,
    Tax,
)
from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.determinants.configuration import (
    ChannelClassifier,
    Datasource,
    HolidayCalendar,
    TimesliceGroup,
)
from tallybook_engine.determinants.quality import QualityTable
from tallybook_engine.pricing.model import (
    Graduated,
    NoPrice,
    Package,
    PerUnit,
    Price,
    Stairstep,
    Tier,
    Volume,
)


class Change(Enum):
    """What happened to an object."""

    ADDED = "ADDED"
    CHANGED = "CHANGED"
    REMOVED = "REMOVED"


@dataclass(frozen=True)
class FieldDifference:
    """One field that differs."""

    path: str
    """Path within the object: `graduated.tiers[0].up_to`."""
    before: str
    """As a catalogue file writes it; empty where the field was absent."""
    after: str
    """As a catalogue file writes it; empty where the field is absent now."""


@dataclass(frozen=True)
class ObjectDifference:
    """One object that differs."""

    kind: str
    """One of KINDS."""
    id: str
    change: Change
    fields: tuple[FieldDifference, ...] = ()
    """Only for CHANGED."""


def catalog_differences(before: Catalog, after: Catalog) -> tuple[ObjectDifference, ...]:
    """Every object that differs, kind by kind: those of `after` in its order, then those that are gone."""
    return tuple(
        each for kind in KINDS for each in _kind_differences(kind, getattr(before, kind), getattr(after, kind))
    )


def _kind_differences(
    kind: str, before: Mapping[str, CatalogObject], after: Mapping[str, CatalogObject]
) -> Iterator[ObjectDifference]:
    if before is after:
        return
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            yield ObjectDifference(kind, name, Change.ADDED)
        elif old != new:
            yield ObjectDifference(kind, name, Change.CHANGED, _field_differences(old, new))
    for name in before:
        if name not in after:
            yield ObjectDifference(kind, name, Change.REMOVED)


def _field_differences(old: CatalogObject, new: CatalogObject) -> tuple[FieldDifference, ...]:
    before, after = dict(_fields(old)), dict(_fields(new))
    paths = dict.fromkeys((*after, *before))
    return tuple(
        FieldDifference(path, before.get(path, ""), after.get(path, ""))
        for path in paths
        if before.get(path) != after.get(path)
    )


def _fields(each: CatalogObject) -> Iterator[tuple[str, str]]:
    """(path, text) of every field that is there."""
    match each:
        case Tax():
            yield from _words(country_code=each.country_code, rate=_text(each.rate), mode=each.mode.value)
        case Meter():
            yield from _words(reference=each.reference, values=", ".join(each.values))
            yield from _words(properties=", ".join(each.properties), allow_negative=_flag(each.allow_negative))
        case Product():
            source = each.determinant
            named = {"meter": each.meter, "value": each.value or ""} if source is None else {}
            yield from _words(reference=each.reference, aggregation=each.aggregation.value, **named)
            yield from _words(filter=_match(each.filter))
            if source is not None:
                words = _words(
                    classifier=source.classifier,
                    kind=source.kind.value,
                    slice=source.slice or "",
                    demand=source.demand or "",
                    timeslice_group=source.timeslice_group or "",
                    as_power=_flag(source.as_power),
                )
                yield from _below("determinant", words)
        case Plan():
            yield from _words(product=each.product, currency=each.currency, rounding=each.rounding.value)
            yield from _plan_price(each.price)
        case Customer():
            yield from _words(reference=each.reference, name=each.name, country_code=each.country_code)
        case Contract():
            yield from _contract(each)
        case QualityTable():
            for index, status in enumerate(each.statuses):
                words = _words(
                    name=status.name,
                    is_billable=_flag(status.is_billable),
                    has_value="true" if status.has_value else "false",
                )
                yield from _below(f"statuses[{index}]", words)
        case HolidayCalendar():
            yield from _words(version=str(each.version), valid_from_date=_date(each.valid_from))
            yield from _words(valid_to_date=_date(each.valid_to))
            for day in sorted(each.dates):
                yield f'dates["{day}"]', str(day)
        case TimesliceGroup():
            yield from _timeslice_group(each)
        case ChannelClassifier():
            yield from _classifier(each)
        case Datasource():
            yield from _datasource(each)


def _timeslice_group(group: TimesliceGroup) -> Iterator[tuple[str, str]]:
    for index, each in enumerate(group.intervals):
        words = _words(
            slice=each.channel,
            days=each.days.value,
            start_time_of_day=_time_of_day(each.start_minute),
            end_time_of_day=_time_of_day(each.end_minute),
            is_dst="" if each.is_dst is None else str(each.is_dst).lower(),
            months=", ".join(map(str, each.months)),
        )
        yield from _below(f"intervals[{index}]", words)


def _classifier(each: ChannelClassifier) -> Iterator[tuple[str, str]]:
    yield from _words(unit=each.unit, decimal_places=str(each.decimal_places))
    yield from _words(label=each.label.value, kind=each.kind.value)
    yield from _words(interval="" if each.interval_us is None else _seconds(each.interval_us))
    yield from _words(dial_digits="" if each.dial_digits is None else str(each.dial_digits))
    for index, named in enumerate(each.reading_types):
        words = _words(
            ref=named.ref,
            kind=named.kind.value,
            timeslice_group=named.timeslice_group or "",
            as_power=_flag(named.as_power),
        )
        yield from _below(f"reading_types[{index}]", words)


def _datasource(each: Datasource) -> Iterator[tuple[str, str]]:
    for channel in each.channels:
        yield f'channels["{channel.name}"].classifier', channel.classifier
    tolerance = _seconds(each.register_tolerance_us) if each.register_tolerance_us else ""
    yield from _words(
        holiday_calendar=each.holiday_calendar or "",
        quality_table=each.quality_table or "",
        register_tolerance=tolerance,
        customer=each.customer or "",
        contract_id=each.contract_id or "",
        time_zone=each.time_zone or "",
    )


def _date(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _time_of_day(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _seconds(length_us: int) -> str:
    return f"{format_decimal(length_us, 6)}s"


def _plan_price(price: Price | Matrix) -> Iterator[tuple[str, str]]:
    if isinstance(price, Price):
        yield from _price(price)
        return
    yield "matrix.rules", ", ".join(rule.id for rule in price.rules)
    for rule in price.rules:
        here = f'matrix.rules["{rule.id}"]'
        yield from _below(here, _words(match=_match(rule.match)))
        yield from _below(here, _price(rule.price))


def _price(price: Price) -> Iterator[tuple[str, str]]:
    match price.model:
        case NoPrice():
            yield "none", "{}"
        case PerUnit(unit_price):
            yield "per_unit.unit_price", _text(unit_price)
        case Graduated(tiers):
            yield from _below("graduated", _tiers(tiers))
        case Volume(tiers):
            yield from _below("volume", _tiers(tiers))
        case Stairstep(tiers):
            yield from _below("stairstep", _tiers(tiers))
        case Package(size, amount, rounding):
            yield from _below("package", _words(size=_text(size), amount=_text(amount), rounding=rounding.value))
    if price.included is not None:
        included = _words(
            quantity=_text(price.included.quantity),
            mode=price.included.mode.value,
            prorate=_flag(price.included.prorate),
        )
        yield from _below("included_quantity", included)
    yield from _words(minimum=_text(price.minimum), cap=_text(price.cap), zero_usage=_flag(price.zero_usage))
    if price.conversion is not None:
        conversion = price.conversion
        yield from _below(
            "conversion",
            _words(
                divide_by=_text(conversion.divisor),
                multiply_by=_text(conversion.factor),
                decimal_places=str(conversion.rounding_places),
                rounding=conversion.rounding.value,
            ),
        )


def _tiers(tiers: tuple[Tier, ...]) -> Iterator[tuple[str, str]]:
    for index, tier in enumerate(tiers):
        words = _words(up_to=_text(tier.up_to), unit_price=_text(tier.unit_price), flat_fee=_text(tier.flat_fee))
        yield from _below(f"tiers[{index}]", words)


def _contract(contract: Contract) -> Iterator[tuple[str, str]]:
    for path in contract.levels():
        # What is listed is named by its id alone, however deep it lies.
        first = next((at for at in range(len(path) - 1, 0, -1) if path[at].listed), 1)
        prefix = "".join(f'sub_contracts["{each.id}"].' for each in path[first:])
        yield from ((f"{prefix}{name}", text) for name, text in _level(path[-1], path[-2].id if path[1:] else ""))


def _level(contract: Contract, parent: str) -> Iterator[tuple[str, str]]:
    """The fields of one contract, without those of the contracts below it."""
    yield from _words(
        parent=parent if contract.listed else "",
        customer=contract.customer,
        time_zone=contract.time_zone,
        start_date=contract.start_date.isoformat(),
        end_date=_date(contract.end_date),
        billing_frequency=_frequency(contract.billing_frequency),
        currency=contract.currency or "",
        payment_term_days=str(contract.payment_term_days or ""),
    )
    for each in contract.product_contracts:
        yield from _below(f'product_contracts["{each.id}"]', _product_contract(each))
    for fee in contract.fixed_fees:
        yield from _below(f'fixed_fees["{fee.id}"]', _fixed_fee(fee))
    for share in contract.revenue_shares:
        words = _words(rate=_text(share.rate), charges=", ".join(share.charges))
        yield from _below(f'revenue_shares["{share.id}"]', words)
    if contract.discount is not None:
        rule = contract.discount
        words = _words(rate=_text(rule.rate), threshold=_text(rule.threshold), mode=rule.mode.value)
        yield from _below("discount", words)
    yield from _words(cap=_text(contract.cap), minimum=_text(contract.minimum))
    for credit in contract.credits:
        yield from _below(f'credits["{credit.id}"]', _credit(credit))
    yield from _words(
        prorate=_flag(contract.prorate),
        auto_renewal=_flag(contract.auto_renewal),
        override_underlying=_flag(contract.override_underlying),
    )


def _fixed_fee(fee: FixedFee) -> Iterator[tuple[str, str]]:
    return _words(
        amount=_text(fee.amount),
        timing=fee.timing.value,
        once=_flag(fee.once),
        per_term=_flag(fee.per_term),
        frequency=_frequency(fee.frequency) if fee.frequency else "",
        start_date=_date(fee.start_date),
        end_date=_date(fee.end_date),
        prorate=_flag(fee.prorate),
    )


def _credit(credit: Credit) -> Iterator[tuple[str, str]]:
    return _words(amount=_text(credit.amount), start_date=_date(credit.start_date), end_date=_date(credit.end_date))


def _product_contract(each: ProductContract) -> Iterator[tuple[str, str]]:
    return _words(
        plan=each.plan,
        accumulation_period=_frequency(each.accumulation_period) if each.accumulation_period else "",
        start_date=_date(each.start_date),
        end_date=_date(each.end_date),
        shared=_flag(each.shared),
    )


def _frequency(frequency: Frequency) -> str:
    return f"{{basis: {frequency.basis.value}, interval: {frequency.interval}, unit: {frequency.unit.value}}}"


def _match(match: tuple[tuple[str, str], ...]) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in match) + "}" if match else ""


def _words(**fields: str) -> Iterator[tuple[str, str]]:
    return ((path, text) for path, text in fields.items() if text)


def _below(path: str, fields: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((f"{path}.{name}", text) for name, text in fields)


def _flag(flag: bool) -> str:
    return "true" if flag else ""


def _text(scaled: int | None) -> str:
    return "" if scaled is None else format_decimal(scaled, QUANTITY_SCALE)
