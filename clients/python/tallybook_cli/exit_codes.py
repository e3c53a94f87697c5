"""What the exit code of every command means (docs/cli.md)."""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 is success; a script needs no more than `if`, and may tell the rest apart."""

    OK = 0
    """Done."""
    FAILURE_FOUND = 1
    """Done, and the job itself found a failure: rows that were refused, a difference, an event that is not there."""
    USAGE = 2
    """The command line or a file it names is wrong; nothing was sent."""
    UNAVAILABLE = 3
    """The server cannot be reached or did not answer in time; the same command may be run again."""
    NOT_ALLOWED = 4
    """The key is missing, wrong or revoked."""
    REFUSED = 5
    """The server refused the request: a fault of it, a limit, a conflict."""
    SERVER_FAULT = 6
    """The server, or this program, failed in a way it should not."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; the same command may be run again."""
