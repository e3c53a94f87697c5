"""Random terms for contract trees in the JSON of their file: fees, shares, discounts, caps, minimums, credits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

Objects = dict[str, Any]
ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Africa/Cairo", "Asia/Kathmandu")
FIRST_DAY = date(2024, 1, 1)
FREQUENCIES = (("MONTH", 1), ("MONTH", 1), ("MONTH", 3), ("WEEK", 2), ("DAY", 10), ("YEAR", 1))


class RandomTerms:
    """Adds terms to trees; `digits` are the decimals of their currency, `prefix` begins every id."""

    def __init__(self, chance: random.Random, digits: int = 2, prefix: str = "") -> None:
        self._chance = chance
        self._digits = digits
        self._prefix = prefix
        self._made = 0

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{self._prefix}{kind}{self._made}"

    def tree(self, customer: str, plans: Sequence[str], level_max: int = 4) -> Objects:
        """A tree of several levels, each with its own calendar here and there; nothing but product contracts in it."""
        chance = self._chance
        root: Objects = {
            "id": self._name("root"),
            "customer": customer,
            "time_zone": chance.choice(ZONES),
            "start_date": self._day(0, 60),
            "billing_frequency": self.frequency(),
        }
        if chance.random() < 0.5:
            root["end_date"] = self._day(120, 420)
            start = date.fromisoformat(root["start_date"])
            if chance.random() < 0.5 and start.day <= 28:
                # Whole months, as most contracts run.
                root["end_date"] = start.replace(month=start.month + chance.choice([4, 6])).isoformat()
            if chance.random() < 0.3:
                root["auto_renewal"] = True
        due = [(root, 1)]
        are_listed = chance.random() < 0.3
        while due:
            level, depth = due.pop()
            level["product_contracts"] = [
                {"id": self._name("charge"), "plan": chance.choice(plans), "shared": True}
                for _ in range(chance.randint(0, 2))
            ]
            for _ in range(chance.choice([0, 1, 1, 2]) if depth < level_max else 0):
                below: Objects = {"id": self._name("division")}
                if chance.random() < 0.15:
                    below["override_underlying"] = True
                if chance.random() < 0.3:
                    below["billing_frequency"] = self.frequency()
                if chance.random() < 0.2:
                    below["time_zone"] = chance.choice(ZONES)
                if depth == 1 and chance.random() < 0.2:
                    below["start_date"] = self._day(60, 90)
                if are_listed and chance.random() < 0.7:
                    root.setdefault("sub_contracts", []).append({**below, "parent": level["id"]})
                    below = root["sub_contracts"][-1]
                else:
                    level.setdefault("sub_contracts", []).append(below)
                due.append((below, depth + 1))
        return root

    def add(self, root: Objects, chance_of_each: float = 0.5) -> None:
        """Adds terms to every level of a tree."""
        chance = self._chance
        root["payment_term_days"] = chance.choice([0, 14, 30])
        for level in levels(root):
            level["fixed_fees"] = [self.fee() for _ in range(chance.choice([0, 0, 1, 2]))]
            if "end_date" in root and chance.random() < 0.3:
                # Every level has the root's end where it has none of its own.
                fee = {"id": self._name("fee"), "amount": self.amount(), "per_term": True}
                level["fixed_fees"].append(fee | {"timing": chance.choice(["IN_ADVANCE", "IN_ARREARS"])})
            level["revenue_shares"] = self._shares(level)
            if chance.random() < chance_of_each:
                level["discount"] = {"rate": self.rate(), "threshold": self.amount(), "mode": self._mode()}
            if chance.random() < chance_of_each:
                level["cap"] = self.amount(large=True)
            if chance.random() < chance_of_each:
                minimum = self.amount()
                if "cap" not in level or float(minimum) <= float(level["cap"]):
                    level["minimum"] = minimum
            level["credits"] = [self.credit() for _ in range(chance.choice([0, 0, 1, 3]))]
            level["prorate"] = chance.random() < 0.5

    def _mode(self) -> str:
        return self._chance.choice(["ALL", "EXCESS"])

    def _shares(self, level: Objects) -> list[Objects]:
        """Shares of charges at the level and below, and of those shares that stand before them."""
        chance = self._chance
        there = [
            each["id"]
            for below in levels(level)
            for kind in ("product_contracts", "fixed_fees", "revenue_shares")
            for each in below.get(kind, ())
        ]
        shares: list[Objects] = []
        for _ in range(chance.choice([0, 0, 1, 2])):
            if there:
                charges = chance.sample(there, min(len(there), chance.randint(1, 3)))
                rate = chance.choice(["0.1", "-0.05", "0.333333333333", "1.5"])
                shares.append({"id": self._name("share"), "rate": rate, "charges": charges})
                there.append(shares[-1]["id"])
        chance.shuffle(shares)
        return shares

    def fee(self) -> Objects:
        chance = self._chance
        fee: Objects = {
            "id": self._name("fee"),
            "amount": chance.choice(["", "", "-"]) + self.amount(),
            "timing": chance.choice(["IN_ADVANCE", "IN_ARREARS"]),
        }
        if chance.random() < 0.3:
            return {**fee, "once": True}
        if chance.random() < 0.6:
            fee["frequency"] = self.frequency()
            if chance.random() < 0.3:
                del fee["frequency"]["basis"]
        fee["prorate"] = chance.random() < 0.5
        return fee

    def credit(self) -> Objects:
        chance = self._chance
        credit: Objects = {"id": self._name("credit"), "amount": self.amount(large=True)}
        if chance.random() < 0.5:
            credit["start_date"] = self._day(60, 120)
        if chance.random() < 0.6:
            credit["end_date"] = self._day(121, 400)
        return credit

    def frequency(self) -> Objects:
        unit, interval = self._chance.choice(FREQUENCIES)
        return {"basis": self._chance.choice(["CALENDAR", "CONTRACT"]), "interval": interval, "unit": unit}

    def rate(self) -> str:
        return self._chance.choice(["0.1", "0.125", "0.333333333333", "1", "0"])

    def amount(self, *, large: bool = False) -> str:
        """An amount of the currency."""
        whole = self._chance.choice([0, 1, 7, 50, 100, 333] if not large else [20, 100, 500, 2000])
        rest = self._chance.randrange(10**self._digits) if self._digits else 0
        return f"{whole}.{rest:0{self._digits}d}" if self._digits else str(whole)

    def _day(self, first: int, last: int) -> str:
        return (FIRST_DAY + timedelta(days=self._chance.randint(first, last))).isoformat()


def levels(contract: Objects) -> Iterator[Objects]:
    """A contract and all below it."""
    yield contract
    for below in contract.get("sub_contracts", ()):
        yield from levels(below)
