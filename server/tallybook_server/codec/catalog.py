"""The catalogue between wire and model.

Reading goes on past every fault: what cannot be read is noted with its path and stood in for, so that all faults of a
catalogue are found at once. Nothing that was read with a fault is ever used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import Enum
from typing import Literal, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from tallybook.v1 import catalog_pb2 as wire
from tallybook_engine.asking import GoOn, asking, unasked
from tallybook_engine.catalog import limits
from tallybook_engine.catalog.change import KINDS, CatalogChange, CatalogIds, CatalogObjects
from tallybook_engine.catalog.check_price import check_tier_starts
from tallybook_engine.catalog.faults import CatalogInvalidError, Faults
from tallybook_engine.catalog.model import (
    Aggregation,
    Basis,
    Catalog,
    Contract,
    Credit,
    Customer,
    DeterminantSource,
    Discount,
    DiscountMode,
    FeeTiming,
    FixedFee,
    Frequency,
    Matrix,
    MatrixRule,
    Meter,
    PeriodUnit,
    Plan,
    Product,
    ProductContract,
    RevenueShare,
    Tax,
    TaxMode,
    determinant_product,
    with_fields,
)
from tallybook_engine.catalog.versions import apply_change
from tallybook_engine.decimals import (
    QUANTITY_SCALE,
    UNIT,
    DecimalFault,
    DecimalFaultCode,
    format_decimal,
    parse_decimal,
)
from tallybook_engine.determinants.kinds import Kind
from tallybook_engine.ledger.pivot import NANOSECONDS_END, SECONDS_END
from tallybook_engine.pricing.model import (
    Graduated,
    IncludedMode,
    IncludedQuantity,
    NoPrice,
    Package,
    PerUnit,
    Price,
    PriceModel,
    Rounding,
    Stairstep,
    Tier,
    UnitConversion,
    Volume,
)
from tallybook_server.codec.metering import (
    read_metering_objects,
    write_channel_classifier,
    write_datasource,
    write_holiday_calendar,
    write_quality_table,
    write_timeslice_group,
)

Word = TypeVar("Word", bound=Enum)
Number = TypeVar("Number", int, None)
DateField = Literal["start_date", "end_date"]
Dated = wire.Contract | wire.ProductContract | wire.FixedFee | wire.Credit

_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}:[0-9]{2}))?")
_SHOWN_LETTERS_MAX = 40
_AROUND_A_PRICE = ("included_quantity", "minimum", "cap", "zero_usage", "conversion")
_DECIMAL_FAULTS: Mapping[DecimalFaultCode, str] = {
    DecimalFaultCode.EMPTY: "is empty: leave it out, or give a number",
    DecimalFaultCode.MALFORMED: "is no decimal number",
    DecimalFaultCode.TOO_MANY_DECIMALS: "has more than 12 decimals",
    DecimalFaultCode.OUT_OF_RANGE: "is not below 10^15 in size",
}


def _words(words: type[Word], known: Sequence[tuple[str, int]]) -> Mapping[int, Word]:
    """The words of an enum of the wire by number, its zero left out."""
    return {number: words(name) for name, number in known if number}


_TAX_MODES = _words(TaxMode, wire.Tax.Mode.items())
_DETERMINANT_KINDS = _words(Kind, wire.DeterminantSource.Kind.items())
_AGGREGATIONS = _words(Aggregation, wire.Product.Aggregation.items())
_LINE_ROUNDINGS = _words(Rounding, wire.Plan.Rounding.items())
_PACKAGE_ROUNDINGS = _words(Rounding, wire.PackagePrice.Rounding.items())
_INCLUDED_MODES = _words(IncludedMode, wire.IncludedQuantity.Mode.items())
_CONVERSION_ROUNDINGS = _words(Rounding, wire.UnitConversion.Rounding.items())
_DISCOUNT_MODES = _words(DiscountMode, wire.Discount.Mode.items())
_FEE_TIMINGS = _words(FeeTiming, wire.FixedFee.Timing.items())
_BASES = _words(Basis, wire.Frequency.Basis.items())
_UNITS = _words(PeriodUnit, wire.Frequency.Unit.items())


def read_change(
    put: wire.Catalog,
    remove: wire.CatalogIds,
    prune: bool,
    faults: Faults,
    effective_from: Timestamp | None = None,
    go_on: GoOn = unasked,
) -> CatalogChange:
    """A change as it was sent; what cannot be read is noted in `faults`. `go_on` is asked while objects are read."""
    ids = {kind: tuple(getattr(remove, kind)) for kind in KINDS}
    effective_from_us = None if effective_from is None else _instant_us(effective_from, "effective_from", faults)
    return CatalogChange(read_objects(put, faults, go_on), CatalogIds(**ids), prune, effective_from_us)


def _instant_us(instant: Timestamp, path: str, faults: Faults) -> int:
    if not (0 <= instant.seconds < SECONDS_END and 0 <= instant.nanos < NANOSECONDS_END):
        faults.add(path, "is no instant from 1970 to 9999")
    return instant.seconds * 1_000_000 + instant.nanos // 1_000


def read_objects(catalog: wire.Catalog, faults: Faults, go_on: GoOn = unasked) -> CatalogObjects:
    """Objects of a catalogue with their defaults filled in; what cannot be read is noted in `faults`."""
    reader = _Reader(faults)
    return CatalogObjects(
        taxes=tuple(reader.tax(each, f"taxes[{index}]") for index, each in enumerate(catalog.taxes)),
        meters=tuple(_meter(each) for each in asking(catalog.meters, go_on)),
        products=tuple(
            reader.product(each, f"products[{index}]") for index, each in enumerate(asking(catalog.products, go_on))
        ),
        plans=tuple(reader.plan(each, f"plans[{index}]") for index, each in enumerate(asking(catalog.plans, go_on))),
        customers=tuple(_customer(each) for each in asking(catalog.customers, go_on)),
        contracts=tuple(
            reader.contract_tree(each, f"contracts[{index}]")
            for index, each in enumerate(asking(catalog.contracts, go_on))
        ),
        **read_metering_objects(catalog, faults),
    )


def read_catalog(catalog: wire.Catalog) -> Catalog:
    """A catalogue that a server answered, and so has checked. Raises CatalogInvalidError where it is none."""
    faults = Faults()
    objects = read_objects(catalog, faults)
    return apply_change(Catalog(), CatalogChange(objects), faults)


def read_plan(plan: wire.Plan, faults: Faults) -> Plan:
    """One plan by itself, its paths without a prefix; what cannot be read is noted in `faults`."""
    return _Reader(faults).plan(plan, "plan")


def read_difference(stored: bytes) -> CatalogChange:
    """A version's difference from its stored bytes. Raises ValueError where they are not one."""
    try:
        request = wire.ApplyCatalogRequest.FromString(stored)
    except DecodeError as error:
        raise ValueError("the stored bytes are no catalogue difference") from error
    faults = Faults()
    effective_from = request.effective_from if request.HasField("effective_from") else None
    change = read_change(request.put, request.remove, request.prune, faults, effective_from)
    if found := faults.ordered():
        raise CatalogInvalidError(found)
    return change


