"""The events and the catalogue that the benchmarks share: the same ones every time.

A thousand customers use an API. An event carries two decimal values and two properties, and both properties are
matched: the price of a gigabyte depends on region and class. With four charges an event also counts as a request in
packages, adds its seconds to a volume price and may raise the month's largest transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.json_format import ParseDict
from numpy.typing import NDArray

from tallybook.v1 import catalog_pb2, ingest_pb2
from tallybook_client import Event

SEED = 20130101
CUSTOMER_COUNT = 1_000
METER = "transfer"
REGIONS = ("eu", "us", "asia")
CLASSES = ("standard", "express")
FIRST_TIME_US = 1_704_067_200_000_000
"""2024-01-01 UTC, where the customers' month begins."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTH_US = 31 * 86_400 * 1_000_000
LARGEST_GIGABYTES = 40_000
"""In thousandths, and exclusive."""
LARGEST_SECONDS = 9_000
"""In hundredths, and exclusive."""


def catalog(charge_count: int) -> catalog_pb2.Catalog:
    """The customers' catalogue, with 1 or 4 charges an event."""
    rules = [
        {"id": f"{region}_{kind}", "match": {"region": region, "class": kind}, **_graduated(0.05 + 0.01 * index)}
        for index, (region, kind) in enumerate((region, kind) for region in REGIONS[:2] for kind in CLASSES)
    ]
    products = [
        {"id": "gigabytes", "meter": METER, "aggregation": "SUM", "value": "gigabytes"},
        {"id": "requests", "meter": METER, "aggregation": "COUNT"},
        {"id": "seconds", "meter": METER, "aggregation": "SUM", "value": "seconds"},
        {"id": "largest", "meter": METER, "aggregation": "MAX", "value": "gigabytes"},
    ]
    plans: list[dict[str, Any]] = [
        {"matrix": {"rules": [*rules, {"id": "elsewhere", "match": {}, **_graduated(0.12)}]}},
        {"package": {"size": "100", "amount": "0.25", "rounding": "UP"}},
        {"volume": {"tiers": [{"up_to": "20000", "unit_price": "0.0031"}, {"unit_price": "0.0027"}]}},
        {"per_unit": {"unit_price": "0.07"}},
    ]
    named = [
        {"id": product["id"], "product": product["id"], "currency": "EUR", **plan}
        for product, plan in zip(products, plans, strict=True)
    ]
    names = [customer_name(index) for index in range(CUSTOMER_COUNT)]
    document = {
        "taxes": [{"id": "nl", "country_code": "NL", "rate": "0.21"}],
        "meters": [{"id": METER, "values": ["gigabytes", "seconds"], "properties": ["region", "class"]}],
        "products": products[:charge_count],
        "plans": named[:charge_count],
        "customers": [{"id": name, "country_code": "NL"} for name in names],
        "contracts": [_contract(name, charge_count, [plan["id"] for plan in named]) for name in names],
    }
    return ParseDict(document, catalog_pb2.Catalog())


def _graduated(unit_price: float) -> dict[str, Any]:
    tiers = [
        {"up_to": "1000", "unit_price": f"{unit_price:.3f}"},
        {"up_to": "10000", "unit_price": f"{unit_price * 0.8:.4f}"},
        {"unit_price": f"{unit_price * 0.6:.4f}"},
    ]
    return {"graduated": {"tiers": tiers}}


