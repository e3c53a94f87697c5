"""Random events for a random catalogue: new ones and ones sent before, near every edge, some of them wrong."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.random_catalogue import BOUNDS, FIRST_DAY, LAST_DAY, PROPERTIES, VALUES, ZONES

from tallybook_oracle.calendar import first_instant
from tallybook_oracle.catalog import Catalogue, reference_of

EventDict = dict[str, Any]
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def written(instant_us: int, nanoseconds: str = "") -> str:
    """An instant as JSON has it; digits finer than a microsecond are cut by who reads it."""
    moment = _EPOCH + timedelta(microseconds=instant_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment:%f}{nanoseconds}Z"


class RandomEvents:
    """Makes events; remembers what it made, so that it can send it again, right or wrong."""

    def __init__(self, chance: random.Random, magnitude: int = 3) -> None:
        self._chance = chance
        self._magnitude = magnitude
        self.sent: list[EventDict] = []

    def message(self, catalogue: Catalogue, now_us: int, count: int) -> list[EventDict]:
        """So many events; most are new."""
        return [self._one(catalogue, now_us) for _ in range(count)]

    def _one(self, catalogue: Catalogue, now_us: int) -> EventDict:
        chance = self._chance.random()
        if chance < 0.10 and self.sent:
            return self.respelled(self._chance.choice(self.sent), catalogue)
        if chance < 0.15 and self.sent:
            return self._altered(self._chance.choice(self.sent))
        event = self.new(catalogue, now_us)
        if chance < 0.19:
            return self._spoiled(event, now_us)
        self.sent.append(event)
        return event

    def new(self, catalogue: Catalogue, now_us: int) -> EventDict:
        """An event of a reference of its own."""
        chance = self._chance
        event: EventDict = {"reference": f"r{len(self.sent)}-{chance.randrange(10**6)}"}
        event |= self._customer(catalogue)
        event |= self._meter(catalogue)
        names = chance.sample(VALUES, chance.choice([0, 1, 2, 2, 2]))
        allow_negative = self._allows_negative(catalogue, event)
        event["meter_values"] = [{"reference": name, "number": self._number(allow_negative)} for name in names]
        event["meter_properties"] = [
            {"reference": name, "value": chance.choice([*texts, "other"])}
            for name, texts in PROPERTIES.items()
            if chance.random() < 0.7
        ]
        if chance.random() < 0.95:
            event["time"] = written(self._time(now_us), chance.choice(["", "", "999"]))
        if chance.random() < 0.05:
            charges = [each["id"] for each in catalogue["contracts"].values() for each in each["product_contracts"]]
            event["contract_id"] = chance.choice([*charges, "no_such_charge"])
        return event

    def _customer(self, catalogue: Catalogue) -> EventDict:
        if self._chance.random() < 0.03:
            return {"customer_reference": f"stranger{self._chance.randrange(3)}"}
        customer = self._chance.choice(list(catalogue["customers"].values()))
        return self._named("customer", customer)

    def _meter(self, catalogue: Catalogue) -> EventDict:
        if self._chance.random() < 0.03:
            return {"meter_reference": "no_such_meter"}
        return self._named("meter", self._chance.choice(list(catalogue["meters"].values())))

    def _named(self, thing: str, each: Mapping[str, Any]) -> EventDict:
        if self._chance.random() < 0.5:
            return {f"{thing}_id": each["id"]}
        return {f"{thing}_reference": reference_of(each)}

    def _allows_negative(self, catalogue: Catalogue, event: EventDict) -> bool:
        meters = catalogue["meters"].values()
        named = (event.get("meter_id"), event.get("meter_reference"))
        return any(each.get("allow_negative") for each in meters if each["id"] in named or reference_of(each) in named)

    def _number(self, allow_negative: bool) -> str:
        chance = self._chance
        number = chance.choice(
            [
                *("0", "1", "1", "2.5", "0.000000000001", str(chance.randrange(100))),
                chance.choice(BOUNDS),
                f"{chance.randrange(10)}.{chance.randrange(10**12):012d}",
                f"{chance.randrange(10 ** chance.randint(1, self._magnitude))}.{chance.randrange(10**6):06d}",
                str(10**self._magnitude - 1),
            ]
        )
        negative = allow_negative and number != "0" and chance.random() < 0.3
        return f"-{number}" if negative else number

    def _time(self, now_us: int) -> int:
        """Anywhere in the season, often right at a midnight, sometimes a little in the future."""
        chance = self._chance
        day = FIRST_DAY + timedelta(days=chance.randrange((LAST_DAY - FIRST_DAY).days + 1))
        midnight_us = first_instant(chance.choice(ZONES), day)
        if chance.random() < 0.03:
            return now_us + chance.randrange(_DAY_US + 1)
        return min(
            midnight_us + chance.choice([0, -1, 1, chance.randrange(_DAY_US), chance.randrange(_DAY_US)]), now_us
        )

    # --- Sent again ---------------------------------------------------------------------------------------------------

    def respelled(self, event: EventDict, catalogue: Catalogue) -> EventDict:
        """The same event written otherwise: other digits for the same number, another order, an id for a reference."""
        again = dict(event)
        again["meter_values"] = [{**each, "number": _other_digits(each["number"])} for each in event["meter_values"]][
            ::-1
        ]
        again["meter_properties"] = event["meter_properties"][::-1]
        for thing, kind in (("customer", "customers"), ("meter", "meters")):
            for each in catalogue[kind].values():
                if event.get(f"{thing}_id") == each["id"] and self._chance.random() < 0.5:
                    del again[f"{thing}_id"]
                    again[f"{thing}_reference"] = reference_of(each)
        return again

    def _altered(self, event: EventDict) -> EventDict:
        """Another event under the same reference."""
        other = dict(event)
        what = self._chance.randrange(4)
        if what == 0 and event["meter_values"]:
            first = event["meter_values"][0]
            other["meter_values"] = [{**first, "number": "77.7"}, *event["meter_values"][1:]]
        elif what == 1 and "time" in event:
            del other["time"]
        elif what == 2:
            other["contract_id"] = "another"
        else:
            other["meter_properties"] = [{"reference": "size", "value": "xxl"}]
        return other

    def _spoiled(self, event: EventDict, now_us: int) -> EventDict:
        """An event that is wrong in one way."""
        wrong: list[EventDict] = [
            {"meter_values": [{"reference": "count", "number": self._chance.choice(["", "1e3", "NaN", "1.", "+1"])}]},
            {"meter_values": [{"reference": "count", "number": "0.0000000000001"}]},
            {"meter_values": [{"reference": "count", "number": "1000000000000000"}]},
            {"meter_values": [{"reference": "no_such_value", "number": "1"}]},
            {"meter_values": [{"reference": "count", "number": "1"}, {"reference": "count", "number": "1"}]},
            {"meter_properties": [{"reference": "no_such_property", "value": "x"}]},
            {"meter_values": [{"reference": "count", "number": "-1"}]},
            {"time": written(now_us + _DAY_US + 1)},
            {"reference": ""},
            {"reference": "r" * 256},
            {"customer_id": "a", "customer_reference": "b"},
        ]
        return {**event, **self._chance.choice(wrong)}


def _other_digits(number: str) -> str:
    if "." in number:
        return number + "0"
    return f"{number}.000" if number != "0" else "-0"