def write_difference(difference: CatalogChange) -> bytes:
    """A version's difference as bytes to store: a serialised ApplyCatalogRequest, equal for equal differences."""
    request = wire.ApplyCatalogRequest(put=write_objects(difference.put), prune=difference.prune)
    for kind in KINDS:
        getattr(request.remove, kind).extend(difference.remove.of_kind(kind))
    if difference.effective_from_us is not None:
        seconds, microseconds = divmod(difference.effective_from_us, 1_000_000)
        request.effective_from.CopyFrom(Timestamp(seconds=seconds, nanos=microseconds * 1_000))
    return request.SerializeToString(deterministic=True)


def write_objects(objects: CatalogObjects) -> wire.Catalog:
    """Objects as the message that a catalogue file is."""
    return wire.Catalog(
        taxes=[write_tax(each) for each in objects.taxes],
        meters=[write_meter(each) for each in objects.meters],
        products=[write_product(each) for each in objects.products],
        plans=[write_plan(each) for each in objects.plans],
        customers=[write_customer(each) for each in objects.customers],
        contracts=[write_contract(each) for each in objects.contracts],
        quality_tables=[write_quality_table(each) for each in objects.quality_tables],
        holiday_calendars=[write_holiday_calendar(each) for each in objects.holiday_calendars],
        timeslice_groups=[write_timeslice_group(each) for each in objects.timeslice_groups],
        channel_classifiers=[write_channel_classifier(each) for each in objects.channel_classifiers],
        datasources=[write_datasource(each) for each in objects.datasources],
    )


def write_tax(tax: Tax) -> wire.Tax:
    """A tax."""
    mode = wire.Tax.Mode.Value(tax.mode.value)
    return wire.Tax(id=tax.id, country_code=tax.country_code, rate=_text(tax.rate), mode=mode)


