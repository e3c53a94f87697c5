"""Charge lines that no event opened, once more: what a product contract costs in each period without any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from fractions import Fraction

from tallybook_oracle.catalog import Catalogue, meanings
from tallybook_oracle.contract import OracleCharge
from tallybook_oracle.ledger import accumulation_period, billing_period, line_value, price_in
from tallybook_oracle.pricing import exact_price


def unopened_charges(
    catalogue: Catalogue, root_id: str, opened: Collection[tuple[str, str, int, int]], until_us: int
) -> list[OracleCharge]:
    """Of a root's whole tree, from its start to an instant; `opened` are (product contract, cell, start, end) of the
    lines that events opened.
    """
    found = []
    for meaning in meanings(catalogue).values():
        due_at_nothing = any(each.price.minimum or each.price.zero_usage for each in meaning.cells)
        if meaning.path[0] != root_id or not due_at_nothing:
            continue
        sums: dict[tuple[tuple[int, int], str], Fraction] = defaultdict(Fraction)
        at_us = meaning.start_us
        end_us = until_us if meaning.end_us is None else min(until_us, meaning.end_us)
        while at_us < end_us:
            period = accumulation_period(meaning, at_us)
            billing = billing_period(meaning, max(period[0], meaning.start_us))
            for number, cell in enumerate(meaning.cells):
                due = exact_price(price_in(meaning, number, period), Fraction(0))
                assert due is not None
                if due != 0 and (meaning.product_contract, cell.id, *billing) not in opened:
                    sums[billing, cell.id] += due
            at_us = period[1]
        for (billing, _), exact in sums.items():
            value = line_value(meaning, exact)
            assert value is not None
            found.append(OracleCharge(meaning.path, *billing, value.amount, value.tax, meaning.tax))
    return found
