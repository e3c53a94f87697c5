"""Random catalogues as the JSON of their file: every model and rule of the catalogue, in trees of contracts.

Everything comes from the `random.Random` that is passed in: the same seed makes the same catalogues.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from tests.support.random_terms import RandomTerms

FIRST_DAY = date(2024, 1, 10)
"""Events of the random worlds lie from this day on ..."""
LAST_DAY = date(2024, 5, 20)
"""... to the end of this one: the clocks of most zones below change in between."""
ZONES = (
    "UTC",
    "Europe/Amsterdam",
    "America/New_York",
    "Australia/Lord_Howe",  # changes by half an hour
    "Africa/Cairo",  # a midnight that does not exist
    "Asia/Beirut",  # another
    "Asia/Kathmandu",
    "America/Santiago",
)
VALUES = ("count", "volume")
PROPERTIES = {"color": ("red", "blue", ""), "size": ("s", "m", "l")}
CURRENCIES = ("EUR", "USD", "JPY", "KWD", "CLF")
COUNTRIES = ("NL", "US", "DE", "")
BOUNDS = ("0.5", "1", "2.25", "10", "10.000000000001", "33.333333333333", "100", "1000")
Objects = dict[str, Any]
Put = dict[str, list[Objects]]


class RandomCatalogue:
    """Makes a catalogue, and changes of it; `magnitude` is how many digits its larger numbers have."""

    def __init__(
        self, chance: random.Random, magnitude: int = 3, customer_count: int = 3, *, with_terms: bool = False
    ) -> None:
        self._chance = chance
        self._magnitude = magnitude
        self._customer_count = customer_count
        self._made = 0
        # Amounts in whole units are amounts of every currency.
        self._terms = RandomTerms(chance, digits=0) if with_terms else None

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}{self._made}"

    # --- Numbers ------------------------------------------------------------------------------------------------------

    def price(self) -> str:
        """A unit price or fee: often in cents, sometimes of all decimals, negative or large."""
        chance = self._chance
        sign = "-" if chance.random() < 0.1 else ""
        if chance.random() < 0.15:
            return f"{sign}{self.large()}"
        places = chance.choice([0, 2, 2, 3, 4, 12])
        return f"{sign}{chance.randrange(3)}.{chance.randrange(10**places):0{places}d}" if places else f"{sign}3"

    def large(self) -> str:
        """A number of up to `magnitude` digits."""
        whole = self._chance.randrange(10 ** self._chance.randint(1, self._magnitude))
        return str(self._chance.choice([whole, f"{whole}.999999999999", 10**self._magnitude - 1]))

    # --- The whole ----------------------------------------------------------------------------------------------------

    def first(self) -> Put:
        """A catalogue to begin with."""
        chance = self._chance
        put: Put = {
            "taxes": [self.tax(country) for country in COUNTRIES if country and chance.random() < 0.8],
            "meters": [self.meter() for _ in range(chance.choice([1, 1, 2]))],
        }
        put["products"] = [self.product(chance.choice(put["meters"])) for _ in range(chance.randint(2, 5))]
        currencies = chance.sample(CURRENCIES, 2)
        put["plans"] = [
            self.plan(product, currency)
            for product in put["products"]
            for currency in currencies
            for _ in range(chance.randint(1, 2))
        ]
        put["customers"] = [self.customer() for _ in range(self._customer_count)]
        put["contracts"] = []
        for customer in put["customers"]:
            currency = chance.choice(currencies)
            plans = [plan["id"] for plan in put["plans"] if plan["currency"] == currency]
            put["contracts"] += [self.contract(customer["id"], plans) for _ in range(chance.randint(1, 2))]
        return put

    def change(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        """A change of a catalogue, which may be refused: objects to put, ids to remove."""
        chance = self._chance
        changes = [
            *[self._other_plan] * 4,
            *[self._other_contract] * 4,
            self._other_product,
            self._other_tax,
            self._other_meter,
            self._other_customer,
            self._more,
            self._less,
            self._fewer_customers,
        ]
        return chance.choice(changes)(catalogue)

    def _any(self, catalogue: Mapping[str, Mapping[str, Objects]], kind: str) -> Objects:
        return dict(self._chance.choice(list(catalogue[kind].values())))

    def _other_plan(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        plan = self._any(catalogue, "plans")
        product = catalogue["products"][plan["product"]]
        return {"plans": [{**self.plan(product, plan["currency"]), "id": plan["id"]}]}, {}

    def _other_contract(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        chance, contract = self._chance, self._any(catalogue, "contracts")
        what = chance.randrange(6)
        if self._terms is not None and chance.random() < 0.5:
            contract = copy.deepcopy(contract)
            self._terms.add(contract)
            return {"contracts": [contract]}, {}
        if what == 0:
            contract["end_date"] = self._day(date(2024, 3, 1), date(2024, 6, 1))
        elif what == 1:
            contract["billing_frequency"] = self.billing_frequency()
        elif what == 2:
            contract["time_zone"] = chance.choice(ZONES)
        elif what == 3 and contract.get("product_contracts"):
            product_contracts = [dict(each) for each in contract["product_contracts"]]
            chance.choice(product_contracts)["accumulation_period"] = self.accumulation_period()
            contract["product_contracts"] = product_contracts
        elif what == 4:
            contract["product_contracts"] = contract.get("product_contracts", [])[1:]
        else:
            currencies = {catalogue["plans"][each["plan"]]["currency"] for each in _product_contracts(contract)}
            plans = [plan["id"] for plan in catalogue["plans"].values() if plan["currency"] in currencies]
            more = [self.product_contract(chance.choice(plans))] if plans else []
            contract["product_contracts"] = [*contract.get("product_contracts", []), *more]
        return {"contracts": [contract]}, {}

    def _other_product(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        product = self._any(catalogue, "products")
        other = self.product(self._any(catalogue, "meters"))
        return {"products": [{**other, "id": product["id"]}]}, {}

    def _other_tax(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        if not catalogue["taxes"]:
            return {"taxes": [self.tax("NL")]}, {}
        tax = self._any(catalogue, "taxes")
        if self._chance.random() < 0.2:
            return {}, {"taxes": [tax["id"]]}
        return {"taxes": [{**self.tax(tax["country_code"]), "id": tax["id"]}]}, {}

    def _other_meter(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        """Events that were taken before may be wrong from now on, or the other way round."""
        meter, chance = self._any(catalogue, "meters"), self._chance
        meter["allow_negative"] = chance.random() < 0.5
        meter["properties"] = chance.choice([list(PROPERTIES), list(PROPERTIES)[:1]])
        return {"meters": [meter]}, {}

    def _other_customer(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        return {
            "customers": [{**self._any(catalogue, "customers"), "country_code": self._chance.choice(COUNTRIES)}]
        }, {}

    def _more(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        customer = self.customer()
        currency = self._any(catalogue, "plans")["currency"]
        plans = [plan["id"] for plan in catalogue["plans"].values() if plan["currency"] == currency]
        return {"customers": [customer], "contracts": [self.contract(customer["id"], plans)]}, {}

    def _less(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        return {}, {"contracts": [self._any(catalogue, "contracts")["id"]]}

    def _fewer_customers(self, catalogue: Mapping[str, Mapping[str, Objects]]) -> tuple[Put, dict[str, list[str]]]:
        customer = self._any(catalogue, "customers")["id"]
        contracts = [each["id"] for each in catalogue["contracts"].values() if each["customer"] == customer]
        return {}, {"customers": [customer], "contracts": contracts}

    # --- Objects ------------------------------------------------------------------------------------------------------

    def tax(self, country: str) -> Objects:
        rates = ["0.21", "0.075", "0", "0.0825", "0.055555555555", "1", "17.5"]
        return {
            "id": f"tax_{country}",
            "country_code": country,
            "rate": self._chance.choice(rates),
            "mode": self._chance.choice(["EXCLUSIVE", "INCLUSIVE"]),
        }

    def meter(self) -> Objects:
        name = self._name("meter")
        return {
            "id": name,
            "reference": self._chance.choice([name, f"{name}_reference"]),
            "values": list(VALUES),
            "properties": list(PROPERTIES),
            "allow_negative": self._chance.random() < 0.5,
        }

    def product(self, meter: Objects) -> Objects:
        chance, name = self._chance, self._name("product")
        aggregation = chance.choice(["SUM", "SUM", "COUNT", "MAX"])
        product = {"id": name, "meter": meter["id"], "aggregation": aggregation}
        if aggregation != "COUNT" or chance.random() < 0.5:
            product["value"] = chance.choice(VALUES)
        if chance.random() < 0.2:
            product["filter"] = self._match(1)
        return product

    def _match(self, count: int) -> dict[str, str]:
        return {name: self._chance.choice(PROPERTIES[name]) for name in self._chance.sample(list(PROPERTIES), count)}

    def plan(self, product: Objects, currency: str) -> Objects:
        chance = self._chance
        plan = {
            "id": self._name("plan"),
            "product": product["id"],
            "currency": currency,
            "rounding": chance.choice(["HALF_AWAY_FROM_ZERO", "HALF_EVEN"]),
        }
        if chance.random() < 0.25:
            rules: list[Objects] = []
            for count in chance.choice([(1, 0), (2, 1), (2, 1, 0), (0,)]):
                rule = {"match": self._match(count), **self.pricing()}
                if not any(set(other["match"].items()) <= set(rule["match"].items()) for other in rules):
                    rules.append(rule)
            return {**plan, "matrix": {"rules": rules}}
        return {**plan, **self.pricing()}

    def pricing(self) -> Objects:
        """A model and what stands around it."""
        chance = self._chance
        model = chance.choice(
            ["per_unit", "graduated", "graduated", "volume", "volume", "stairstep", "package", "none"]
        )
        if model == "none" and chance.random() < 0.5:
            return {"none": {}}
        if model == "per_unit" or model == "none":
            said: Objects = {"per_unit": {"unit_price": self.price()}}
        elif model == "package":
            package = {"size": chance.choice(BOUNDS), "amount": self.price(), "rounding": chance.choice(["UP", "DOWN"])}
            said = {"package": package}
        else:
            said = {model: {"tiers": self._tiers(model)}, "zero_usage": chance.random() < 0.4}
        if chance.random() < 0.3:
            mode = chance.choice(["SUBTRACT_FIRST", "FREE_FIRST_TIER"])
            said["included_quantity"] = {"quantity": chance.choice(BOUNDS), "mode": mode}
            if chance.random() < 0.5:
                said["included_quantity"]["prorate"] = True
        if chance.random() < 0.2:
            said["minimum"] = chance.choice(["0.005", "1", "5.555"])
        if chance.random() < 0.2:
            said["cap"] = chance.choice(["6", "20.005", "1000"])
        if chance.random() < 0.15:
            operation = chance.choice(["divide_by", "multiply_by"])
            said["conversion"] = {
                operation: chance.choice(["3", "7", "0.1", "1000"]),
                "decimal_places": chance.choice([-1, 0, 2, 12]),
                "rounding": chance.choice(["HALF_AWAY_FROM_ZERO", "HALF_EVEN", "UP", "DOWN"]),
            }
        return said

    def _tiers(self, model: str) -> list[Objects]:
        chance = self._chance
        bounds = sorted(chance.sample(BOUNDS, chance.randint(0, 3)), key=float)
        tiers: list[Objects] = [{"up_to": bound} for bound in bounds] + [{}]
        for tier in tiers:
            if model != "stairstep":
                tier["unit_price"] = self.price()
            if model == "stairstep" or chance.random() < 0.4:
                tier["flat_fee"] = self.price()
        return tiers

    def customer(self) -> Objects:
        name = self._name("customer")
        return {
            "id": name,
            "reference": self._chance.choice([name, f"{name}_reference"]),
            "country_code": self._chance.choice(COUNTRIES),
        }

    def contract(self, customer: str, plans: list[str]) -> Objects:
        """A tree of one to three levels. Every product contract is shared, so that an event may meet several."""
        chance = self._chance
        contract: Objects = {
            "id": self._name("contract"),
            "customer": customer,
            "time_zone": chance.choice(ZONES),
            "start_date": self._day(date(2023, 11, 15), date(2024, 2, 10)),
            "billing_frequency": self.billing_frequency(),
            "product_contracts": [self.product_contract(chance.choice(plans)) for _ in range(chance.randint(1, 4))],
        }
        if chance.random() < 0.2:
            contract["end_date"] = self._day(date(2024, 3, 1), date(2024, 6, 1))
            if chance.random() < 0.3:
                contract["auto_renewal"] = True
        if chance.random() < 0.2:
            contract["override_underlying"] = True
        level = contract
        for _ in range(chance.choice([0, 0, 1, 2])):
            below: Objects = {
                "id": self._name("division"),
                "product_contracts": [self.product_contract(chance.choice(plans)) for _ in range(chance.randint(0, 2))],
            }
            if chance.random() < 0.3:
                below["time_zone"] = chance.choice(ZONES)
            if chance.random() < 0.3:
                below["billing_frequency"] = self.billing_frequency()
            level["sub_contracts"] = [below]
            level = below
        if self._terms is not None and chance.random() < 0.8:
            self._terms.add(contract)
        return contract

    def product_contract(self, plan: str) -> Objects:
        chance = self._chance
        each: Objects = {"id": self._name("charge"), "plan": plan, "shared": True}
        if chance.random() < 0.6:
            each["accumulation_period"] = self.accumulation_period()
        return each

    def billing_frequency(self) -> Objects:
        unit, intervals = self._chance.choice(
            [("MONTH", (1,)), ("MONTH", (1, 2, 3)), ("WEEK", (1, 2)), ("DAY", (7, 10)), ("YEAR", (1,))]
        )
        basis = self._chance.choice(["CALENDAR", "CONTRACT"])
        return {"basis": basis, "interval": self._chance.choice(intervals), "unit": unit}

    def accumulation_period(self) -> Objects:
        unit, intervals = self._chance.choice(
            [("DAY", (1, 5)), ("WEEK", (1,)), ("MONTH", (1, 3)), ("YEAR", (1,)), ("YEAR", (1,))]
        )
        frequency = {"interval": self._chance.choice(intervals), "unit": unit}
        basis = self._chance.choice(["CALENDAR", "CONTRACT", None])
        return {**frequency, **({"basis": basis} if basis else {})}

    def _day(self, first: date, last: date) -> str:
        return (first + timedelta(days=self._chance.randrange((last - first).days))).isoformat()


def _product_contracts(contract: Objects) -> list[Objects]:
    below = [each for sub in contract.get("sub_contracts", ()) for each in _product_contracts(sub)]
    return [*contract.get("product_contracts", ()), *below]