def write_meter(meter: Meter) -> wire.Meter:
    """A meter."""
    return wire.Meter(
        id=meter.id,
        reference=meter.reference,
        values=meter.values,
        properties=meter.properties,
        allow_negative=meter.allow_negative,
    )


def write_product(product: Product) -> wire.Product:
    """A product."""
    source = product.determinant
    written = wire.Product(
        id=product.id,
        reference=product.reference,
        meter=product.meter if source is None else "",
        aggregation=wire.Product.Aggregation.Value(product.aggregation.value),
        value=product.value if source is None else None,
        filter=dict(product.filter),
    )
    if source is not None:
        written.determinant.classifier = source.classifier
        written.determinant.kind = wire.DeterminantSource.Kind.Value(source.kind.value)
        written.determinant.slice = source.slice or ""
        written.determinant.demand = source.demand or ""
        written.determinant.timeslice_group = source.timeslice_group or ""
        written.determinant.as_power = source.as_power
    return written


def write_customer(customer: Customer) -> wire.Customer:
    """A customer."""
    return wire.Customer(
        id=customer.id, reference=customer.reference, name=customer.name, country_code=customer.country_code
    )


def write_plan(plan: Plan) -> wire.Plan:
    """A plan."""
    rounding = wire.Plan.Rounding.Value(plan.rounding.value)
    message = wire.Plan(id=plan.id, product=plan.product, currency=plan.currency, rounding=rounding)
    if isinstance(plan.price, Price):
        _write_price(plan.price, message)
    else:
        for rule in plan.price.rules:
            _write_price(rule.price, message.matrix.rules.add(id=rule.id, match=dict(rule.match)))
    return message


def write_contract(contract: Contract) -> wire.Contract:
    """A root contract with all that lies below it."""
    written = _write_nested(contract)
    for path in contract.levels():
        if path[-1].listed:
            below = written.sub_contracts.add()
            below.CopyFrom(_write_nested(path[-1]))
            below.parent = path[-2].id
    return written


def _write_nested(contract: Contract) -> wire.Contract:
    """A contract with what is written within it."""
    return wire.Contract(
        id=contract.id,
        customer=contract.customer,
        time_zone=contract.time_zone,
        start_date=contract.start_date.isoformat(),
        end_date=contract.end_date.isoformat() if contract.end_date else None,
        billing_frequency=_write_frequency(contract.billing_frequency),
        product_contracts=[_write_product_contract(each) for each in contract.product_contracts],
        sub_contracts=[_write_nested(each) for each in contract.sub_contracts if not each.listed],
        currency=contract.currency,
        payment_term_days=contract.payment_term_days or None,
        fixed_fees=[_write_fixed_fee(each) for each in contract.fixed_fees],
        revenue_shares=[
            wire.RevenueShare(id=each.id, rate=_text(each.rate), charges=each.charges)
            for each in contract.revenue_shares
        ],
        discount=None if contract.discount is None else _write_discount(contract.discount),
        cap=_optional_text(contract.cap),
        minimum=_optional_text(contract.minimum),
        credits=[
            wire.Credit(
                id=each.id,
                amount=_text(each.amount),
                start_date=_optional_day(each.start_date),
                end_date=_optional_day(each.end_date),
            )
            for each in contract.credits
        ],
        prorate=contract.prorate,
        # Also where it is not: an end that is the parent's is written out, and is not renewed with the parent.
        auto_renewal=None if contract.end_date is None else contract.auto_renewal,
        override_underlying=contract.override_underlying,
    )


def _write_fixed_fee(fee: FixedFee) -> wire.FixedFee:
    return wire.FixedFee(
        id=fee.id,
        amount=_text(fee.amount),
        timing=wire.FixedFee.Timing.Value(fee.timing.value),
        once=fee.once,
        per_term=fee.per_term,
        frequency=None if fee.frequency is None else _write_frequency(fee.frequency),
        start_date=_optional_day(fee.start_date),
        end_date=_optional_day(fee.end_date),
        prorate=fee.prorate,
    )


def _write_discount(discount: Discount) -> wire.Discount:
    return wire.Discount(
        rate=_text(discount.rate),
        threshold=_text(discount.threshold),
        mode=wire.Discount.Mode.Value(discount.mode.value),
    )


def _optional_day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _write_product_contract(each: ProductContract) -> wire.ProductContract:
    return wire.ProductContract(
        id=each.id,
        plan=each.plan,
        accumulation_period=_write_frequency(each.accumulation_period) if each.accumulation_period else None,
        start_date=each.start_date.isoformat() if each.start_date else None,
        end_date=each.end_date.isoformat() if each.end_date else None,
        shared=each.shared,
    )


