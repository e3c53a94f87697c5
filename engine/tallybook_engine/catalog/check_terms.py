"""What contracts have beside their plans: fixed fees, revenue shares, discount, cap, minimum, credits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date

from tallybook_engine.catalog import limits
from tallybook_engine.catalog.check_names import check_name
from tallybook_engine.catalog.faults import Faults
from tallybook_engine.catalog.model import Catalog, Contract, FixedFee, RevenueShare
from tallybook_engine.contract.revenue_share import cycle
from tallybook_engine.contract.tree import has_terms
from tallybook_engine.currencies import is_currency, minor_digits
from tallybook_engine.decimals import QUANTITY_SCALE, UNIT

Levels = Sequence[tuple[str, tuple[Contract, ...]]]
"""The levels of a tree, parents before children, each with its path in the file and its contracts from the root."""


def check_terms(catalog: Catalog, levels: Levels, faults: Faults) -> None:
    """Adds to `faults` what is wrong with the terms of one tree."""
    root_path, (root,) = levels[0]
    if not 0 <= root.payment_term_days <= limits.PAYMENT_TERM_DAYS_MAX:
        faults.add(
            f"{root_path}.payment_term_days",
            f"is {root.payment_term_days}, not from 0 to {limits.PAYMENT_TERM_DAYS_MAX}",
        )
    currency = _currency(catalog, levels, faults)
    for path, above in levels:
        _check_level(path, above[-1], currency, faults)
    _check_ids(levels, faults)
    _check_shared(levels, faults)


def _currency(catalog: Catalog, levels: Levels, faults: Faults) -> str | None:
    """The currency of a tree's amounts; None where it is not known."""
    root_path, (root,) = levels[0]
    plans = (catalog.plans.get(each.plan) for _, above in levels for each in above[-1].product_contracts)
    of_plans = next((plan.currency for plan in plans if plan is not None), None)
    field = f"{root_path}.currency"
    if root.currency is None:
        has_plans = any(above[-1].product_contracts for _, above in levels)
        if not has_plans and any(has_terms(above[-1]) for _, above in levels):
            faults.add(field, "is required: the contract has amounts and no plan")
        return of_plans if of_plans is not None and is_currency(of_plans) else None
    if not is_currency(root.currency):
        faults.add(field, f'"{root.currency}" is no ISO 4217 code')
        return None
    if of_plans is not None and of_plans != root.currency:
        faults.add(field, f"is {root.currency}, and the contract's plans are in {of_plans}")
    return root.currency


def _check_level(path: str, contract: Contract, currency: str | None, faults: Faults) -> None:
    for field, count, count_max in (
        ("fixed_fees", len(contract.fixed_fees), limits.FIXED_FEES_MAX),
        ("revenue_shares", len(contract.revenue_shares), limits.REVENUE_SHARES_MAX),
        ("credits", len(contract.credits), limits.CREDITS_MAX),
    ):
        if count > count_max:
            faults.add(f"{path}.{field}", f"are {count}, at most {count_max} are possible")
    for index, fee in enumerate(contract.fixed_fees):
        _check_fee(f"{path}.fixed_fees[{index}]", fee, contract, currency, faults)
    for index, share in enumerate(contract.revenue_shares):
        _check_share(f"{path}.revenue_shares[{index}]", share, faults)
    if contract.discount is not None:
        here = f"{path}.discount"
        if not 0 <= contract.discount.rate <= UNIT:
            faults.add(f"{here}.rate", "is not from 0 to 1 (1 is 100 %)")
        _check_amount(f"{here}.threshold", contract.discount.threshold, currency, faults)
    for field, amount in (("cap", contract.cap), ("minimum", contract.minimum)):
        if amount is not None:
            _check_amount(f"{path}.{field}", amount, currency, faults)
    if contract.cap is not None and contract.minimum is not None and contract.minimum > contract.cap:
        faults.add(f"{path}.minimum", "is above the cap")
    names: dict[str, int] = {}
    for index, credit in enumerate(contract.credits):
        here = f"{path}.credits[{index}]"
        check_name(f"{here}.id", credit.id, faults)
        first = names.setdefault(credit.id, index)
        if first != index:
            faults.add(f"{here}.id", f'"{credit.id}" is the id of credits[{first}] too')
        _check_amount(f"{here}.amount", credit.amount, currency, faults)
        start = credit.start_date or contract.start_date
        if credit.end_date is not None and credit.end_date <= start:
            faults.add(f"{here}.end_date", f"is {credit.end_date}, not after the start {start}")


