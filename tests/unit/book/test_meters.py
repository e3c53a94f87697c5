"""A book's datasources: kept in versions, there again after a restart, and answered one by one."""

from google.protobuf.json_format import MessageToDict
from tests.support.catalog_files import EVERYTHING, catalog, read
from tests.support.live_book import LiveBook

from tallybook_server.journal.memory import MemoryJournal

NOW_US = 1_704_067_200_000_000


def written() -> dict[str, list[dict[str, object]]]:
    return MessageToDict(read(EVERYTHING).message, preserving_proto_field_name=True)


def test_datasources_are_there_again_after_a_restart():
    # Given a catalogue with meters, changed once
    live = LiveBook(MemoryJournal(), NOW_US)
    live.apply(written())
    live.apply({"datasources": [{"id": "m2", "channels": [{"name": "load", "classifier": "active"}]}]})
    before = live.book.catalog()
    # When the book is opened again
    live.restart()
    # Then it has what it had, in each version
    assert live.book.catalog() == before
    assert live.book.catalog(1) == catalog(EVERYTHING)
    live.close()