def _write_frequency(frequency: Frequency) -> wire.Frequency:
    return wire.Frequency(
        basis=wire.Frequency.Basis.Value(frequency.basis.value),
        interval=frequency.interval,
        unit=wire.Frequency.Unit.Value(frequency.unit.value),
    )


def _write_price(price: Price, message: wire.Plan | wire.MatrixRule) -> None:
    _write_model(price.model, message)
    if price.included is not None:
        message.included_quantity.quantity = _text(price.included.quantity)
        message.included_quantity.mode = wire.IncludedQuantity.Mode.Value(price.included.mode.value)
        message.included_quantity.prorate = price.included.prorate
    if price.minimum is not None:
        message.minimum = _text(price.minimum)
    if price.cap is not None:
        message.cap = _text(price.cap)
    message.zero_usage = price.zero_usage
    if price.conversion is not None:
        conversion = price.conversion
        if conversion.divisor is not None:
            message.conversion.divide_by = _text(conversion.divisor)
        if conversion.factor is not None:
            message.conversion.multiply_by = _text(conversion.factor)
        message.conversion.decimal_places = conversion.rounding_places
        message.conversion.rounding = wire.UnitConversion.Rounding.Value(conversion.rounding.value)


def _write_model(model: PriceModel, message: wire.Plan | wire.MatrixRule) -> None:
    match model:
        case NoPrice():
            message.none.SetInParent()
        case PerUnit():
            message.per_unit.unit_price = _text(model.unit_price)
        case Graduated():
            message.graduated.tiers.extend(_write_tier(tier) for tier in model.tiers)
        case Volume():
            message.volume.tiers.extend(_write_tier(tier) for tier in model.tiers)
        case Stairstep():
            message.stairstep.tiers.extend(
                wire.Tier(up_to=_optional_text(tier.up_to), flat_fee=_text(tier.flat_fee)) for tier in model.tiers
            )
        case Package():
            message.package.size = _text(model.size)
            message.package.amount = _text(model.amount)
            message.package.rounding = wire.PackagePrice.Rounding.Value(model.rounding.value)


def _write_tier(tier: Tier) -> wire.Tier:
    return wire.Tier(
        up_to=_optional_text(tier.up_to),
        unit_price=_text(tier.unit_price),
        flat_fee=_text(tier.flat_fee) if tier.flat_fee else None,
    )


def _text(scaled: int) -> str:
    return format_decimal(scaled, QUANTITY_SCALE)


def _optional_text(scaled: int | None) -> str | None:
    return None if scaled is None else _text(scaled)


def _meter(meter: wire.Meter) -> Meter:
    return Meter(
        id=meter.id,
        reference=meter.reference if meter.HasField("reference") else meter.id,
        values=tuple(meter.values),
        properties=tuple(meter.properties),
        allow_negative=meter.allow_negative,
    )


def _customer(customer: wire.Customer) -> Customer:
    return Customer(
        id=customer.id,
        reference=customer.reference if customer.HasField("reference") else customer.id,
        name=customer.name,
        country_code=customer.country_code,
    )


