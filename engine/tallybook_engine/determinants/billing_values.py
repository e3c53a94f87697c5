"""What is stored of a result: a value a BILLING channel, with the annotations that say what it is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tallybook_engine.determinants.message import instant_text
from tallybook_engine.determinants.result import Determinant, Result


@dataclass(frozen=True)
class BillingValue:
    """One value of one BILLING channel."""

    channel: str
    """See `naming`."""
    timestamp_us: int
    """The end of its period; BILLING channels are END-labelled."""
    value: int | None
    """Scale 12. None: there is none, and one that was stored before of the same period counts no more."""
    unit: str
    quality: str | None
    """`Quality_Status`; None where the period has no row."""
    annotations: tuple[tuple[str, str], ...]
    """(name, text), sorted by name."""


def billing_values(result: Result, calculation_time_us: int) -> Iterator[BillingValue]:
    """A result's values in its order, those that are absent too.

    `calculation_time_us` is the caller's clock, microseconds since the epoch.
    """
    for determinant in result.determinants:
        yield BillingValue(
            determinant.billing_channel,
            determinant.end_us,
            determinant.value,
            determinant.unit,
            determinant.quality,
            tuple(sorted(_annotations(result, determinant, calculation_time_us).items())),
        )


def _annotations(result: Result, determinant: Determinant, calculation_time_us: int) -> dict[str, str]:
    said = period_annotations(determinant.start_us, determinant.end_us, calculation_time_us, result.catalog_version)
    if result.holiday_calendar is not None:
        said["holiday_calendar"] = result.holiday_calendar
        said["holiday_calendar_version"] = str(result.holiday_calendar_version)
    if len(determinant.peaks) == 1:
        said["pmax_start"] = instant_text(determinant.peaks[0].start_us)
        said["pmax_end"] = instant_text(determinant.peaks[0].end_us)
    return said


def period_annotations(start_us: int, end_us: int, calculation_time_us: int, catalog_version: int) -> dict[str, str]:
    """What is said of every value of a period, also of one that is withdrawn."""
    return {
        "period_start": instant_text(start_us),
        "period_end": instant_text(end_us),
        "calculation_time": instant_text(calculation_time_us),
        "catalog_version": str(catalog_version),
    }
