"""The law of journals: whatever is asked of them, in whatever order, SQLite's answers as the one in memory does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.segments import PARTITION_COUNT, segment

from tallybook_server.journal.interface import Journal, JournalError
from tallybook_server.journal.memory import MemoryJournal
from tallybook_server.journal.sqlite import SqliteJournal

Call = Callable[[Journal], Any]
sequences = st.integers(0, 12)
bodies = st.binary(max_size=20)


def append(lag: int, schema_id: int, catalog_version: int) -> Call:
    """An append at the end of the journal, or `lag` before it."""

    def call(journal: Journal) -> None:
        expected = max(journal.last_sequence - lag, 0)
        journal.append(expected, segment(expected + 1, schema_id=schema_id, catalog_version=catalog_version))

    return call


calls: st.SearchStrategy[Call] = st.one_of(
    *[st.just(append(0, 0, 0))] * 5,
    st.builds(append, st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)),
    st.builds(lambda a, b: lambda j: j.replace(segment(max(a, 1), last=max(a, 1) + b)), sequences, st.integers(0, 5)),
    st.builds(lambda a, b: lambda j: list(j.read(a, b)), sequences, st.none() | sequences),
    st.builds(lambda a: lambda j: j.segment_of(a), sequences),
    st.builds(lambda a: lambda j: j.headers(a), sequences),
    st.builds(lambda body: lambda j: j.put_schema(body), st.sampled_from([b"a", b"b"])),
    st.builds(lambda a: lambda j: j.schema(a), st.integers(0, 3)),
    st.builds(
        lambda version, parent, body: lambda j: j.put_catalog_version(version, parent, body),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from([b"a", b"b"]),
    ),
    st.just(lambda j: j.catalog_versions()),
    st.builds(
        lambda a, name, body: lambda j: j.put_snapshot_part(a, name, body), sequences, st.sampled_from("xy"), bodies
    ),
    st.builds(lambda a, name: lambda j: j.snapshot_part(a, name), sequences, st.sampled_from("xy")),
    st.just(lambda j: j.snapshot_parts()),
    st.builds(lambda a, name: lambda j: j.drop_snapshots_before(a, name), sequences, st.sampled_from("xy")),
    st.just(lambda j: j.claim()),
)


def answer(journal: Journal, call: Call) -> Any:
    try:
        return call(journal)
    except (JournalError, ValueError) as error:
        return type(error)


@given(st.lists(calls, max_size=40))
@settings(max_examples=50)
def test_the_journal_in_a_file_answers_as_the_one_in_memory(asked: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        memory = MemoryJournal(PARTITION_COUNT)
        with closing(SqliteJournal.open(path, partition_count=PARTITION_COUNT)) as journal:
            for call in [lambda j: j.claim(), *asked]:
                assert answer(journal, call) == answer(memory, call)
            assert list(journal.read()) == list(memory.read())
        with closing(SqliteJournal.open(path)) as journal:
            assert list(journal.read()) == list(memory.read())
            assert journal.catalog_versions() == memory.catalog_versions()
            assert journal.snapshot_parts() == memory.snapshot_parts()
