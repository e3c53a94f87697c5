"""Failures of a command: one line on standard error that says what, where, and how to mend it."""

from __future__ import annotations

import click

import tallybook_client as tb
from tallybook_cli.exit_codes import ExitCode


class CommandError(Exception):
    """A failure for a person."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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


def report(error: CommandError) -> None:
    """Write the failure to standard error."""
    click.echo(f"tallybook: {error}", err=True)
