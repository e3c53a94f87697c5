"""Failures of a command: one line on standard error that says what, where, and how to mend it."""

from __future__ import annotations

import click

from tallybook_cli.exit_codes import ExitCode


class CommandError(Exception):
    """A failure for a person."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def report(error: CommandError) -> None:
    """Write the failure to standard error."""
    click.echo(f"tallybook: {error}", err=True)
