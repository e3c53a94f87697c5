"""Stored readings over gRPC, under a catalogue that changes."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from tests.support.billed_meter import SMALL, Services, lawful, request, served
from tests.support.call_errors import failed_with
from tests.support.live_server import SETTINGS, live_server
from tests.support.metered_book import MeteredBook

from tallybook.v1 import catalog_pb2, determinants_pb2
from tallybook_engine.determinants.blocks import Delivered, encode_blocks
from tallybook_engine.determinants.configuration import ChannelKind, Label
from tallybook_engine.determinants.deletions import Deletion, encode_deletion
from tallybook_engine.determinants.readings import Readings, RegularTimes
from tallybook_server.billing import parcel_of
from tallybook_server.journal.attached import DELETIONS_BUCKET, ReadingBlock, SeriesName, block_crc32, series_crc32
from tallybook_server.journal.interface import DamagedJournal, JournalError
from tallybook_server.journal.sqlite import SqliteJournal
from tallybook_server.keys import ApiKeys
from tallybook_server.verify import verify
from tallybook_server.writer import Parcel


def stored_request() -> Any:
    """The small meter's hour, of what the book holds."""
    made = request()
    made.ClearField("readings")
    return made


def deliveries() -> list[Any]:
    """The small meter's readings, as they are delivered."""
    return [determinants_pb2.ReadingDelivery(datasource="m1", readings=each) for each in request().readings]


@pytest.mark.parametrize(
    ("classifier", "change", "channel", "words"),
    [
        (0, {"label": "BEGIN"}, "load", "label the interval's END, and its classifier 'ACTIVE' says BEGIN"),
        (0, {"kind": "REGISTER"}, "load", "kind INTERVAL, and its classifier 'ACTIVE' says REGISTER"),
        (1, {"kind": "INTERVAL", "dial_digits": 0}, "read", "kind REGISTER, and its classifier 'READ' says INTERVAL"),
    ],
)
def test_what_was_stored_is_not_read_under_another_meaning(
    tmp_path: Path, classifier: int, change: dict[str, Any], channel: str, words: str
) -> None:
    changed = deepcopy(SMALL)
    del changed["products"], changed["plans"], changed["contracts"]
    with served(tmp_path) as services:
        services.apply(changed)
        services.ingest_readings(*deliveries())
        # When the catalogue says something else of a channel
        changed["channel_classifiers"][classifier].update(change)
        changed["channel_classifiers"] = [
            {key: value for key, value in each.items() if value != 0} for each in changed["channel_classifiers"]
        ]
        services.apply(changed)
        asked = stored_request()
        del asked.billing_request.channels[:]
        kind = changed["channel_classifiers"][classifier].get("kind", "INTERVAL")
        asked.billing_request.channels.add(channel=channel, kind=kind)
        # Then what was delivered before is not read so
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(asked)
        assert (failure.value.code(), failed_with(failure.value)) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "STORED_READINGS_DO_NOT_FIT",
        )
        assert words in str(failure.value.details())


