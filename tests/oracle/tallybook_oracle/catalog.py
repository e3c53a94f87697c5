"""A catalogue, read from the JSON of its file, and what each product contract means under it.

Every number is a fraction and every default of the file is filled in. A **meaning** is all that rating needs to know of
one product contract; two versions that leave it as it is have equal meanings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from tallybook_oracle.calendar import first_instant
from tallybook_oracle.numbers import number
from tallybook_oracle.pricing import OraclePrice, OracleTier

KINDS = ("taxes", "meters", "products", "plans", "customers", "contracts")
"""Fields of a catalogue file."""
Catalogue = Mapping[str, Mapping[str, Any]]
"""Kind -> id -> object as the JSON of the file."""

_OTHER_MINOR_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_DIGITS = {code: digits for digits, codes in _OTHER_MINOR_DIGITS.items() for code in codes.split()}
"""Decimals of the currencies (ISO 4217) that do not have 2."""


@dataclass(frozen=True)
class OracleFrequency:
    """Every `interval` units, by the words of the file."""

    basis: str
    unit: str
    interval: int


@dataclass(frozen=True)
class OracleTax:
    """The tax of a customer's country."""

    id: str
    rate: Fraction
    inclusive: bool


@dataclass(frozen=True)
class OracleCell:
    """One price of a plan; without a matrix there is one, of the id ""."""

    id: str
    match: Mapping[str, str] | None
    price: OraclePrice


@dataclass(frozen=True)
class Meaning:
    """What one product contract charges, from when to when, and how."""

    product_contract: str
    path: tuple[str, ...]
    """Ids from the root contract down to the product contract."""
    customer: str
    meter: str
    product: str
    plan: str
    currency: str
    rounding: str
    aggregation: str
    value: str | None
    filter: Mapping[str, str]
    cells: tuple[OracleCell, ...]
    time_zone: str
    contract_start: date
    billing: OracleFrequency
    accumulation: OracleFrequency
    start_us: int
    end_us: int | None
    tax: OracleTax | None
    country_code: str

    @property
    def minor_digits(self) -> int:
        """Decimals of the currency."""
        return MINOR_DIGITS.get(self.currency, 2)

    def active(self, time_us: int) -> bool:
        """Whether it charges at an instant."""
        return self.start_us <= time_us and (self.end_us is None or time_us < self.end_us)

    def cell_of(self, values: Mapping[str, Fraction], properties: Mapping[str, str]) -> int | None:
        """The cell that an event of its meter falls into; None where it leaves the charge alone."""
        if self.value is not None and self.value not in values:
            return None
        if not _carries(properties, self.filter):
            return None
        for index, cell in enumerate(self.cells):
            if _carries(properties, cell.match or {}):
                return index
        return None


