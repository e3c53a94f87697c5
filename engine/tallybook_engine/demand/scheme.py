"""What every demand scheme says of itself, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.determinants.parts import Part
from tallybook_engine.determinants.result import Peak


class Window(NamedTuple):
    """An option that must be a multiple of the readings' interval."""

    field: str
    """Scheme and field of the contract, for a fault."""
    length_us: int


@dataclass(frozen=True)
class Scheme:
    """Options of a scheme; each scheme is a frozen dataclass of its own."""

    def other_channels(self) -> tuple[str, ...]:
        """Channels of the datasource that it reads besides its own."""
        return ()

    def window(self) -> Window | None:
        """The window of several intervals that it looks at."""
        return None

    def peak_count(self) -> int:
        """How many peaks it is the mean of, where a month has as many."""
        return 0

    def timeslice_group_id(self) -> str | None:
        """The timeslice group that it reads."""
        return None


class Demand(NamedTuple):
    """What a scheme makes of one period."""

    start_us: int
    end_us: int
    is_month: bool
    """Whether it is one local month of a longer period."""
    value: int | None
    """Scale 12; None where no interval has a value."""
    unit: str
    quality: str | None
    """The worst status of the period, of all channels that were read."""
    part: Part
    """The period's rows of the scheme's own channel."""
    peaks: tuple[Peak, ...] = ()
    """The intervals or windows that count, in order of time."""
    slice: str | None = None


class SchemeFault(ValueError):
    """Options of a scheme that make no sense."""


def not_negative(value: int, name: str) -> None:
    """Raises SchemeFault where an option of scale 12 is below 0."""
    if value < 0:
        raise SchemeFault(f"{name} is at least 0, not {format_decimal(value, QUANTITY_SCALE)}")


def at_least(value: int, least: int, name: str) -> None:
    """Raises SchemeFault where an option is smaller than it may be."""
    if value < least:
        raise SchemeFault(f"{name} is at least {least}, not {value}")
