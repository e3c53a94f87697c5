"""Catalogues for tests, written as the files that people write."""

from __future__ import annotations

from textwrap import dedent

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.change import CatalogChange, CatalogIds
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.catalog.versions import apply_change
from tallybook_server.catalog_file import MessageFile, check_catalog_file, read_message_file
from tallybook_server.codec.catalog import read_objects

CARDS = """\
taxes:
  - {id: nl, country_code: NL, rate: 0.21}
meters:
  - {id: card_issuing, values: [card_count], properties: [card_type]}
products:
  - {id: cards, meter: card_issuing, aggregation: SUM, value: card_count}
plans:
  - {id: cards_2023, product: cards, currency: EUR, per_unit: {unit_price: 0.07}}
customers:
  - {id: bank, name: Bank, country_code: NL}
contracts:
  - {id: bank_2023, customer: bank, time_zone: Europe/Amsterdam, start_date: 2023-01-01,
     billing_frequency: {basis: CALENDAR, interval: 1, unit: MONTH}, product_contracts: [{plan: cards_2023}]}
"""
"""A catalogue with one object of each kind that events need."""

METERS = """\
quality_tables:
  - {id: words, statuses: [{name: good, is_billable: true}, {name: none, has_value: false}]}
holiday_calendars:
  - {id: nl_days, version: 3, dates: [2026-12-25, 2026-12-26], valid_from_date: 2026-01-01}
timeslice_groups:
  - {id: tariff, intervals: [{slice: T1, days: WEEKDAYS, start_time_of_day: 07:00, end_time_of_day: 23:00}]}
channel_classifiers:
  - {id: active, unit: kWh, decimal_places: 3, interval: 900s}
datasources:
  - {id: m1, channels: [{name: load, classifier: active}], holiday_calendar: nl_days, quality_table: words,
     register_tolerance: 60s, customer: bank, contract_id: bank_2023/cards_2023, time_zone: Europe/Amsterdam}
"""
"""One object of each kind that meters need; the customer is that of the cards."""

EVERYTHING = CARDS + METERS
"""A catalogue with one object of each kind."""


def read(text: str, name: str = "catalog.yaml") -> MessageFile[catalog_pb2.Catalog]:
    """A catalogue file."""
    return read_message_file(name, dedent(text).encode(), catalog_pb2.Catalog)


def faults(text: str, base: Catalog | None = None, name: str = "catalog.yaml") -> list[str]:
    """Everything that is wrong with a catalogue file, as it is printed."""
    return list(check_catalog_file(read(text, name), base or Catalog(), prune=False))


def change(text: str, prune: bool = False, **remove: tuple[str, ...]) -> CatalogChange:
    """A change that puts what a file says and removes ids by kind."""
    file, found = read(text), Faults()
    objects = read_objects(file.message, found)
    assert not file.faults
    assert not found.ordered()
    return CatalogChange(objects, CatalogIds(**remove), prune)


def catalog(text: str = CARDS, base: Catalog | None = None) -> Catalog:
    """The catalogue that a file makes of another one."""
    return apply_change(base or Catalog(), change(text))
