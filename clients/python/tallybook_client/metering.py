"""What is configured of one datasource: the caller's own objects, completed by those of the book's catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tallybook.v1 import catalog_pb2, determinants_pb2

_REQUESTS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "datasource": ("GetDatasource", catalog_pb2.GetDatasourceRequest, "datasource_id"),
    "channel_classifier": (
        "GetChannelClassifier",
        catalog_pb2.GetChannelClassifierRequest,
        "channel_classifier_id",
    ),
    "timeslice_group": ("GetTimesliceGroup", catalog_pb2.GetTimesliceGroupRequest, "timeslice_group_id"),
    "holiday_calendar": ("GetHolidayCalendar", catalog_pb2.GetHolidayCalendarRequest, "holiday_calendar_id"),
    "quality_table": ("GetQualityTable", catalog_pb2.GetQualityTableRequest, "quality_table_id"),
}
"""Kind of object -> (method, its request, the field that names the object)."""


def completed(
    get: Callable[[str, Any], Any],
    datasource: str,
    timeslice_groups: Iterable[str],
    given: determinants_pb2.DeterminantsConfiguration,
) -> determinants_pb2.DeterminantsConfiguration:
    """`given` and what else the datasource needs; `get(method, request)` calls the catalogue."""
    found = determinants_pb2.DeterminantsConfiguration()
    found.CopyFrom(given)

    def take(kind: str, name: str) -> Any:
        objects = getattr(found, f"{kind}s")
        known = next((each for each in objects if each.id == name), None)
        if known is None:
            method, request, field = _REQUESTS[kind]
            known = getattr(get(method, request(**{field: name})), kind)
            objects.append(known)
        return known

    source = take("datasource", datasource)
    groups = list(timeslice_groups)
    for channel in source.channels:
        classifier = take("channel_classifier", channel.classifier)
        groups += [each.timeslice_group for each in classifier.reading_types if each.timeslice_group]
    for group in groups:
        take("timeslice_group", group)
    if source.holiday_calendar:
        take("holiday_calendar", source.holiday_calendar)
    if source.quality_table:
        take("quality_table", source.quality_table)
    return found