def _check_fee(path: str, fee: FixedFee, contract: Contract, currency: str | None, faults: Faults) -> None:
    _check_amount(f"{path}.amount", abs(fee.amount), currency, faults)
    if fee.frequency is not None:
        if fee.once:
            faults.add(f"{path}.frequency", "stands in a fee that is due once")
        elif not 1 <= fee.frequency.interval <= limits.INTERVAL_MAX:
            faults.add(
                f"{path}.frequency.interval", f"is {fee.frequency.interval}, not from 1 to {limits.INTERVAL_MAX}"
            )
    if fee.per_term:
        if fee.once or fee.frequency is not None:
            other = "once" if fee.once else "frequency"
            faults.add(f"{path}.{other}", "stands in a fee that is due every term of the contract")
        if contract.end_date is None:
            faults.add(f"{path}.per_term", "needs an end_date of the contract, at which its term ends")
    if fee.once and fee.prorate:
        faults.add(f"{path}.prorate", "stands in a fee that is due once: it has no days")
    _check_dates(path, fee.start_date, fee.end_date, contract, faults)


def _check_dates(path: str, start: date | None, end: date | None, contract: Contract, faults: Faults) -> None:
    first, last = start or contract.start_date, end or contract.ends_on
    if start is not None and start < contract.start_date:
        faults.add(f"{path}.start_date", f"is {start}, before its contract starts on {contract.start_date}")
    if end is not None and contract.ends_on is not None and end > contract.ends_on:
        faults.add(f"{path}.end_date", f"is {end}, after its contract ends on {contract.ends_on}")
    if last is not None and last <= first and (start is not None or end is not None):
        field = "end_date" if end is not None else "start_date"
        faults.add(f"{path}.{field}", f"leaves no day: the fee would run from {first} to {last}")


def _check_share(path: str, share: RevenueShare, faults: Faults) -> None:
    if not abs(share.rate) <= limits.SHARE_RATE_MAX * UNIT:
        faults.add(f"{path}.rate", f"is not from -{limits.SHARE_RATE_MAX} to {limits.SHARE_RATE_MAX} (1 is 100 %)")
    if not 1 <= len(share.charges) <= limits.SHARED_CHARGES_MAX:
        faults.add(f"{path}.charges", f"are {len(share.charges)}, not 1 to {limits.SHARED_CHARGES_MAX}")
    first_at: dict[str, int] = {}
    for index, name in enumerate(share.charges):
        if first_at.setdefault(name, index) != index:
            faults.add(f"{path}.charges[{index}]", f'"{name}" stands at charges[{first_at[name]}] too')


def _check_amount(path: str, amount: int, currency: str | None, faults: Faults) -> None:
    if amount < 0:
        faults.add(path, "is below 0")
    elif currency is not None and amount % 10 ** (QUANTITY_SCALE - minor_digits(currency)):
        faults.add(path, f"has more decimals than {currency} has: at most {minor_digits(currency)}")


def _check_ids(levels: Levels, faults: Faults) -> None:
    """Fees and shares go by ids of their own; those of product contracts were looked at with all other trees'."""
    owners = {each.id: path for path, above in levels for each in above[-1].product_contracts}
    for path, above in levels:
        contract = above[-1]
        named = [(f"{path}.fixed_fees[{index}]", each.id) for index, each in enumerate(contract.fixed_fees)]
        named += [(f"{path}.revenue_shares[{index}]", each.id) for index, each in enumerate(contract.revenue_shares)]
        for here, name in named:
            check_name(f"{here}.id", name, faults)
            owner = owners.setdefault(name, here)
            if owner != here:
                faults.add(f"{here}.id", f'"{name}" is an id in {owner} too')


def _check_shared(levels: Levels, faults: Faults) -> None:
    """A share is of charges of its own level and below, and never of itself."""
    if not any(above[-1].revenue_shares for _, above in levels):
        return
    level_of = {name: above for _, above in levels for name in _charges(above[-1])}
    for path, above in levels:
        shares = above[-1].revenue_shares
        for index, share in enumerate(shares):
            for at, name in enumerate(share.charges):
                here = f"{path}.revenue_shares[{index}].charges[{at}]"
                if name not in level_of:
                    faults.add(here, f'no product contract, fixed fee or revenue share "{name}" in the tree')
                elif not _is_at_or_below(level_of, name, above):
                    faults.add(here, f'"{name}" is not of this level or one below it')
        chain = cycle(shares)
        if chain:
            at = next(index for index, share in enumerate(shares) if share.id == chain[0])
            faults.add(f"{path}.revenue_shares[{at}].charges", f"a share of itself: {' -> '.join(chain)}")


def _is_at_or_below(level_of: Mapping[str, tuple[Contract, ...]], name: str, above: tuple[Contract, ...]) -> bool:
    found = level_of[name]
    return len(found) >= len(above) and found[len(above) - 1] is above[-1]


def _charges(contract: Contract) -> Collection[str]:
    return [
        *(each.id for each in contract.product_contracts),
        *(each.id for each in contract.fixed_fees),
        *(each.id for each in contract.revenue_shares),
    ]