def _contract(name: str, charge_count: int, plans: list[str]) -> dict[str, Any]:
    return {
        "id": f"{name}_2024",
        "customer": name,
        "time_zone": "UTC",
        "start_date": "2024-01-01",
        "billing_frequency": {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"},
        "product_contracts": [{"id": f"{name}_{plan}", "plan": plan} for plan in plans[:charge_count]],
    }


def customer_name(index: int) -> str:
    """Id and reference of a customer."""
    return f"customer_{index:04d}"


@dataclass(frozen=True)
class Events:
    """n events of one month, all different, in the order of their time but for some seconds."""

    count: int
    first: int = 0
    """Number of the first: other numbers are other events."""

    @cached_property
    def _random(self) -> dict[str, NDArray[np.int64]]:
        random = np.random.default_rng((SEED, self.first))
        return {
            "customer": random.integers(0, CUSTOMER_COUNT, self.count),
            "region": random.integers(0, len(REGIONS), self.count),
            "class": random.integers(0, len(CLASSES), self.count),
            "gigabytes": random.integers(1, LARGEST_GIGABYTES, self.count),
            "seconds": random.integers(1, LARGEST_SECONDS, self.count),
            "late_us": random.integers(0, 5_000_000, self.count),
        }

    def references(self) -> list[str]:
        """Each event's own key."""
        return [f"req-{number:016d}" for number in range(self.first, self.first + self.count)]

    def times_us(self) -> NDArray[np.int64]:
        """[n] spread over the month."""
        spread = np.arange(self.count, dtype=np.int64) * ((MONTH_US - 10_000_000) // max(self.count, 1))
        return FIRST_TIME_US + spread + self._random["late_us"]

    def messages(self, rows: range) -> list[ingest_pb2.Event]:
        """Typed rows, one object each."""
        chosen = {name: column[rows.start : rows.stop].tolist() for name, column in self._random.items()}
        times_us = self.times_us()[rows.start : rows.stop].tolist()
        messages = []
        for at in range(len(rows)):
            message = ingest_pb2.Event(
                customer_reference=customer_name(chosen["customer"][at]),
                meter_reference=METER,
                reference=f"req-{self.first + rows.start + at:016d}",
            )
            message.time.seconds, microseconds = divmod(times_us[at], 1_000_000)
            message.time.nanos = microseconds * 1_000
            message.meter_values.add(reference="gigabytes", number=decimal_text(chosen["gigabytes"][at], 3))
            message.meter_values.add(reference="seconds", number=decimal_text(chosen["seconds"][at], 2))
            message.meter_properties.add(reference="region", value=REGIONS[chosen["region"][at]])
            message.meter_properties.add(reference="class", value=CLASSES[chosen["class"][at]])
            messages.append(message)
        return messages

    def objects(self) -> list[Event]:
        """As the Python client's users write them."""
        texts = zip(
            self._random["customer"].tolist(),
            self._random["region"].tolist(),
            self._random["class"].tolist(),
            self._random["gigabytes"].tolist(),
            self._random["seconds"].tolist(),
            self.times_us().tolist(),
            self.references(),
            strict=True,
        )
        return [
            Event(
                reference=reference,
                customer_reference=customer_name(customer),
                meter_reference=METER,
                time=EPOCH + timedelta(microseconds=time_us),
                values={"gigabytes": decimal_text(gigabytes, 3), "seconds": decimal_text(seconds, 2)},
                properties={"region": REGIONS[region], "class": CLASSES[kind]},
            )
            for customer, region, kind, gigabytes, seconds, time_us, reference in texts
        ]

    def table(self) -> pa.Table:
        """The schema `events` of docs/arrow.md."""
        return pa.table(
            {
                "reference": pa.array(self.references()),
                "customer_reference": _coded(self._random["customer"], map(customer_name, range(CUSTOMER_COUNT))),
                "meter_reference": _coded(np.zeros(self.count, dtype=np.int64), [METER]),
                "time": pa.array(self.times_us()).cast(pa.timestamp("us", tz="UTC")),
                "value:gigabytes": _decimals(self._random["gigabytes"], 3),
                "value:seconds": _decimals(self._random["seconds"], 2),
                "property:region": _coded(self._random["region"], REGIONS),
                "property:class": _coded(self._random["class"], CLASSES),
            }
        )

    def batches(self, batch_rows: int) -> Iterator[range]:
        """The rows of each batch."""
        for start in range(0, self.count, batch_rows):
            yield range(start, min(start + batch_rows, self.count))


def decimal_text(number: int, places: int) -> str:
    """A non-negative number as a decimal string."""
    whole, fraction = divmod(number, 10**places)
    return f"{whole}.{fraction:0{places}d}"


def _coded(codes: NDArray[np.int64], texts: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(list(texts)))


def _decimals(numbers: NDArray[np.int64], places: int) -> pa.Array:
    wide = np.zeros((len(numbers), 2), dtype=np.int64)
    wide[:, 0] = numbers
    return pa.Array.from_buffers(pa.decimal128(18, places), len(numbers), [None, pa.py_buffer(wide.reshape(-1))])
