"""Small catalogues and events for tests that are about one rule: all of it is written out where it is used."""

from __future__ import annotations

from typing import Any

from tests.support.random_events import written

Objects = dict[str, Any]
MONTHLY = {"basis": "CALENDAR", "interval": 1, "unit": "MONTH"}
YEARLY = {"interval": 1, "unit": "YEAR"}
DAILY = {"interval": 1, "unit": "DAY"}
DAY_US = 86_400_000_000
YEAR_START_US = 1_704_067_200_000_000
"""2024-01-01, UTC: when the contract of these catalogues begins."""
NOW_US = YEAR_START_US + 200 * DAY_US


def catalogue(
    *pricings: Objects,
    aggregation: str = "SUM",
    accumulation: Objects | None = None,
    billing: Objects = MONTHLY,
    tax: Objects | None = None,
    currency: str = "EUR",
    allow_negative: bool = False,
    zone: str = "UTC",
    end_date: str | None = None,
) -> dict[str, list[Objects]]:
    """One customer, `ann`, one meter, and one charge a pricing: `charge0`, `charge1` and so on."""
    charges = [{"id": f"charge{n}", "plan": f"plan{n}", "shared": True} for n in range(len(pricings))]
    if accumulation is not None:
        charges = [{**charge, "accumulation_period": accumulation} for charge in charges]
    contract = {
        "id": "contract",
        "customer": "ann",
        "time_zone": zone,
        "start_date": "2024-01-01",
        "billing_frequency": billing,
        "product_contracts": charges,
    }
    return {
        "taxes": [] if tax is None else [{"id": "tax", "country_code": "NL", **tax}],
        "meters": [
            {"id": "meter", "values": ["units"], "properties": ["kind"], "allow_negative": allow_negative},
        ],
        "products": [{"id": "product", "meter": "meter", "aggregation": aggregation, "value": "units"}],
        "plans": [
            {"id": f"plan{n}", "product": "product", "currency": currency, **pricing}
            for n, pricing in enumerate(pricings)
        ],
        "customers": [{"id": "ann", "country_code": "NL"}],
        "contracts": [contract if end_date is None else {**contract, "end_date": end_date}],
    }


def tiers(model: str, *rows: tuple[str | None, str, str], **around: Any) -> Objects:
    """A tiered pricing of (up to, unit price, flat fee)."""
    found = []
    for up_to, unit_price, flat_fee in rows:
        tier = {"flat_fee": flat_fee} if model == "stairstep" else {"unit_price": unit_price, "flat_fee": flat_fee}
        found.append(tier if up_to is None else {**tier, "up_to": up_to})
    return {model: {"tiers": found}, **around}


def per_unit(unit_price: str, **around: Any) -> Objects:
    return {"per_unit": {"unit_price": unit_price}, **around}


def used(reference: str, units: str | None = "1", day: float | None = 0.0, **more: Any) -> Objects:
    """An event of `ann`, so many days into the year; without a day it is rated at its receipt."""
    event: Objects = {"customer_reference": "ann", "meter_reference": "meter", "reference": reference}
    if units is not None:
        event["meter_values"] = [{"reference": "units", "number": units}]
    if day is not None:
        event["time"] = written(YEAR_START_US + round(day * DAY_US))
    return {**event, **more}
