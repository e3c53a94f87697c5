"""Which server a command talks to, and what its failures mean for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

import tallybook_client as tb
from tallybook_cli.errors import CommandError
from tallybook_cli.exit_codes import ExitCode


@dataclass(frozen=True)
class Target:
    """Which server, with which key, and how."""

    server: str
    key: str | None = None
    tls: bool = False
    authority: Path | None = None
    """PEM file of the authority to trust; None: those that the system trusts."""

    @contextmanager
    def connect(self) -> Iterator[tb.Client]:
        """A client that has reached its server; what its calls raise becomes a line for a person."""
        try:
            with tb.Client(self.server, self.key, credentials=self._credentials()) as client:
                client.wait_until_ready()
                yield client
        except tb.TallybookError as error:
            raise call_failed(error, self.server) from error

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if not self.tls and self.authority is None:
            return None
        return grpc.ssl_channel_credentials(self.authority.read_bytes() if self.authority else None)


_EXIT_CODES: tuple[tuple[type[tb.TallybookError], ExitCode], ...] = (
    (tb.UnavailableError, ExitCode.UNAVAILABLE),
    (tb.DeadlineExceededError, ExitCode.UNAVAILABLE),
    (tb.UnauthenticatedError, ExitCode.NOT_ALLOWED),
    (tb.PermissionDeniedError, ExitCode.NOT_ALLOWED),
    (tb.NotFoundError, ExitCode.FAILURE_FOUND),
    (tb.ServerFaultError, ExitCode.SERVER_FAULT),
    (tb.TallybookError, ExitCode.REFUSED),
)

_HINTS: tuple[tuple[type[tb.TallybookError], str], ...] = (
    (tb.UnauthenticatedError, "give a key with --key or TALLYBOOK_KEY"),
    (tb.DeadlineExceededError, "run it again: what is stored already is not stored twice"),
)


def call_failed(error: tb.TallybookError, server: str) -> CommandError:
    """What a failed call means for a person."""
    exit_code = next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
    notes = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    if isinstance(error, tb.UnavailableError) and not error.reason:
        message = f"no server answers at {server}: start one with `tallybook serve`, or name it with --server"
        return CommandError(message, exit_code)
    hint = next((f"; {text}" for kind, text in _HINTS if isinstance(error, kind)), "")
    faults = "".join(f"\n  {fault.field}: {fault.description}" for fault in error.fields)
    return CommandError(f"{notes}{error}{hint}{faults}", exit_code)
