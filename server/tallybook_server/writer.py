"""The writer: drain, stage, append, apply, answer.

One thread stages: it alone changes the ledger. Two others append, so that staging goes on while a commit is being made
durable; whatever was staged meanwhile is the next commit (group commit), and once that is full it is encoded while the
one before is still being written. Work that must see nothing on its way, such as a delete, waits until all commits are
durable and then has the ledger to itself.

A commit that fails takes back what it staged and what was staged on top of it; all their callers are told to resend.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.outcomes import StageOutcome
from tallybook_engine.ledger.references import Hasher
from tallybook_engine.ledger.segments import Decoded
from tallybook_engine.ledger.stage import stage_events
from tallybook_engine.ledger.state import State
from tallybook_server.commits import Commit, segment_of
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.journal.attached import Attached, BillingValueRow, MessageRow, ReadingBlock, position_of
from tallybook_server.journal.interface import (
    CommitFailed,
    Fenced,
    Journal,
    JournalAtLimit,
    JournalError,
    JournalFull,
    OutcomeUnknown,
    Segment,
    SequenceConflict,
)
from tallybook_server.records import JournalRecords

COMMIT_ROWS_MAX = 65_536
"""Rows after which a commit takes no more, however many wait."""
APPENDING_MAX = 2
"""Commits handed over and not yet durable: one is being written, and a full one encoded meanwhile."""
QUEUED_ROWS_MAX = 1_048_576
"""Rows that may wait to be staged; more are OVERLOADED."""
ROW_BYTES = 256
"""So many bytes of what is stored beside events count as one row, where they are more than its own rows."""


log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Encoded = tuple[Segment, NDArray[np.uint64]]
"""A commit's segment and its keys."""


@dataclass(frozen=True)
class Ingested:
    """What became of events, and the committed sequence that answers for it."""

    outcome: StageOutcome
    sequence: int
    """That holds the events; 0 where nothing was stored."""


@dataclass(frozen=True)
class _Events:
    columns: EventColumns
    answer: Future[Ingested]


class Basis(NamedTuple):
    """What the values of a parcel were computed of: what the book held of a datasource's period at a sequence."""

    datasource: str
    start_us: int
    end_us: int
    sequence: int


class Overtaken(Exception):
    """Values of the basis's period were stored behind its sequence, perhaps of later readings: compute anew."""


EXPECTED_ERRORS = (Fault, JournalError, CatalogInvalidError, Overtaken)
"""After one of these the ledger is as it was before the work that raised it."""


