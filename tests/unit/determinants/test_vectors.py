"""Every energy vector through the engine."""

import pytest
from tests.support.energy.cases import EnergyCase, check, run
from tests.support.energy.demand import demand_cases
from tests.support.energy.energyworx import energyworx_cases
from tests.support.energy.nem import nem12_cases, nem13_cases
from tests.support.energy.real import real_cases
from tests.support.energy.rule import rule_cases
from tests.support.energy.sam import sam_cases

CASES = [
    *rule_cases(),
    *real_cases(),
    *nem12_cases(),
    *nem13_cases(),
    *energyworx_cases(),
    *demand_cases(),
    *sam_cases(),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_a_vector(case: EnergyCase):
    check(case, run(case))
