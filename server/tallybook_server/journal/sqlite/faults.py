"""What SQLite says, in the journal's words: what happened, to which file, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from tallybook_server.journal.interface import (
    CommitFailed,
    DamagedJournal,
    JournalError,
    JournalFull,
    UnreadableJournal,
)

MEND = (
    "Stop the server, keep the file aside, put the latest backup in its place and let the clients send again "
    "what they sent since: what the backup holds is recognised as duplicates (docs/operations.md, Restore)."
)


def damaged(path: Path, what: str) -> DamagedJournal:
    """`what` names the sequence, or what else of the file is not as it was written."""
    return DamagedJournal(f"{path}: {what}. {MEND}")


def not_written(path: Path, error: apsw.Error) -> JournalError:
    """The fault of a write that was rolled back before its commit began, so that it certainly did not happen."""
    match error:
        case apsw.FullError():
            return JournalFull(f"{path}: no room on the disk; nothing was written. Appends work again once there is")
        case apsw.BusyError():
            return CommitFailed(f"{path}: another process holds the file's write lock; nothing was written")
        case apsw.ReadOnlyError():
            return CommitFailed(f"{path}: the file or its folder cannot be written; nothing was written")
        case apsw.CorruptError() | apsw.NotADBError():
            return unreadable(path, error)
        case _:
            return CommitFailed(f"{path}: {error}; nothing was written")


def unreadable(path: Path, error: apsw.Error, what: str = "the journal") -> JournalError:
    """The fault of a read; `what` was being read."""
    match error:
        case apsw.CorruptError():
            return damaged(path, f"{what} cannot be read: the file is cut short or overwritten ({error})")
        case apsw.NotADBError():
            return UnreadableJournal(f"{path}: not a journal: {error}. If it was one, its first bytes are lost. {MEND}")
        case _:
            return JournalError(f"{path}: {what} cannot be read: {error}")


@contextmanager
def reading(path: Path, what: str = "the journal") -> Iterator[None]:
    """Turns what SQLite raises while `what` is read into a `JournalError`."""
    try:
        yield
    except apsw.Error as error:
        raise unreadable(path, error, what) from error