class _Reader:
    """Reads messages that stand at a path, and notes what cannot be read."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        # Thousands of contracts say the same dates and frequencies.
        self._days: dict[tuple[str, str], date] = {}
        """What sound texts of fields are."""
        self._frequencies: dict[tuple[Basis, int, PeriodUnit], Frequency] = {}

    def tax(self, tax: wire.Tax, path: str) -> Tax:
        return Tax(
            id=tax.id,
            country_code=tax.country_code,
            rate=self._required(tax, "rate", path),
            mode=self._word(_TAX_MODES, tax.mode, f"{path}.mode", TaxMode.EXCLUSIVE),
        )

    def product(self, product: wire.Product, path: str) -> Product:
        reference = product.reference if product.HasField("reference") else product.id
        aggregation = self._word(_AGGREGATIONS, product.aggregation, f"{path}.aggregation")
        filter_ = tuple(sorted(product.filter.items()))
        if product.HasField("determinant"):
            for field, _ in product.ListFields():
                if field.name in ("meter", "value"):
                    self._faults.add(f"{path}.{field.name}", "stands beside determinant, which is in its place")
            source = self._determinant(product.determinant, f"{path}.determinant")
            return determinant_product(product.id, reference, aggregation, filter_, source)
        return Product(
            id=product.id,
            reference=reference,
            meter=product.meter,
            aggregation=aggregation,
            value=product.value if product.HasField("value") else None,
            filter=filter_,
        )

    def _determinant(self, source: wire.DeterminantSource, path: str) -> DeterminantSource:
        kind = self._word(_DETERMINANT_KINDS, source.kind, f"{path}.kind")
        return DeterminantSource(
            source.classifier,
            kind,
            source.slice or None,
            source.demand or None,
            source.timeslice_group or None,
            source.as_power,
        )

    def plan(self, plan: wire.Plan, path: str) -> Plan:
        price: Price | Matrix
        if plan.WhichOneof("model") == "matrix":
            self._refuse_beside_matrix(plan, path)
            rules = enumerate(plan.matrix.rules)
            price = Matrix(tuple(self._rule(rule, f"{path}.matrix.rules[{index}]") for index, rule in rules))
        else:
            price = self._price(plan, path)
        return Plan(
            id=plan.id,
            product=plan.product,
            currency=plan.currency,
            price=price,
            rounding=self._word(_LINE_ROUNDINGS, plan.rounding, f"{path}.rounding", Rounding.HALF_AWAY_FROM_ZERO),
        )

    def contract_tree(self, root: wire.Contract, path: str) -> Contract:
        """A root contract and all below it, whether written within it or listed in it."""
        read: list[tuple[Contract, list[int]]] = []
        """Each contract without those below it, and the places of these."""
        below = self._below(root, path)
        due: list[tuple[wire.Contract, str, int, int]] = [(root, path, -1, -1)]
        while due:
            message, here, above, overriding = due.pop()
            place = len(read)
            parent, overrides = (None if at < 0 else read[at][0] for at in (above, overriding))
            contract = self._contract(message, here, parent, overrides)
            read.append((contract, []))
            if above >= 0:
                read[above][1].append(place)
            if overriding < 0 and contract.override_underlying:
                overriding = place
            due += [(each, at, place, overriding) for each, at in reversed(below.get(id(message), []))]
        made: list[Contract] = [contract for contract, _ in read]
        for place in reversed(range(len(read))):
            if read[place][1]:
                sub_contracts = tuple(made[at] for at in read[place][1])
                made[place] = with_fields(made[place], sub_contracts=sub_contracts)
        return made[0]

    def _below(self, root: wire.Contract, path: str) -> dict[int, list[tuple[wire.Contract, str]]]:
        """Identity of each contract of a tree -> the contracts directly below it, each with its path.

        Whatever has no parent in the tree, or is below itself, is noted, and is in no list that leads to the root.
        """
        below: dict[int, list[tuple[wire.Contract, str]]] = {}
        names: dict[str, wire.Contract] = {root.id: root}
        listed: list[tuple[wire.Contract, str]] = []
        due = [(root, path)]
        while due:
            message, here = due.pop()
            within = below.setdefault(id(message), [])
            for index, each in enumerate(message.sub_contracts):
                at = f"{here}.sub_contracts[{index}]"
                if each.HasField("parent") and message is root:
                    at = f'{path}.sub_contracts["{each.id}"]'
                    listed.append((each, at))
                else:
                    if each.HasField("parent"):
                        self._faults.add(f"{at}.parent", "stands only in the sub_contracts of the root contract")
                    within.append((each, at))
                names.setdefault(each.id, each)
                due.append((each, at))
        if root.HasField("parent"):
            self._faults.add(f"{path}.parent", "is of no root contract: list it in the root's sub_contracts")
        for each, at in listed:
            if each.parent in names:
                below[id(names[each.parent])].append((each, at))
            else:
                self._faults.add(f"{at}.parent", f'no contract "{each.parent}" in the tree')
        self._check_parents(listed)
        return below

    def _check_parents(self, listed: Sequence[tuple[wire.Contract, str]]) -> None:
        """Names every listed contract whose parents lead back to it."""
        parents = {each.id: each.parent for each, _ in listed}
        # Those that lead to a contract that is not listed.
        sound: set[str] = set()
        for each, at in listed:
            chain = {each.id: None}
            above = each.parent
            while above in parents and above not in chain and above not in sound:
                chain[above] = None
                above = parents[above]
            if above == each.id:
                self._faults.add(f"{at}.parent", f"a cycle: {' -> '.join([*chain, each.id])}")
            elif above not in chain:
                sound.update(chain)

    def _contract(
        self, contract: wire.Contract, path: str, parent: Contract | None, overriding: Contract | None
    ) -> Contract:
        """A contract by itself; `parent` fills in what is left out, `overriding` replaces frequencies."""
        customer, time_zone = contract.customer, contract.time_zone
        start, end = self._date(contract, "start_date", path), self._date(contract, "end_date", path)
        auto_renewal = contract.auto_renewal
        if parent is not None:
            if not contract.HasField("auto_renewal") and not contract.HasField("end_date"):
                auto_renewal = parent.auto_renewal
            customer = customer if contract.HasField("customer") else parent.customer
            time_zone = time_zone if contract.HasField("time_zone") else parent.time_zone
            start = start or parent.start_date
            end = end if contract.HasField("end_date") else parent.end_date
        elif not contract.HasField("start_date"):
            self._faults.add(f"{path}.start_date", "is required")
        if parent is None or contract.HasField("billing_frequency"):
            billing_frequency = self._frequency(contract, "billing_frequency", path, None)
        else:
            billing_frequency = parent.billing_frequency
        read = Contract(
            id=contract.id,
            customer=customer,
            time_zone=time_zone,
            start_date=start or limits.DATE_MIN,
            end_date=end,
            billing_frequency=billing_frequency,
            currency=contract.currency if contract.HasField("currency") else None,
            payment_term_days=contract.payment_term_days,
            discount=self._discount(contract.discount, f"{path}.discount") if contract.HasField("discount") else None,
            cap=self._optional(contract, "cap", path),
            minimum=self._optional(contract, "minimum", path),
            prorate=contract.prorate,
            auto_renewal=auto_renewal,
            override_underlying=contract.override_underlying,
            listed=contract.HasField("parent"),
        )
        if overriding is None and read.override_underlying:
            overriding = read
        if parent is not None:
            for field in ("currency", "payment_term_days"):
                if contract.HasField(field):
                    self._faults.add(f"{path}.{field}", "is the whole tree's: give it in the root contract")
        basis = (overriding or read).billing_frequency.basis
        product_contracts = enumerate(contract.product_contracts)
        return with_fields(
            read,
            product_contracts=tuple(
                self._product_contract(each, f"{path}.product_contracts[{index}]", read.id, basis)
                for index, each in product_contracts
            ),
            fixed_fees=tuple(
                self._fixed_fee(each, f"{path}.fixed_fees[{index}]", basis)
                for index, each in enumerate(contract.fixed_fees)
            ),
            revenue_shares=tuple(
                RevenueShare(
                    each.id, self._required(each, "rate", f"{path}.revenue_shares[{index}]"), tuple(each.charges)
                )
                for index, each in enumerate(contract.revenue_shares)
            ),
            credits=tuple(
                self._credit(each, f"{path}.credits[{index}]") for index, each in enumerate(contract.credits)
            ),
        )

    def _discount(self, discount: wire.Discount, path: str) -> Discount:
        return Discount(
            rate=self._required(discount, "rate", path),
            threshold=self._optional(discount, "threshold", path) or 0,
            mode=self._word(_DISCOUNT_MODES, discount.mode, f"{path}.mode", DiscountMode.ALL),
        )

    def _fixed_fee(self, fee: wire.FixedFee, path: str, basis: Basis) -> FixedFee:
        return FixedFee(
            id=fee.id,
            amount=self._required(fee, "amount", path),
            timing=self._word(_FEE_TIMINGS, fee.timing, f"{path}.timing", FeeTiming.IN_ARREARS),
            once=fee.once,
            per_term=fee.per_term,
            frequency=self._frequency(fee, "frequency", path, basis) if fee.HasField("frequency") else None,
            start_date=self._date(fee, "start_date", path),
            end_date=self._date(fee, "end_date", path),
            prorate=fee.prorate,
        )

    def _credit(self, credit: wire.Credit, path: str) -> Credit:
        return Credit(
            id=credit.id,
            amount=self._required(credit, "amount", path),
            start_date=self._date(credit, "start_date", path),
            end_date=self._date(credit, "end_date", path),
        )

    def _product_contract(
        self, each: wire.ProductContract, path: str, contract_id: str, basis: Basis
    ) -> ProductContract:
        accumulation_period = None
        if each.HasField("accumulation_period"):
            accumulation_period = self._frequency(each, "accumulation_period", path, basis)
        return ProductContract(
            id=each.id if each.HasField("id") else f"{contract_id}/{each.plan}",
            plan=each.plan,
            accumulation_period=accumulation_period,
            start_date=self._date(each, "start_date", path),
            end_date=self._date(each, "end_date", path),
            shared=each.shared,
        )

    def _frequency(
        self,
        owner: wire.Contract | wire.ProductContract | wire.FixedFee,
        field: Literal["billing_frequency", "accumulation_period", "frequency"],
        path: str,
        default_basis: Basis | None,
    ) -> Frequency:
        here = f"{path}.{field}"
        if not owner.HasField(field):  # type: ignore[arg-type]  # the field is the owner's
            self._faults.add(here, "is required")
            return Frequency(Basis.CALENDAR, 1, PeriodUnit.MONTH)
        frequency: wire.Frequency = getattr(owner, field)
        basis = self._word(_BASES, frequency.basis, f"{here}.basis", default_basis)
        unit = self._word(_UNITS, frequency.unit, f"{here}.unit")
        key = basis, frequency.interval, unit
        return self._frequencies.setdefault(key, Frequency(*key))

    def _rule(self, rule: wire.MatrixRule, path: str) -> MatrixRule:
        match = tuple(sorted(rule.match.items()))
        default_id = ",".join(f"{name}={text}" for name, text in match) or "default"
        return MatrixRule(rule.id if rule.HasField("id") else default_id, match, self._price(rule, path))

    def _refuse_beside_matrix(self, plan: wire.Plan, path: str) -> None:
        """What would stand around a price belongs to the rules of a matrix, each of which is a price."""
        for field, _ in plan.ListFields():
            if field.name in _AROUND_A_PRICE:
                self._faults.add(f"{path}.{field.name}", "belongs to the rules of the matrix")

    def _price(self, wire_price: wire.Plan | wire.MatrixRule, path: str) -> Price:
        included = conversion = None
        if wire_price.HasField("included_quantity"):
            included = self._included(wire_price.included_quantity, f"{path}.included_quantity")
        if wire_price.HasField("conversion"):
            conversion = self._conversion(wire_price.conversion, f"{path}.conversion")
        return Price(
            model=self._model(wire_price, path),
            included=included,
            minimum=self._optional(wire_price, "minimum", path),
            cap=self._optional(wire_price, "cap", path),
            zero_usage=wire_price.zero_usage,
            conversion=conversion,
        )

    def _model(self, wire_price: wire.Plan | wire.MatrixRule, path: str) -> PriceModel:
        match wire_price.WhichOneof("model"):
            case "per_unit":
                return PerUnit(self._required(wire_price.per_unit, "unit_price", f"{path}.per_unit"))
            case "graduated":
                return Graduated(self._tiers(wire_price.graduated.tiers, f"{path}.graduated.tiers"))
            case "volume":
                return Volume(self._tiers(wire_price.volume.tiers, f"{path}.volume.tiers"))
            case "stairstep":
                return Stairstep(self._bands(wire_price.stairstep.tiers, f"{path}.stairstep.tiers"))
            case "package":
                return self._package(wire_price.package, f"{path}.package")
            case "none":
                return NoPrice()
        self._faults.add(path, f"has no price: give one of {', '.join(_models(wire_price))}")
        return NoPrice()

    def _tiers(self, tiers: Sequence[wire.Tier], path: str) -> tuple[Tier, ...]:
        read = []
        for index, tier in enumerate(tiers):
            here = f"{path}[{index}]"
            if not tier.HasField("unit_price") and not tier.HasField("flat_fee"):
                self._faults.add(here, "has neither unit_price nor flat_fee")
            unit_price = self._optional(tier, "unit_price", here)
            flat_fee = self._optional(tier, "flat_fee", here)
            read.append(Tier(self._optional(tier, "up_to", here), unit_price or 0, flat_fee or 0))
        self._check_starts(tiers, read, path)
        return tuple(read)

    def _bands(self, tiers: Sequence[wire.Tier], path: str) -> tuple[Tier, ...]:
        """Tiers of a stairstep: an amount for the band, no price for a unit."""
        read = []
        for index, tier in enumerate(tiers):
            here = f"{path}[{index}]"
            if tier.HasField("unit_price"):
                self._faults.add(f"{here}.unit_price", "has no meaning in a stairstep: give a flat_fee")
            up_to = self._optional(tier, "up_to", here)
            read.append(Tier(up_to, flat_fee=self._required(tier, "flat_fee", here)))
        self._check_starts(tiers, read, path)
        return tuple(read)

    def _check_starts(self, tiers: Sequence[wire.Tier], read: Sequence[Tier], path: str) -> None:
        starts = [self._optional(tier, "starts_at", f"{path}[{index}]") for index, tier in enumerate(tiers)]
        check_tier_starts(path, starts, [tier.up_to for tier in read], self._faults)

    def _package(self, package: wire.PackagePrice, path: str) -> Package:
        return Package(
            size=self._required(package, "size", path, stand_in=UNIT),
            amount=self._required(package, "amount", path),
            rounding=self._word(_PACKAGE_ROUNDINGS, package.rounding, f"{path}.rounding", Rounding.UP),
        )

    def _included(self, included: wire.IncludedQuantity, path: str) -> IncludedQuantity:
        return IncludedQuantity(
            quantity=self._required(included, "quantity", path),
            mode=self._word(_INCLUDED_MODES, included.mode, f"{path}.mode", IncludedMode.SUBTRACT_FIRST),
            prorate=included.prorate,
        )

    def _conversion(self, conversion: wire.UnitConversion, path: str) -> UnitConversion:
        operation = conversion.WhichOneof("operation")
        if operation is None:
            self._faults.add(path, "has neither divide_by nor multiply_by")
        nearest = Rounding.HALF_AWAY_FROM_ZERO
        return UnitConversion(
            divisor=self._required(conversion, "divide_by", path, UNIT) if operation == "divide_by" else None,
            factor=self._required(conversion, "multiply_by", path, UNIT) if operation == "multiply_by" else None,
            rounding_places=conversion.decimal_places if conversion.HasField("decimal_places") else QUANTITY_SCALE,
            rounding=self._word(_CONVERSION_ROUNDINGS, conversion.rounding, f"{path}.rounding", nearest),
        )

    def _required(self, owner: Message, field: str, path: str, stand_in: int = 0) -> int:
        """A decimal that must be there, scale 12; `stand_in` where it cannot be read."""
        if not owner.HasField(field):
            self._faults.add(f"{path}.{field}", "is required")
            return stand_in
        return self._decimal(getattr(owner, field), f"{path}.{field}", stand_in)

    def _optional(self, owner: Message, field: str, path: str) -> int | None:
        """A decimal that may be left out, scale 12; None too where it cannot be read."""
        return self._decimal(getattr(owner, field), f"{path}.{field}", None) if owner.HasField(field) else None

    def _decimal(self, text: str, path: str, stand_in: Number) -> int | Number:
        try:
            return parse_decimal(text)
        except DecimalFault as fault:
            sentence = _DECIMAL_FAULTS[fault.code]
            self._faults.add(path, f"{_shown(text)} {sentence}" if text else sentence)
            return stand_in

    def _date(self, owner: Dated, field: DateField, path: str) -> date | None:
        """A date that may be left out; None too where it cannot be read. An end at 23:59:59 is the next day."""
        if not owner.HasField(field):
            return None
        text, here = getattr(owner, field), f"{path}.{field}"
        if (known := self._days.get((field, text))) is not None:
            return known
        match = _DATE.fullmatch(text)
        times = ("00:00:00", "23:59:59") if field == "end_date" else ("00:00:00",)
        if match is None or match[2] not in (None, *times):
            self._faults.add(here, f'{_shown(text)} is no date like "2013-01-31"')
            return None
        try:
            day = date.fromisoformat(match[1])
        except ValueError:
            self._faults.add(here, f"{_shown(text)} is no date of the calendar")
            return None
        day += timedelta(days=match[2] == "23:59:59" and day < date.max)
        if not limits.DATE_MIN <= day <= limits.DATE_MAX:
            self._faults.add(here, f"{_shown(text)} is not from {limits.DATE_MIN} to {limits.DATE_MAX}")
            return None
        self._days[field, text] = day
        return day

    def _word(self, words: Mapping[int, Word], number: int, path: str, default: Word | None = None) -> Word:
        """An enum's word; `default` for the zero, which is a fault where there is none."""
        word = words.get(number, default if number == 0 else None)
        if word is not None:
            return word
        names = ", ".join(each.value for each in words.values())
        self._faults.add(path, f"is required: one of {names}" if number == 0 else f"{number} is none of {names}")
        return next(iter(words.values()))


def _models(wire_price: wire.Plan | wire.MatrixRule) -> list[str]:
    return [field.name for field in wire_price.DESCRIPTOR.oneofs_by_name["model"].fields]


def _shown(text: str) -> str:
    """A text from outside, cut to a length that can be read."""
    return f'"{text}"' if len(text) <= _SHOWN_LETTERS_MAX else f'"{text[:_SHOWN_LETTERS_MAX]}..."'
