"""Every peer's case of these models, through the kernel, the explained lines and the oracle."""

from fractions import Fraction

import pytest
from tests.support import pricing_vectors
from tests.support.kernel_prices import kernel_minor, kernel_price
from tests.support.oracle_prices import amount_fraction, fraction, oracle_price
from tests.support.pricing_vectors import Step, VectorCase

from tallybook_engine.catalog.model import TaxMode
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import Rounding
from tallybook_engine.pricing.lines import exact_price, marginal_lines, price_lines
from tallybook_engine.rating.rounding import rounded_to_minor
from tallybook_engine.rating.tax import tax_amount
from tallybook_oracle import pricing as oracle_pricing
from tallybook_oracle.rounding import minor_units
from tallybook_oracle.tax import tax_minor_units

CASES = [pytest.param(case, id=case.id) for case in pricing_vectors.cases()]


def by_kernel(step: Step, quantity: int, currency: str | None) -> Fraction:
    exact = kernel_price(step.price, quantity)
    assert exact is not None
    return amount_fraction(exact) if currency is None else _major(kernel_minor(exact, minor_digits(currency)), currency)


def by_lines(step: Step, quantity: int, currency: str | None) -> Fraction:
    exact = exact_price(step.price, quantity)
    if currency is None:
        return amount_fraction(exact)
    return _major(rounded_to_minor(exact, minor_digits(currency), Rounding.HALF_AWAY_FROM_ZERO), currency)


def by_oracle(step: Step, quantity: int, currency: str | None) -> Fraction:
    exact = oracle_pricing.exact_price(oracle_price(step.price), fraction(quantity))
    assert exact is not None
    if currency is None:
        return exact
    return _major(minor_units(exact, minor_digits(currency), "HALF_AWAY_FROM_ZERO"), currency)


def _major(minor: int | None, currency: str) -> Fraction:
    assert minor is not None
    return Fraction(minor, 10 ** minor_digits(currency))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", [by_kernel, by_lines, by_oracle])
def test_a_peers_amount(case: VectorCase, way):
    total = Fraction(0)
    for step in case.steps:
        amount = way(step, step.after, case.currency)
        if step.before is not None:
            amount -= way(step, step.before, case.currency)
        if step.amount is not None:
            assert amount == step.amount
        total += amount
    assert total == case.amount


@pytest.mark.parametrize("case_id", [case.id for case in pricing_vectors.cases() if case.tax is not None])
def test_a_peers_tax(case_id: str):
    case = next(case for case in pricing_vectors.cases() if case.id == case_id)
    assert case.currency is not None
    assert case.tax_rate is not None
    assert case.tax is not None
    digits = minor_digits(case.currency)
    minor = int(case.amount * 10**digits)
    expected = case.tax * 10**digits
    assert tax_minor_units(minor, case.tax_rate, inclusive=False) == expected
    assert tax_amount(int(case.tax_rate * 10**12), TaxMode.EXCLUSIVE, minor) == expected


@pytest.mark.parametrize(
    ("case_id", "step", "amounts"),
    [(case.id, step, step.lines) for case in pricing_vectors.cases() for step in case.steps if step.lines],
)
def test_a_peers_lines(case_id: str, step: Step, amounts: tuple[Fraction, ...]):
    if step.before is None:
        lines = price_lines(step.price, step.after)
    else:
        lines = marginal_lines(step.price, step.before, step.after)
    assert [amount_fraction(line.amount) for line in lines] == list(amounts)


def test_every_vector_runs_or_says_why_not():
    ids = [vector["id"] for vector in pricing_vectors.vectors()]
    ran = [case.id for case in pricing_vectors.cases()]
    tests = {*pricing_vectors.ELSEWHERE_MODELS.values(), *pricing_vectors.ELSEWHERE_IDS.values()}
    elsewhere = [vector["id"] for file in tests for vector in pricing_vectors.elsewhere(file)]
    # Each is in one of the three.
    assert sorted([*ran, *elsewhere, *pricing_vectors.not_run()]) == sorted(ids)
    assert (len(ran), len(elsewhere), len(ids)) == (170, 17, 235)
