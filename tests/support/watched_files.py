# ruff: noqa: N802 -- SQLite names the methods of a file layer.
"""A SQLite file layer under which a test sees, and may refuse, all that reaches the disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Protocol

import apsw


class Kind(Enum):
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    DELETE = "delete"


@dataclass(frozen=True)
class Operation:
    """One change of one file, or its sync: `offset` of a WRITE, new size of a TRUNCATE."""

    kind: Kind
    path: Path
    offset: int = 0
    data: bytes = b""


class Watcher(Protocol):
    def __call__(self, operation: Operation) -> None:
        """Called before the operation, which fails with the `apsw.Error` raised here."""
        ...


class Disk:
    """A watcher that refuses every write while it is full."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self, operation: Operation) -> None:
        if self.full and operation.kind is Kind.WRITE:
            raise apsw.FullError("no room")


@contextmanager
def watched_files(watcher: Watcher) -> Iterator[str]:
    """The name of a file layer (a SQLite VFS), for `SqliteJournal.open`, that shows `watcher` all it does."""
    layer = _Layer(f"watched-{next(_numbers)}", watcher)
    try:
        yield layer.name
    finally:
        layer.unregister()


_numbers = itertools.count()


class _Layer(apsw.VFS):
    def __init__(self, name: str, watcher: Watcher) -> None:
        super().__init__(name, "")
        self.name = name
        self._watcher = watcher

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:
            # A temporary file: what it holds is of no use to anyone after a crash.
            return apsw.VFSFile("", name, flags)
        return _File(name, flags, self._watcher)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._watcher(Operation(Kind.DELETE, Path(filename)))
        super().xDelete(filename, syncdir)

    def excepthook(
        self, etype: type[BaseException] | None, evalue: BaseException | None, etraceback: TracebackType | None
    ) -> bool:
        """The refusals are meant: SQLite is told, and nothing is printed."""
        return True


class _File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename, flags: list[int], watcher: Watcher) -> None:
        super().__init__("", name, flags)
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        self._watcher = watcher

    def xWrite(self, data: bytes, offset: int) -> None:
        self._watcher(Operation(Kind.WRITE, self._path, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._watcher(Operation(Kind.TRUNCATE, self._path, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._watcher(Operation(Kind.SYNC, self._path))
        super().xSync(flags)

    def excepthook(
        self, etype: type[BaseException] | None, evalue: BaseException | None, etraceback: TracebackType | None
    ) -> bool:
        """The refusals are meant: SQLite is told, and nothing is printed."""
        return True
