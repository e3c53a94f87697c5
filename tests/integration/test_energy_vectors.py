"""Every energy vector over gRPC: the case is sent, and the answer is what the engine says of the case, to the bit."""

from collections.abc import Iterator

import grpc
import pytest
from tests.support.energy.cases import EnergyCase, check, run
from tests.support.energy.demand import demand_cases
from tests.support.energy.energyworx import energyworx_cases
from tests.support.energy.nem import nem12_cases, nem13_cases
from tests.support.energy.real import real_cases
from tests.support.energy.rule import rule_cases
from tests.support.energy.sam import sam_cases
from tests.support.energy.wire import outcome_of, request_message
from tests.support.live_server import live_server

CASES = [
    *rule_cases(),
    *real_cases(),
    *nem12_cases(),
    *nem13_cases(),
    *energyworx_cases(),
    *demand_cases(),
    *sam_cases(),
]


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    with live_server() as target, grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_a_vector(channel: grpc.Channel, case: EnergyCase):
    outcome = outcome_of(channel, request_message(case))

    check(case, outcome)
    assert outcome == run(case)