@dataclass(frozen=True)
class Parcel:
    """What is stored beside events: nothing of the ledger's, so it needs no staging."""

    blocks: Sequence[ReadingBlock] = ()
    values: Sequence[BillingValueRow] = ()
    messages: Sequence[MessageRow] = ()
    basis: Basis | None = None
    """Nothing is stored, and Overtaken raised, where it does not hold any more."""

    @cached_property
    def row_count(self) -> int:
        """As a measure of work, comparable with rows of events."""
        rows = len(self.blocks) + len(self.values) + len(self.messages)
        byte_count = sum(len(each.body) for each in self.blocks) + sum(len(each.body) for each in self.values)
        byte_count += sum(len(each.document) for each in self.messages)
        return max(rows, byte_count // ROW_BYTES)


@dataclass(frozen=True)
class Stored:
    """Where a parcel is."""

    sequence: int
    """0 where it was empty."""
    receipt_time_us: int
    message_ids: tuple[int, ...]


@dataclass(frozen=True)
class _Parcel:
    parcel: Parcel
    answer: Future[Stored]


@dataclass(frozen=True)
class _Alone:
    """Work that has the ledger to itself."""

    work: Callable[[], Any]
    answer: Future[Any]
    changes: bool
    """Whether it changes the ledger, if only for a moment."""


class Writer:
    """Takes turns on one book's state and journal."""

    def __init__(
        self,
        state: State,
        journal: Journal,
        records: JournalRecords,
        hasher: Hasher,
        clock_us: Callable[[], int],
        future_limit_us: int,
        committed: Callable[[Segment, NDArray[np.uint64]], None],
    ) -> None:
        """`committed` is told of each stored segment and its keys, in order, on the appending thread."""
        self.state = state
        self._journal = journal
        self._records = records
        self._hasher = hasher
        self._clock_us = clock_us
        self.future_limit_us = future_limit_us
        self._committed = committed
        self._changed = threading.Condition()
        self._queue: deque[_Events | _Parcel | _Alone] = deque()
        self._queued_rows = 0
        self._staging: _Events | _Parcel | _Alone | None = None
        self._open: Commit | None = None
        self._appending: deque[Commit] = deque()
        """Handed over and not yet durable, the oldest first."""
        self._to_encode: deque[Commit] = deque()
        self._encoding_count = 0
        self._failure: Fault | None = None
        self._fenced: Fault | None = None
        self._refusal = Fault(ErrorCode.SHUTTING_DOWN, "the book is being closed")
        self._closing = False
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=f"tallybook-{name}", daemon=True)
            for name, loop in (("stage", self._stage_loop), *APPENDING_MAX * [("append", self._append_loop)])
        ]
        for thread in self._threads:
            thread.start()

    # --- What callers ask -------------------------------------------------------------------------------------------

    def ingest(self, columns: EventColumns) -> Future[Ingested]:
        """Stages events and answers once they are durable. Raises Fault OVERLOADED where too many wait."""
        answer: Future[Ingested] = _promised()
        with self._changed:
            if self._queued_rows and self._queued_rows + columns.row_count > QUEUED_ROWS_MAX:
                raise Fault(ErrorCode.OVERLOADED, f"{self._queued_rows} events wait to be stored")
            self._enqueue(_Events(columns, answer))
            self._queued_rows += columns.row_count
        return answer

    def store(self, parcel: Parcel) -> Future[Stored]:
        """Stores readings and messages; answers once they are durable, or Overtaken. Raises Fault OVERLOADED where too
        many wait.
        """
        answer: Future[Stored] = _promised()
        with self._changed:
            if self._queued_rows and self._queued_rows + parcel.row_count > QUEUED_ROWS_MAX:
                raise Fault(ErrorCode.OVERLOADED, f"{self._queued_rows} rows wait to be stored")
            self._enqueue(_Parcel(parcel, answer))
            self._queued_rows += parcel.row_count
        return answer

    def alone(self, work: Callable[[], Answer], *, changes: bool = False) -> Future[Answer]:
        """Runs work on the staging thread with nothing on its way, and answers what it returns or raises.

        Work that `changes` the ledger leaves it as it was when it raises one of `EXPECTED_ERRORS`. After any other
        error nobody knows what it left behind: nothing more is stored then.
        """
        answer: Future[Answer] = _promised()
        with self._changed:
            self._enqueue(_Alone(work, answer, changes))
        return answer

    def refuse(self, refusal: Fault) -> None:
        """Refuses what comes from now on; what waits is finished."""
        with self._changed:
            self._refusal, self._closing = refusal, True
            self._changed.notify_all()

    def check_open(self) -> None:
        """Raises what comes now is refused with."""
        if self._fenced is not None:
            raise self._fenced
        if self._closing:
            raise self._refusal

    def close(self) -> None:
        """Finishes all that waits, and stops; what comes later is refused. Safe to call twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, item: _Events | _Parcel | _Alone) -> None:
        self.check_open()
        self._queue.append(item)
        self._changed.notify_all()

    # --- For work that is alone -------------------------------------------------------------------------------------

    def next_commit(self) -> Commit:
        """An empty commit for the work to stage into. Only from work that is alone."""
        return self._new_commit()

    def commit_now(self, commit: Commit) -> None:
        """Makes a commit durable, or takes it back and raises Fault. Only from work that is alone."""
        if commit.stored_count == 0:
            return
        try:
            self._write(commit, self._encoded(commit))
        except Fault:
            commit.undo(self.state)
            raise
        self.state.sequence = commit.sequence

    def decoded(self, sequence: int) -> Decoded:
        """Records of a commit that is stored or on its way. Only on the staging thread."""
        for commit in self._on_their_way():
            if commit.sequence == sequence and commit.record_count:
                return commit.decoded()
        return self._records.decoded(sequence)

    # --- Staging ----------------------------------------------------------------------------------------------------

    def _stage_loop(self) -> None:
        while True:
            with self._changed:
                while not self._something_to_do():
                    if self._closing and self._drained() and not self._queue:
                        self._stopped = True
                        self._changed.notify_all()
                        return
                    self._changed.wait()
                failed = self._failure
                item = None if failed is not None else self._next_item()
                if item is None and failed is None:
                    self._hand_over()
                    continue
                self._staging = item
            if failed is not None:
                self._take_back(failed)
            elif isinstance(item, _Events):
                self._stage(item)
            elif isinstance(item, _Parcel):
                self._join(item)
            elif item is not None:
                _do(item)

    def _something_to_do(self) -> bool:
        if self._failure is not None:
            return True
        if self._may_hand_over():
            return True
        if not self._queue:
            return False
        if isinstance(self._queue[0], _Alone):
            return self._drained()
        return self._open is None or self._open.size < COMMIT_ROWS_MAX

    def _drained(self) -> bool:
        return self._open is None and not self._appending

    def _may_hand_over(self) -> bool:
        """While nothing is being appended, an open commit goes first: its callers have waited longer. A full one goes
        behind one that is being written."""
        if self._open is None or len(self._appending) == APPENDING_MAX:
            return False
        return not self._appending or self._open.size >= COMMIT_ROWS_MAX

    def _on_their_way(self) -> list[Commit]:
        """What is staged and not durable, the newest first."""
        with self._changed:
            return [*([] if self._open is None else [self._open]), *reversed(self._appending)]

    def _next_item(self) -> _Events | _Parcel | _Alone | None:
        """What to do next; None to hand the open commit over."""
        if not self._queue:
            return None
        first = self._queue[0]
        if isinstance(first, _Alone):
            return self._queue.popleft() if self._drained() else None
        full = self._open is not None and self._open.size >= COMMIT_ROWS_MAX
        if full or self._may_hand_over():
            return None
        self._queue.popleft()
        self._queued_rows -= first.parcel.row_count if isinstance(first, _Parcel) else first.columns.row_count
        return first

    def _hand_over(self) -> None:
        if self._open is not None and self._may_hand_over():
            self._appending.append(self._open)
            self._to_encode.append(self._open)
            self._open = None
            self._changed.notify_all()

    def _stage(self, item: _Events) -> None:
        commit = self._open
        if commit is None:
            commit = self._new_commit()
        try:
            piece = stage_events(
                self.state,
                item.columns,
                commit.receipt_time_us,
                commit.sequence,
                commit.row_count,
                self,
                self.future_limit_us,
            )
        except JournalError as error:
            # An event that the message repeats could not be read; nothing of the message was staged.
            item.answer.set_exception(error)
            return
        commit.add(piece)
        commit.row_count += item.columns.row_count
        commit.size += item.columns.row_count
        stored = len(piece.rows) > 0
        commit.waiting.append((item.answer, Ingested(piece.outcome, commit.sequence if stored else 0)))
        with self._changed:
            self._open = commit
            if stored:
                self.state.sequence = commit.sequence
            self._changed.notify_all()

    def _join(self, item: _Parcel) -> None:
        """Puts a parcel into the open commit."""
        try:
            self.check_basis(item.parcel)
        except (Overtaken, JournalError) as error:
            item.answer.set_exception(error)
            return
        commit = self._open
        if commit is None:
            commit = self._new_commit()
        answer = attach(commit, item.parcel)
        commit.waiting.append((item.answer, answer))
        with self._changed:
            self._open = commit
            if answer.sequence:
                self.state.sequence = commit.sequence
            self._changed.notify_all()

    def check_basis(self, parcel: Parcel) -> None:
        """Raises Overtaken where values were stored, or are on their way, that its own must not replace unseen.

        Only on the staging thread.
        """
        basis = parcel.basis
        if basis is None or basis.sequence == self.state.sequence:
            return
        periods = (period for commit in self._on_their_way() for period in commit.billed.get(basis.datasource, ()))
        if any(_meet(basis, period) for period in periods):
            raise Overtaken
        for _ in self._journal.datasource_values(*basis):
            raise Overtaken

    def _new_commit(self) -> Commit:
        self.state.receipt_time_us = max(self.state.receipt_time_us, self._clock_us())
        return Commit(
            sequence=self.state.sequence + 1,
            receipt_time_us=self.state.receipt_time_us,
            catalog_version=self.state.current.version,
            charge_names=list(self.state.pools.charges.index),
        )

    def _take_back(self, failure: Fault) -> None:
        """Undoes the commit that failed and those on top of it, and tells their callers."""
        with self._changed:
            self._to_encode.clear()
            while self._encoding_count:
                self._changed.wait()
            commits = self._on_their_way()
        for commit in commits:
            commit.undo(self.state)
        with self._changed:
            self._open = self._failure = None
            self._appending.clear()
            self.state.sequence = commits[-1].sequence - 1 if commits else self.state.sequence
            self._changed.notify_all()
        for commit in reversed(commits):
            for answer, _ in commit.waiting:
                answer.set_exception(failure)

    # --- Appending --------------------------------------------------------------------------------------------------

    def _append_loop(self) -> None:
        while True:
            with self._changed:
                while not self._to_encode or self._failure is not None:
                    if self._stopped:
                        return
                    self._changed.wait()
                commit = self._to_encode.popleft()
                self._encoding_count += 1
            encoded = self._encoded(commit)
            with self._changed:
                self._encoding_count -= 1
                self._changed.notify_all()
                while commit in self._appending and self._appending[0] is not commit:
                    self._changed.wait()
                if commit not in self._appending:
                    # The commit before failed, and this one was taken back with it.
                    continue
            try:
                self._write(commit, encoded)
            except Fault as failure:
                with self._changed:
                    self._failure = failure
                    self._changed.notify_all()
                continue
            with self._changed:
                self._appending.popleft()
                self._changed.notify_all()
            for answer, ingested in commit.waiting:
                answer.set_result(ingested)

    def _encoded(self, commit: Commit) -> Encoded | Exception | None:
        """The commit as it is stored; None where it stores nothing. What goes wrong is raised when its turn comes."""
        try:
            return segment_of(commit, self._journal, self._hasher) if commit.stored_count else None
        except Exception as error:
            return error

    def _write(self, commit: Commit, encoded: Encoded | Exception | None) -> None:
        """Stores a commit, or raises Fault where it is certainly not stored."""
        if encoded is None:
            return
        try:
            if isinstance(encoded, Exception):
                raise encoded
            segment, keys = encoded
            self._store(commit.sequence - 1, segment, commit.attached())
        except Fenced as error:
            self._fenced = Fault(ErrorCode.COMMIT_FAILED, f"another server has taken this book over: {error}")
            raise self._fenced from error
        except SequenceConflict as error:
            self._fenced = Fault(ErrorCode.COMMIT_UNKNOWN, f"restart the server, it reads the journal anew: {error}")
            raise self._fenced from error
        except JournalAtLimit as error:
            raise Fault(ErrorCode.SANDBOX_FULL, f"nothing was stored: {error}") from error
        except JournalFull as error:
            raise Fault(ErrorCode.DISK_FULL, str(error)) from error
        except CommitFailed as error:
            raise Fault(ErrorCode.COMMIT_FAILED, f"nothing was stored, resend the same references: {error}") from error
        except JournalError as error:
            raise Fault(ErrorCode.COMMIT_UNKNOWN, str(error)) from error
        except Exception as error:
            log.exception("a commit failed")
            raise Fault(ErrorCode.COMMIT_FAILED, "nothing was stored, resend the same references") from error
        self._committed(segment, keys)

    def _store(self, expected_sequence: int, segment: Segment, attached: Attached | None) -> None:
        try:
            self._journal.append(expected_sequence, segment, attached)
        except OutcomeUnknown as unknown:
            # The journal's tail tells: what it holds counts, and what it does not hold was never written.
            if self._journal.last_sequence != segment.last_sequence:
                raise CommitFailed(str(unknown)) from unknown
            stored = self._journal.segment_of(segment.last_sequence)
            beside = None if attached is None else attached.summary()
            if stored.header != segment.header or self._journal.attached_summary(segment.last_sequence) != beside:
                raise CommitFailed(f"another segment stands at {segment.last_sequence}") from unknown

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:
            log.exception("the writer broke")
            with self._changed:
                self._fenced = Fault(ErrorCode.INTERNAL, "the writer broke; restart the server")
                if isinstance(self._staging, _Alone) and not self._staging.answer.done():
                    # Only now that nothing more is taken, for its caller may try again at once.
                    self._staging.answer.set_exception(error)
                waiting = [item.answer for item in (self._staging, *self._queue) if item is not None]
                waiting += [answer for commit in self._on_their_way() for answer, _ in commit.waiting]
                self._queue.clear()
                self._to_encode.clear()
                self._appending.clear()
                self._closing = self._stopped = True
                self._changed.notify_all()
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(self._fenced)


def _meet(basis: Basis, period: tuple[int, int]) -> bool:
    start_us, end_us = period
    return (start_us < basis.end_us and basis.start_us < end_us) or period == (basis.start_us, basis.end_us)


def attach(commit: Commit, parcel: Parcel) -> Stored:
    """Puts a parcel into a commit; answers where it will be."""
    first = len(commit.messages)
    commit.blocks.extend(parcel.blocks)
    commit.values.extend(value._replace(message_row=value.message_row + first) for value in parcel.values)
    commit.messages.extend(parcel.messages)
    for value in parcel.values:
        commit.billed.setdefault(value.series.datasource, set()).add((value.start_us, value.end_us))
    commit.size += parcel.row_count
    ids = tuple(position_of(commit.sequence, first + row) for row in range(len(parcel.messages)))
    return Stored(commit.sequence if parcel.row_count else 0, commit.receipt_time_us, ids)


def _promised() -> Future[Any]:
    """A future that its caller can stop waiting for but not cancel: a commit once begun is carried through."""
    answer: Future[Any] = Future()
    answer.set_running_or_notify_cancel()
    return answer


def _do(item: _Alone) -> None:
    try:
        result = item.work()
    except Exception as error:  # Whatever it raises is its caller's.
        if item.changes and not isinstance(error, EXPECTED_ERRORS):
            raise
        item.answer.set_exception(error)
    else:
        item.answer.set_result(result)
