"""Around every call: keys, limits, and what is told to whom."""

import asyncio
import logging
from pathlib import Path

import grpc
import pytest
from tests.support.call_errors import failed_with
from tests.support.events import PlainEvent, as_message
from tests.support.fake_books import FakeBooks, call, served

from tallybook.v1 import ingest_pb2 as wire
from tallybook_server import limits
from tallybook_server.interceptors import Access, check_address
from tallybook_server.journal.interface import DamagedJournal
from tallybook_server.keys import ApiKeys

REQUEST = wire.IngestEventsRequest(events=[as_message(PlainEvent())]).SerializeToString()


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    return ApiKeys(tmp_path / "keys.sqlite", lambda: 1)


def outcome_of_call(books: FakeBooks, access: Access, *metadata: tuple[str, str]) -> str:
    """"OK", or the reason why not."""  # fmt: skip

    async def run() -> str:
        async with served(books, access) as channel:
            try:
                await call(channel, "IngestEvents", REQUEST, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name} {failed_with(error)}"
            return "OK"

    return asyncio.run(run())


def test_without_keys_every_call_is_about_the_default_book(keys):
    books = FakeBooks()
    assert outcome_of_call(books, Access(keys)) == "OK"
    assert outcome_of_call(books, Access(None), ("authorization", "Bearer anything")) == "OK"
    assert [(name, len(book.ingested)) for name, book in books.books.items()] == [("default", 2)]


def test_a_key_opens_its_book_and_no_other(keys):
    # Given two books
    tokens = {book: keys.create(book)[1] for book in ("airline", "bakery")}
    books, access = FakeBooks(), Access(keys)
    # When each key calls
    for token in tokens.values():
        assert outcome_of_call(books, access, ("authorization", f"Bearer {token}")) == "OK"
    # Then each book has one call
    assert {name: len(book.ingested) for name, book in books.books.items()} == {"airline": 1, "bakery": 1}


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ([], "UNAUTHENTICATED CREDENTIAL_MISSING"),
        ([("authorization", "")], "UNAUTHENTICATED CREDENTIAL_MISSING"),
        ([("authorization", "Basic dGI6")], "UNAUTHENTICATED CREDENTIAL_MISSING"),
        ([("authorization", "Bearer tb_a"), ("authorization", "Bearer tb_b")], "UNAUTHENTICATED CREDENTIAL_MISSING"),
        ([("authorization", "Bearer ")], "UNAUTHENTICATED CREDENTIAL_INVALID"),
        ([("authorization", "Bearer tb_wrong")], "UNAUTHENTICATED CREDENTIAL_INVALID"),
    ],
)
def test_with_keys_a_call_without_a_good_one_reaches_no_book(keys, metadata, outcome):
    keys.create("airline")
    books = FakeBooks()
    assert outcome_of_call(books, Access(keys), *metadata) == outcome
    assert not books.books


def test_a_revoked_key_is_refused_from_the_next_call_on(keys):
    key, token = keys.create("airline")
    books, access = FakeBooks(), Access(keys)
    assert outcome_of_call(books, access, ("authorization", f"Bearer {token}")) == "OK"
    keys.revoke(key.key_id)
    outcome = outcome_of_call(books, access, ("authorization", f"Bearer {token}"))
    assert outcome == "UNAUTHENTICATED CREDENTIAL_INVALID"


def test_the_first_key_closes_the_default_book_while_the_server_runs(keys):
    books, access = FakeBooks(), Access(keys)
    assert outcome_of_call(books, access) == "OK"
    keys.create("airline")
    assert outcome_of_call(books, access) == "UNAUTHENTICATED CREDENTIAL_MISSING"


@pytest.mark.parametrize("address", ["127.0.0.1:7430", "127.8.8.8:0", "[::1]:7430", "localhost:7430"])
def test_a_server_without_keys_may_listen_on_loopback(address):
    check_address(address, keys_exist=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7430", "[::]:7430", "192.168.1.5:7430", "example.com:7430", ":7430", "*:1"]
)
def test_a_server_without_keys_listens_nowhere_else(address):
    with pytest.raises(ValueError, match="without keys listens on loopback only"):
        check_address(address, keys_exist=False)
    check_address(address, keys_exist=True)


@pytest.mark.parametrize(("more", "outcome"), [(0, "OK"), (1, "UNAVAILABLE OVERLOADED")])
def test_more_calls_at_once_than_the_limit_are_overload(monkeypatch, more, outcome):
    monkeypatch.setattr(limits, "CALLS_MAX", 3)

    async def run() -> str:
        books = FakeBooks()
        book = await books.open("default")
        entered, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def wait() -> None:
            entered.release()
            await go_on.wait()

        async with served(books) as channel:
            # Given calls at work
            book.before_predict = wait
            at_work = [asyncio.ensure_future(call(channel, "PredictCosts", REQUEST)) for _ in range(2 + more)]
            for _ in at_work:
                await entered.acquire()
            # When one more comes
            book.before_predict = None
            try:
                await call(channel, "PredictCosts", REQUEST)
                found = "OK"
            except grpc.aio.AioRpcError as error:
                found = f"{error.code().name} {failed_with(error)}"
            # Then those at work are not disturbed, and calls are taken again
            go_on.set()
            await asyncio.gather(*at_work)
            await call(channel, "PredictCosts", REQUEST)
            return found

    assert asyncio.run(run()) == outcome


def test_a_damaged_journal_is_an_error_that_names_the_place():
    books = FakeBooks()
    books.failure = DamagedJournal("airline.sqlite: segment 7 is damaged")

    async def run() -> grpc.aio.AioRpcError:
        async with served(books) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(channel, "IngestEvents", REQUEST)
            return error.value

    error = asyncio.run(run())
    assert (error.code(), failed_with(error)) == (grpc.StatusCode.DATA_LOSS, "JOURNAL_DAMAGED")
    assert "segment 7" in str(error.details())


def test_a_call_is_one_line_in_the_log_without_its_payload(caplog, keys):
    token = keys.create("airline")[1]
    with caplog.at_level(logging.INFO, logger="tallybook.calls"):
        outcome_of_call(FakeBooks(), Access(keys), ("authorization", f"Bearer {token}"))
        outcome_of_call(FakeBooks(), Access(keys))
    first, second = [record.getMessage() for record in caplog.records if record.name == "tallybook.calls"]
    assert first.startswith("/tallybook.v1.IngestService/IngestEvents OK ")
    assert first.endswith(" ms book airline")
    assert second.startswith("/tallybook.v1.IngestService/IngestEvents CREDENTIAL_MISSING ")
    assert token not in caplog.text
    assert "reference" not in caplog.text
