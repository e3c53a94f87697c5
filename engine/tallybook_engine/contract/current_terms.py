"""Which of their terms the contracts of a tree are in at an instant, counted from the first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from tallybook_engine.calendar.billing_dates import index_holding
from tallybook_engine.calendar.zones import local_date
from tallybook_engine.catalog.model import Contract
from tallybook_engine.contract.terms import term_frequency, term_holding


@dataclass(frozen=True, slots=True)
class CurrentTerm:
    """A term of a contract."""

    contract_id: str
    number: int
    """1: the first one, 2: that for which it is renewed first."""
    start_date: date
    end_date: date
    """First day after."""


def current_terms(root: Contract, instant_us: int) -> list[CurrentTerm]:
    """The terms that hold an instant, of the contracts of a tree that have an end, parents before children. A contract
    has none before it starts and, unless it is renewed, from its end on.
    """
    found = []
    for path in root.levels():
        contract = path[-1]
        day = local_date(contract.time_zone, instant_us)
        has_ended = contract.ends_on is not None and contract.ends_on <= day
        if contract.end_date is None or day < contract.start_date or has_ended:
            continue
        term = term_holding(contract, day)
        assert term is not None
        frequency = term_frequency(contract.start_date, contract.end_date)
        number = 1 + index_holding(frequency, contract.start_date, day)
        found.append(CurrentTerm(contract.id, number, *term))
    return found