class HeldCalculations:
    """Calculations wait between their computing and their storing, each until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.computed = [threading.Event() for _ in range(count)]
        self.released = [threading.Event() for _ in range(count)]
        self._numbers = itertools.count()
        monkeypatch.setattr("tallybook_server.services.determinants.parcel_of", self._held)

    def _held(self, *arguments: Any) -> Parcel:
        number = next(self._numbers)
        if number < len(self.computed):
            self.computed[number].set()
            assert self.released[number].wait(10)
        return parcel_of(*arguments)


@pytest.mark.parametrize("is_billed", [True, False])
@pytest.mark.parametrize("stored_first", [0, 1])
def test_of_two_calculations_at_once_the_one_of_older_readings_is_never_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_first: int, is_billed: bool
) -> None:
    held = HeldCalculations(monkeypatch, 2)
    with served(tmp_path) as services:
        services.apply(SMALL if is_billed else {**SMALL, "contracts": []})
        services.ingest_readings(*deliveries())
        # Given a calculation that has read, a delivery behind it, and a calculation that has read that too
        calls = [services.determinants.CalculateDeterminants.future(stored_request())]
        assert held.computed[0].wait(10)
        (later, _) = deliveries()
        later.readings.values[3] = 155
        delivered = services.ingest_readings(later).sequence
        calls.append(services.determinants.CalculateDeterminants.future(stored_request()))
        assert held.computed[1].wait(10)
        # When they are stored, in either order
        results = {}
        for number in (stored_first, 1 - stored_first):
            held.released[number].set()
            results[number] = calls[number].result(timeout=10).result
        first, second = results[stored_first], results[1 - stored_first]
        # Then the value of the later delivery is the current one, and the answer to the call that stored it
        assert (second.determinants[0].value, second.readings_sequence >= delivered) == ("0.905", True)
        assert first.determinants[0].value == ("0.905" if stored_first else "1.005")
        assert second.stored_sequence > first.stored_sequence
        wanted = determinants_pb2.ListBillingReadingsRequest(datasource="m1", billing_channel="BILLING_ACTIVE_INTERVAL")
        (current,) = services.determinants.ListBillingReadings(wanted).readings
        assert (current.value, current.sequence) == ("0.905", second.stored_sequence)
        messages = services.determinants.ListBillingMessages(determinants_pb2.ListBillingMessagesRequest()).messages
        assert [each.message_id for each in messages] == [first.message_id, second.message_id]
        # And so it is billed
        energy = [each.quantity for each in services.charges() if each.product_id == "energy"]
        assert energy == (["0.905"] if is_billed else [])
    assert not is_billed or lawful(tmp_path)


@pytest.mark.parametrize("is_billed", [True, False])
def test_calculations_of_one_period_on_one_stream(tmp_path: Path, is_billed: bool) -> None:
    def streamed(requests: list[Any]) -> list[Any]:
        asked = [
            determinants_pb2.StreamingCalculateDeterminantsRequest(request_number=number, request=each)
            for number, each in enumerate(requests)
        ]
        answers = list(services.determinants.StreamingCalculateDeterminants(iter(asked)))
        assert [each.request_number for each in answers] == list(range(len(requests)))
        return [each.result for each in answers]

    wanted = determinants_pb2.ListBillingReadingsRequest(datasource="m1", billing_channel="BILLING_ACTIVE_INTERVAL")
    with served(tmp_path) as services:
        services.apply(SMALL if is_billed else {**SMALL, "contracts": []})
        sequence = services.ingest_readings(*deliveries()).sequence
        # Those of the book's readings are all stored, each after all that it has not seen
        results = streamed([stored_request() for _ in range(8)])
        assert len({each.stored_sequence for each in results}) == 8
        # And those of readings that the request names are stored in the order of their coming
        named = []
        for value in range(8):
            inline = request()
            inline.readings[0].values[3] = value
            named.append(inline)
        named.append(stored_request())
        named[-1].as_of_sequence = sequence
        results = streamed(named)
        assert [each.determinants[0].value for each in results] == [
            *(f"0.75{value}".rstrip("0") for value in range(8)),
            "1.005",
        ]
        sequences = [each.stored_sequence for each in results]
        assert sequences == sorted(sequences)
        (current,) = services.determinants.ListBillingReadings(wanted).readings
        assert current.value == "1.005"


def test_many_meters_on_one_stream_are_answered_and_stored_as_each_alone(tmp_path: Path) -> None:
    # Given fifty meters that are alike, but for one without readings, one on another grid, one of doubtful readings,
    # one whose readings were delivered again, and one that is asked for in another time zone
    names = [f"meter {number:02}" for number in range(50)]
    catalogue = {
        **SMALL,
        "contracts": [],
        "datasources": [{**deepcopy(SMALL["datasources"][0]), "id": n} for n in names],
    }
    delivered = [deepcopy(each) for name in names for each in deliveries()]
    for place, each in enumerate(delivered):
        each.datasource = names[place // 2]
        each.readings.values[0] = place
    (missing, shifted, doubtful, again) = (delivered[2 * place] for place in (7, 20, 30, 40))
    shifted.readings.regular_times.first_time.FromJsonString("2026-01-01T00:07:00Z")
    doubtful.readings.statuses[:] = ["questionable"]
    doubtful.readings.quality_codes = b""
    asked = []
    for name in names:
        made = stored_request()
        made.billing_request.datasource = name
        asked.append(made)
    asked[45].billing_request.time_zone = "Europe/Oslo"
    with served(tmp_path) as services:
        services.apply(catalogue)
        services.ingest_readings(*(each for each in delivered if each is not missing))
        again.readings.values[1] = 1
        services.ingest_readings(again)
        # When all are asked for on one stream, which stores them
        numbered = (
            determinants_pb2.StreamingCalculateDeterminantsRequest(request_number=number, request=each)
            for number, each in enumerate(asked)
        )
        answers = list(services.determinants.StreamingCalculateDeterminants(numbered))
        # Then each is answered as it is alone
        for number, (each, answer) in enumerate(zip(asked, answers, strict=True)):
            assert answer.request_number == number
            each.store = False
            try:
                alone = services.determinants.CalculateDeterminants(each).result
            except grpc.RpcError as failure:
                reason = answer.cancellation.causes[0].reason
                assert failed_with(failure) == determinants_pb2.DeterminantsCause.Reason.Name(reason)
            else:
                assert list(answer.result.determinants) == list(alone.determinants)
        assert [n for n, each in enumerate(answers) if each.HasField("cancellation")] == [7, 30]
        # And stored in the order of the stream
        kept = [each.result for each in answers if each.HasField("result")]
        sequences = [each.stored_sequence for each in kept]
        assert sequences == sorted(sequences)
        messages = services.determinants.ListBillingMessages(determinants_pb2.ListBillingMessagesRequest()).messages
        assert [each.message_id for each in messages] == [each.message_id for each in kept]
        assert [each.datasource for each in messages] == [each.datasource for each in kept]


def test_a_delivery_is_taken_back_for_good_and_earlier_ones_count_again(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.ingest_readings(*deliveries())
        before = list(services.determinants.CalculateDeterminants(stored_request()).result.determinants)
        # Given a delivery whose intervals overlap those that are stored
        (wrong, _) = deliveries()
        wrong.readings.regular_times.first_time.FromJsonString("2026-01-01T00:20:00Z")
        sequence = services.ingest_readings(wrong).sequence
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(stored_request())
        assert failed_with(failure.value) == "STORED_READINGS_DO_NOT_FIT"
        assert "DeleteReadings" in str(failure.value.details())
        # When it is taken back
        wanted = determinants_pb2.DeleteReadingsRequest(datasource="m1", channel="load", sequence=sequence)
        answer = services.ingest.DeleteReadings(wanted)
        assert (answer.deleted_count, answer.sequence > sequence) == (4, True)
        assert services.ingest.DeleteReadings(wanted) == determinants_pb2.DeleteReadingsResponse()
        # Then the period can be computed as before
        assert list(services.determinants.CalculateDeterminants(stored_request()).result.determinants) == before
    # And so it is after a restart
    with served(tmp_path) as services:
        assert list(services.determinants.CalculateDeterminants(stored_request()).result.determinants) == before
        listed = determinants_pb2.ListReadingsRequest(datasource="m1", channel="load", include_superseded=True)
        readings = services.determinants.ListReadings(listed).readings
        assert [each.deleted_sequence for each in readings if each.sequence == sequence] == [answer.sequence] * 4
        assert {each.deleted_sequence for each in readings if each.sequence != sequence} == {0}


@pytest.mark.parametrize("wanted", ["ListReadings", "ListBillingReadings", "DeleteReadings"])
def test_what_the_book_does_not_know_is_not_found(tmp_path: Path, wanted: str) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        service = services.ingest if wanted == "DeleteReadings" else services.determinants
        other = "billing_channel" if wanted == "ListBillingReadings" else "channel"

        def ask(datasource: str, channel: str) -> Any:
            request_class = getattr(determinants_pb2, f"{wanted}Request")
            return getattr(service, wanted)(request_class(datasource=datasource, **{other: channel}))

        # What the catalogue knows may have nothing stored
        ask("m1", "load")
        with pytest.raises(grpc.RpcError) as failure:
            ask("m9", "load")
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        assert failed_with(failure.value) == "DATASOURCE_NOT_FOUND"
        assert "'m9'" in str(failure.value.details())
        if other == "channel":
            with pytest.raises(grpc.RpcError) as failure:
                ask("m1", "gas")
            assert failed_with(failure.value) == "CHANNEL_NOT_FOUND"
            assert "'m1' has no channel 'gas'" in str(failure.value.details())


def billed(services: Services, channel: str, **fields: Any) -> list[tuple[str, bool, bool]]:
    """(value, superseded, withdrawn) of a BILLING channel."""
    wanted = determinants_pb2.ListBillingReadingsRequest(datasource="m1", billing_channel=channel, **fields)
    found = services.determinants.ListBillingReadings(wanted).readings
    return [(each.value, each.superseded, each.withdrawn) for each in found]


def test_a_value_that_is_gone_is_current_no_more(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        services.ingest_readings(*deliveries())
        services.determinants.CalculateDeterminants(stored_request())
        name = "BILLING_READ_REGISTER"
        assert billed(services, name) == [("1001", False, False)]
        # When the reading at the period's end is taken back, and the period is calculated again
        end = {"start_time": stored_request().billing_request.end_time}
        services.ingest.DeleteReadings(determinants_pb2.DeleteReadingsRequest(datasource="m1", channel="read", **end))
        for _ in range(2):
            result = services.determinants.CalculateDeterminants(stored_request()).result
            assert not next(each for each in result.determinants if each.billing_channel == name).HasField("value")
        # Then nothing is listed as current, and what was stays for audit
        assert billed(services, name) == []
        history = [("1001", True, False), ("", False, True)]
        assert billed(services, name, include_superseded=True) == history
        assert billed(services, name, as_of_sequence=2) == [("1001", False, False)]
        # When it is there again
        services.ingest_readings(*deliveries())
        services.determinants.CalculateDeterminants(stored_request())
        # Then its value counts
        assert billed(services, name) == [("1001", False, False)]
        history = [("1001", True, False), ("", True, True), ("1001", False, False)]
        assert billed(services, name, include_superseded=True) == history


def test_what_never_had_a_value_is_not_listed(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        (load, read) = deliveries()
        read.readings.values.pop()
        read.readings.listed_times.times_us.pop()
        services.ingest_readings(load, read)
        services.determinants.CalculateDeterminants(stored_request())
        assert billed(services, "BILLING_READ_REGISTER", include_superseded=True) == []


def test_what_is_another_determinant_is_stored_in_another_billing_channel(tmp_path: Path) -> None:
    """Maximum of energy and of power; slices of one name, and what none claims, of two timeslice groups."""
    groups = [*SMALL["timeslice_groups"], {**SMALL["timeslice_groups"][0], "id": "grid"}]
    groups[1]["intervals"] = [{"slice": "T1", "start_time_of_day": "00:00", "end_time_of_day": "00:30"}]
    with served(tmp_path) as services:
        services.apply({**SMALL, "timeslice_groups": groups})
        services.ingest_readings(*deliveries())
        asked = stored_request()
        asked.billing_request.channels.add(channel="load", kind="PMAX")
        asked.billing_request.channels.add(channel="load", kind="TIMESLICE", timeslice_group="grid")
        # Whether one request asks for both, or one after the other
        apart = [stored_request(), stored_request()]
        del apart[1].billing_request.channels[:]
        apart[1].billing_request.channels.extend(asked.billing_request.channels[-2:])
        for requests in ([asked], apart):
            for each in requests:
                result = services.determinants.CalculateDeterminants(each).result
            found = {name: billed(services, f"BILLING_ACTIVE_{name}") for name in STORED_APART}
            assert found == {name: [(value, False, False)] for name, value in STORED_APART.items()}
        assert [(each.timeslice_group, each.as_power) for each in result.determinants] == [
            ("", False),
            ("grid", False),
            ("grid", False),
        ]


STORED_APART = {
    "PMAX": "0.26",
    "PMAX_POWER": "1.04",
    "TIMESLICE_tariff_T1": "0.495",
    "TIMESLICE_tariff_UNCOVERED": "0.51",
    "TIMESLICE_grid_T1": "0.51",
    "TIMESLICE_grid_UNCOVERED": "0.495",
}


def test_a_reading_that_the_dial_cannot_show_is_refused(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        (load, read) = deliveries()
        for value in (1_000_000, -1):
            # When it is delivered, at the dial's edge and beyond it
            read.readings.values[:] = [999_999, value]
            result = services.ingest_readings(load, read)
            # Then its delivery is refused
            (refused,) = result.refused_deliveries
            assert (refused.channel, refused.fault.reason, result.stored_count) == ("read", "FIELD_INVALID", 4)
            told = f"row 1, of 2026-01-01T01:00:00Z, is {value}, and a dial of 6 digits shows 0 to 1000000"
            assert told in refused.fault.message
            # When it comes with a request
            sent = request()
            sent.readings[1].values[:] = [999_999, value]
            with pytest.raises(grpc.RpcError) as failure:
                services.determinants.CalculateDeterminants(sent)
            # Then the request is
            assert (failed_with(failure.value), told in str(failure.value.details())) == ("FIELD_INVALID", True)
        # When the dial has fewer digits than what is stored has
        services.ingest_readings(*deliveries())
        smaller = deepcopy(SMALL)
        smaller["channel_classifiers"][1]["dial_digits"] = 3
        services.apply(smaller)
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(stored_request())
        # Then it does not fit
        assert failed_with(failure.value) == "STORED_READINGS_DO_NOT_FIT"
        assert "is 1000, and a dial of 3 digits" in str(failure.value.details())


def test_a_datasource_that_is_not_there_is_named_whatever_else_is_missing(tmp_path: Path) -> None:
    with served(tmp_path) as services:
        services.apply(SMALL)
        asked = stored_request()
        asked.billing_request.time_zone = ""
        for datasource, words in (("m9", 'no datasource "m9"'), ("m1", 'datasource "m1" has none')):
            asked.billing_request.datasource = datasource
            with pytest.raises(grpc.RpcError) as failure:
                services.determinants.CalculateDeterminants(asked)
            assert failed_with(failure.value) == "FIELD_INVALID"
            assert words in str(failure.value.details())


def stored_book(folder: Path) -> None:
    """A book with two deliveries, a deletion, and a calculation that withdrew a value."""
    with served(folder) as services:
        services.apply(SMALL)
        for _ in range(2):
            services.ingest_readings(*deliveries())
        services.determinants.CalculateDeterminants(stored_request())
        services.ingest.DeleteReadings(determinants_pb2.DeleteReadingsRequest(datasource="m1", channel="read"))
        services.ingest_readings(deliveries()[0])
        late = stored_request()
        late.billing_request.channels.pop()
        services.determinants.CalculateDeterminants(late)


def test_verify_reads_everything_that_is_stored(tmp_path: Path) -> None:
    stored_book(tmp_path)
    found = verify(tmp_path, "default", False, None)
    assert (found.reading_count, found.block_count) == (4 + 2 + 4 + 2 + 4, 6)
    assert found.billing_value_count == 6 + 4
    assert found.difference_count == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE block_bodies SET body = zeroblob(length(body)) WHERE rowid = 16777216", "sequence 1 .* checksum"),
        ("DELETE FROM block_bodies WHERE position = 16777216", "that sequence 1 stored is missing"),
        ("DELETE FROM block_directory WHERE position = 16777216", "sequence 1 stored .2, 2, 0, 0. .* .2, 1, 0, 0. are"),
        ("UPDATE block_directory SET bucket = bucket + 1 WHERE bucket > 0", "fails its checksum"),
        ("UPDATE block_directory SET reading_count = 9 WHERE bucket > 0", "has . readings, and the directory says 9"),
        ("DELETE FROM series WHERE channel = 'load'", "the channel of what sequence 1 stored is missing"),
        ("UPDATE billing_values SET end_us = end_us - 1", "the value that sequence 3 stored fails its checksum"),
        ("DELETE FROM billing_values WHERE position % 2", "sequence 3 stored .0, 0, 6, 1. .* .0, 0, 3, 1. are there"),
        ("UPDATE billing_messages SET document = zeroblob(3)", "message 0000000003000000 fails its checksum"),
        ("DELETE FROM attached WHERE sequence = 3", "the row of sequence 3 is missing"),
    ],
)
def test_verify_names_what_is_damaged(tmp_path: Path, damage: str, words: str) -> None:
    stored_book(tmp_path)
    with closing(sqlite3.connect(tmp_path / "default.sqlite")) as connection:
        connection.execute(damage)
        connection.commit()
    with pytest.raises(DamagedJournal, match=words):
        verify(tmp_path, "default", False, None)


def one_reading() -> bytes:
    """A block of the first quarter hour of 2026."""
    times = RegularTimes(1_767_225_600_000_000, 900_000_000, 1)
    readings = Readings(times, np.zeros(1, np.int64), np.ones(1, np.uint8))
    [[block]] = encode_blocks([Delivered(readings, ("measured",), "kWh", 3, ChannelKind.INTERVAL, Label.END)])
    return block.body


@pytest.mark.parametrize(
    ("bucket", "body", "words"),
    [
        (0, one_reading(), "sequence 1 stored has timestamps outside of bucket 0"),
        (639, one_reading(), "sequence 1 stored has a status that it does not name"),
        (DELETIONS_BUCKET, encode_deletion(Deletion(0, 1, 1, 1, 1)), "takes back what was not stored before it"),
        (0, b"", "format none"),
    ],
)
def test_verify_understands_what_it_reads(tmp_path: Path, bucket: int, body: bytes, words: str) -> None:
    """Blocks that are as they were written, and should never have been."""
    book = MeteredBook(SqliteJournal.open(tmp_path / "default.sqlite"))
    crc32 = block_crc32(series_crc32("m1", "load"), bucket, body)
    filed = ReadingBlock(SeriesName("m1", "load", 0), bucket, 1, body, crc32)
    asyncio.run(book.book.store(Parcel([filed])))
    book.close()
    with pytest.raises(JournalError, match=words):
        verify(tmp_path, "default", False, None)


def test_each_key_reaches_the_readings_of_its_own_book(tmp_path: Path) -> None:
    settings = replace(SETTINGS, data_directory=tmp_path)
    assert settings.keys_path is not None
    keys = ApiKeys(settings.keys_path, lambda: 1)
    mine, other = ([("authorization", f"Bearer {keys.create(book)[1]}")] for book in ("mine", "other"))
    with live_server(settings) as address, grpc.insecure_channel(address) as channel:
        services = Services(channel)
        put = ParseDict(SMALL, catalog_pb2.Catalog())
        services.catalog.ApplyCatalog(catalog_pb2.ApplyCatalogRequest(put=put), metadata=mine)
        message = determinants_pb2.IngestReadingsRequest(
            deliveries=determinants_pb2.ReadingDeliveries(deliveries=deliveries())
        )
        (answer,) = services.ingest.IngestReadings(iter([message]), metadata=mine)
        assert answer.result.stored_count == 6
        message_id = services.determinants.CalculateDeterminants(stored_request(), metadata=mine).result.message_id

        # The other book knows nothing of it, and takes nothing of it away
        (answer,) = services.ingest.IngestReadings(iter([message]), metadata=other)
        assert (answer.result.stored_count, answer.result.refused_delivery_count) == (0, 2)
        named: dict[str, Any] = {"datasource": "m1", "channel": "load"}
        billed_channel: dict[str, Any] = {"datasource": "m1", "billing_channel": "BILLING_ACTIVE_INTERVAL"}
        for method, asked in (
            (services.determinants.ListReadings, determinants_pb2.ListReadingsRequest(**named)),
            (services.ingest.DeleteReadings, determinants_pb2.DeleteReadingsRequest(**named)),
            (services.determinants.ListBillingReadings, determinants_pb2.ListBillingReadingsRequest(**billed_channel)),
        ):
            with pytest.raises(grpc.RpcError) as failure:
                method(asked, metadata=other)
            assert failed_with(failure.value) == "DATASOURCE_NOT_FOUND"
            with pytest.raises(grpc.RpcError) as failure:
                method(asked)
            assert failed_with(failure.value) == "CREDENTIAL_MISSING"
        with pytest.raises(grpc.RpcError) as failure:
            services.determinants.CalculateDeterminants(stored_request(), metadata=other)
        assert failed_with(failure.value) == "FIELD_INVALID"
        outbox = determinants_pb2.ListBillingMessagesRequest()
        assert not services.determinants.ListBillingMessages(outbox, metadata=other).messages
        acknowledged = determinants_pb2.AcknowledgeBillingMessagesRequest(message_ids=[message_id])
        found = services.determinants.AcknowledgeBillingMessages(acknowledged, metadata=other)
        assert list(found.unknown_ids) == [message_id]
        assert len(services.determinants.ListBillingMessages(outbox, metadata=mine).messages) == 1
        readings = services.determinants.ListReadings(determinants_pb2.ListReadingsRequest(**named), metadata=mine)
        assert len(readings.readings) == 4