def _carries(properties: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(properties.get(name) == text for name, text in wanted.items())


def reference_of(named: Mapping[str, Any]) -> str:
    """What a customer, meter or product goes by."""
    return str(named.get("reference", named["id"]))


def meanings(catalogue: Catalogue) -> dict[str, Meaning]:
    """What every product contract of a catalogue means, by its id."""
    found = {}
    for root in catalogue["contracts"].values():
        for meaning in _tree(catalogue, root):
            found[meaning.product_contract] = meaning
    return found


def below(contract: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The contracts directly below one: written within it, then listed in the root with its id."""
    within = [each for each in contract.get("sub_contracts", ()) if "parent" not in each]
    return within + [each for each in root.get("sub_contracts", ()) if each.get("parent") == contract["id"]]


def spelled_out(catalogue: Catalogue) -> dict[str, Any]:
    """A catalogue in which each accumulation period says its basis: left out, it is that of the billing frequency."""
    contracts = {name: _spelled_out(root, _bases(root)) for name, root in catalogue["contracts"].items()}
    return {**catalogue, "contracts": contracts}


def _bases(root: Mapping[str, Any]) -> dict[int, str]:
    """Basis of the billing frequency that counts for each contract of a tree, by its identity."""
    found = {}
    due: list[tuple[Mapping[str, Any], Mapping[str, Any], bool]] = [(root, {}, False)]
    while due:
        contract, billing, overridden = due.pop()
        billing = billing if overridden else contract.get("billing_frequency", billing)
        found[id(contract)] = billing["basis"]
        overridden = overridden or bool(contract.get("override_underlying"))
        due += [(each, billing, overridden) for each in below(contract, root)]
    return found


def _spelled_out(contract: Mapping[str, Any], bases: Mapping[int, str]) -> dict[str, Any]:
    made = dict(contract)
    if "product_contracts" in contract:
        made["product_contracts"] = [
            {**each, "accumulation_period": {"basis": bases[id(contract)], **each["accumulation_period"]}}
            if "accumulation_period" in each
            else each
            for each in contract["product_contracts"]
        ]
    if "sub_contracts" in contract:
        made["sub_contracts"] = [_spelled_out(each, bases) for each in contract["sub_contracts"]]
    return made


_INHERITED = ("customer", "time_zone", "start_date", "end_date", "billing_frequency")


def with_inherited(contract: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
    """A contract with what it leaves out as its parent has it; without end where it is renewed.

    `anchored_by` is the day that its periods are counted from, `overriding` what replaces the frequencies below.
    """
    here = {**contract, **{field: contract.get(field, parent.get(field)) for field in _INHERITED}}
    here["term_end"] = contract.get("end_date", parent.get("term_end"))
    here["renewed"] = contract.get("auto_renewal", parent.get("renewed") if "end_date" not in contract else False)
    here["end_date"] = None if here["renewed"] else here["term_end"]
    overriding = parent.get("overriding")
    if overriding is None and contract.get("override_underlying"):
        overriding = (here["billing_frequency"], here["start_date"])
    here["overriding"] = overriding
    here["anchored_by"] = here["start_date"]
    if overriding is not None:
        here["billing_frequency"], here["anchored_by"] = overriding
    return here


def tax_of(catalogue: Catalogue, customer: str) -> OracleTax | None:
    """The tax of a customer's country."""
    country = catalogue["customers"][customer].get("country_code", "")
    taxes = [tax for tax in catalogue["taxes"].values() if tax["country_code"] == country]
    return _tax(taxes[0]) if taxes else None


def _tree(catalogue: Catalogue, root: Mapping[str, Any]) -> Iterator[Meaning]:
    due: list[tuple[Mapping[str, Any], Mapping[str, Any], tuple[str, ...]]] = [(root, {}, ())]
    while due:
        contract, parent, above = due.pop()
        here = with_inherited(contract, parent)
        path = (*above, contract["id"])
        for each in contract.get("product_contracts", ()):
            yield _meaning(catalogue, here, {"id": f"{contract['id']}/{each['plan']}", **each}, path)
        due += [(each, here, path) for each in reversed(below(contract, root))]


def _meaning(
    catalogue: Catalogue, contract: Mapping[str, Any], each: Mapping[str, Any], path: tuple[str, ...]
) -> Meaning:
    plan = catalogue["plans"][each["plan"]]
    product = catalogue["products"][plan["product"]]
    customer = catalogue["customers"][contract["customer"]]
    zone = contract["time_zone"]
    billing = _frequency(contract["billing_frequency"], "")
    accumulation = each.get("accumulation_period")
    end = _end(each.get("end_date", contract["end_date"]))
    country = customer.get("country_code", "")
    return Meaning(
        product_contract=each["id"],
        path=(*path, each["id"]),
        customer=customer["id"],
        meter=meter_name(product),
        product=product["id"],
        plan=plan["id"],
        currency=plan["currency"],
        rounding=plan.get("rounding", "HALF_AWAY_FROM_ZERO"),
        aggregation=product["aggregation"],
        value="value" if "determinant" in product else product.get("value"),
        filter=dict(product.get("filter", {})),
        cells=_cells(plan),
        time_zone=zone,
        contract_start=_day(contract["anchored_by"]),
        billing=billing,
        accumulation=billing if accumulation is None else _frequency(accumulation, billing.basis),
        start_us=first_instant(zone, _day(each.get("start_date", contract["start_date"]))),
        end_us=None if end is None else first_instant(zone, end),
        tax=tax_of(catalogue, customer["id"]),
        country_code=country,
    )


def meter_name(product: Mapping[str, Any]) -> str:
    """Id of a product's meter; of one that is made of a determinant, its BILLING channel without the month."""
    source = product.get("determinant")
    if source is None:
        return str(product["meter"])
    words = ["BILLING", source["classifier"], source["kind"], "POWER" if source.get("as_power") else ""]
    words += [source.get(name, "") for name in ("demand", "timeslice_group", "slice")]
    return "_".join(word for word in words if word)


def determinant_meters(catalogue: Catalogue) -> dict[str, Mapping[str, Any]]:
    """The meters that stand for determinants, by id."""
    named = [meter_name(each) for each in catalogue["products"].values() if "determinant" in each]
    return {
        name: {"id": name, "values": ["value"], "properties": ["datasource"], "allow_negative": True} for name in named
    }


def _frequency(written: Mapping[str, Any], default_basis: str) -> OracleFrequency:
    return OracleFrequency(written.get("basis", default_basis), written["unit"], int(written["interval"]))


def _day(text: str) -> date:
    return date.fromisoformat(text[:10])


def _end(text: str | None) -> date | None:
    """The first day after; 23:59:59 reads as the next midnight."""
    if text is None:
        return None
    return _day(text) + timedelta(days=1 if text.endswith("23:59:59") else 0)


def _tax(written: Mapping[str, Any]) -> OracleTax:
    return OracleTax(written["id"], number(written["rate"]), written.get("mode") == "INCLUSIVE")


def _cells(plan: Mapping[str, Any]) -> tuple[OracleCell, ...]:
    if "matrix" not in plan:
        return (OracleCell("", None, _price(plan)),)
    cells = []
    for rule in plan["matrix"]["rules"]:
        match = dict(rule.get("match", {}))
        written_out = ",".join(f"{name}={match[name]}" for name in sorted(match)) or "default"
        cells.append(OracleCell(rule.get("id", written_out), match, _price(rule)))
    return tuple(cells)


MODELS = ("none", "per_unit", "graduated", "volume", "stairstep", "package")
"""Fields of a plan or rule that say how it prices."""


def _price(written: Mapping[str, Any]) -> OraclePrice:
    model = next(name for name in MODELS if name in written)
    said = written[model]
    rules: dict[str, Any] = {"zero_usage": bool(written.get("zero_usage", False))}
    for field in ("minimum", "cap"):
        if field in written:
            rules[field] = number(written[field])
    if "included_quantity" in written:
        rules["included"] = number(written["included_quantity"]["quantity"])
        rules["included_mode"] = written["included_quantity"].get("mode", "SUBTRACT_FIRST")
        rules["included_by_days"] = bool(written["included_quantity"].get("prorate", False))
    if "conversion" in written:
        rules |= _conversion(written["conversion"])
    if model == "per_unit":
        rules["unit_price"] = number(said["unit_price"])
    elif model == "package":
        rules |= {
            "package_size": number(said["size"]),
            "package_amount": number(said["amount"]),
            "package_rounding": said.get("rounding", "UP"),
        }
    elif model != "none":
        rules["tiers"] = tuple(_tier(tier) for tier in said["tiers"])
    return OraclePrice(model, **rules)


def _tier(written: Mapping[str, Any]) -> OracleTier:
    return OracleTier(
        number(written["up_to"]) if "up_to" in written else None,
        number(written.get("unit_price", "0")),
        number(written.get("flat_fee", "0")),
    )


def _conversion(written: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "divide_by": number(written["divide_by"]) if "divide_by" in written else None,
        "multiply_by": number(written["multiply_by"]) if "multiply_by" in written else None,
        "conversion_decimals": int(written.get("decimal_places", 12)),
        "conversion_rounding": written.get("rounding", "HALF_AWAY_FROM_ZERO"),
    }
