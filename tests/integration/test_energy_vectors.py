"""Every energy vector over gRPC: the case is sent, and the answer is what the engine says of the case, to the bit.

Once with its readings, and once more with readings that were stored before: nothing may tell the two apart.
"""

from collections.abc import Iterator
from dataclasses import replace

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

from tallybook.v1 import determinants_pb2, determinants_pb2_grpc, ingest_pb2_grpc
from tallybook_engine.determinants.result import Cancellation

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


@pytest.mark.parametrize(
    ("number", "case"), [pytest.param(number, case, id=case.id) for number, case in enumerate(CASES)]
)
def test_a_vector_whose_readings_were_stored(channel: grpc.Channel, number: int, case: EnergyCase):
    """Each case under a datasource of its own, half of it delivered twice, and its answer stored."""
    datasource = f"{number} {case.id}"
    case = replace(case, request=replace(case.request, datasource=datasource))
    request = request_message(case)
    readings, request.store = list(request.readings), True
    del request.readings[:]
    for each in readings:
        deliver(channel, request, each)

    outcome = outcome_of(channel, request)

    check(case, outcome)
    assert outcome == run(case)
    stub = determinants_pb2_grpc.DeterminantsServiceStub(channel)
    determinants = () if isinstance(outcome, Cancellation) else outcome.determinants
    stored = [
        stub.ListBillingReadings(
            determinants_pb2.ListBillingReadingsRequest(datasource=datasource, billing_channel=name)
        ).readings
        for name in {each.billing_channel for each in determinants}
    ]
    assert sum(map(len, stored)) == sum(each.value is not None for each in determinants)


def deliver(
    channel: grpc.Channel,
    request: determinants_pb2.CalculateDeterminantsRequest,
    readings: determinants_pb2.ChannelReadings,
) -> None:
    """Stores a channel's readings: all of them, and then the first half of them again."""
    delivery = determinants_pb2.ReadingDelivery(datasource=request.billing_request.datasource, readings=readings)
    half = determinants_pb2.ReadingDelivery()
    half.CopyFrom(delivery)
    kept = len(readings.values) // 2
    for column in (half.readings.values, half.readings.listed_times.times_us, half.readings.listed_times.intervals_us):
        del column[kept:]
    if readings.WhichOneof("times") != "listed_times":
        half.readings.regular_times.CopyFrom(readings.regular_times)
    half.readings.quality_codes = readings.quality_codes[:kept]
    messages = [
        determinants_pb2.IngestReadingsRequest(
            configuration=request.configuration,
            deliveries=determinants_pb2.ReadingDeliveries(deliveries=[each]),
        )
        for each in (delivery, half)
    ]
    for answer in ingest_pb2_grpc.IngestServiceStub(channel).IngestReadings(iter(messages)):
        assert not answer.result.refused_deliveries, answer
        assert answer.WhichOneof("outcome") == "result", answer
