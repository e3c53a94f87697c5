"""Uploaded usage: Arrow streams joined into one frame, which simulations of its book may be run over for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tallybook_engine.asking import GoOn, unasked
from tallybook_engine.simulation.usage import FAULTS_MAX, UsageFault, UsageFrame, joined
from tallybook_server import limits
from tallybook_server.codec.usage import new_references, read_usage_stream, usage_invalid
from tallybook_server.errors import ErrorCode, Fault
from tallybook_server.kept import Entry, Kept, new_name

_CODE_BYTES = 4
"""Of a row's property, given or not."""
_EVENT_COUNT_BYTES = 8
"""Of a row's count of events, given or not."""


class Upload:
    """Usage that is being uploaded."""

    def __init__(self, go_on: GoOn = unasked) -> None:
        """`go_on` is asked all along."""
        self._go_on = go_on
        self._frames: list[UsageFrame] = []
        self._properties: set[str] = set()
        self._has_event_counts = False
        self._byte_count_without = 0
        self._references = new_references()
        self._request_count = 0
        self._faults: list[UsageFault] = []
        self._fault_count = 0
        self.row_count = 0
        self.byte_count = 0
        """Of the columns of all of it, as they are kept."""

    def add(self, stream: bytes) -> None:
        """Adds one Arrow stream. Raises Fault that names which one it is, where it cannot be read; what is wrong with
        rows is gathered.
        """
        number = self._request_count
        self._request_count += 1
        try:
            frame = read_usage_stream(stream, self._references, self._go_on)
        except Fault as fault:
            metadata = {**fault.metadata, "request_number": str(number)}
            raise Fault(fault.code, f"request {number}: {fault.message}", metadata, fault.fields) from None
        if frame.flaws is not None:
            self._fault_count += frame.flaws.fault_count
            room = FAULTS_MAX - len(self._faults)
            self._faults += [
                replace(each, field=f"requests[{number}].{each.field}") for each in frame.flaws.faults[:room]
            ]
        self._frames.append(frame)
        self.row_count += frame.row_count
        # Of all rows together, as they are kept: each has every property, and a count, that some request has.
        self._properties.update(each.name for each in frame.properties)
        self._has_event_counts |= frame.event_counts is not None
        self._byte_count_without += replace(frame, properties=(), event_counts=None).byte_count
        more = len(self._properties) * _CODE_BYTES + self._has_event_counts * _EVENT_COUNT_BYTES
        self.byte_count = self._byte_count_without + self.row_count * more
        for count, most, of in (
            (self.row_count, limits.UPLOADED_ROWS_MAX, "rows"),
            (self.byte_count, limits.UPLOADED_BYTES_MAX, "bytes of columns"),
        ):
            if count > most:
                raise Fault(ErrorCode.SIMULATION_TOO_LARGE, f"{count:,} {of} of usage; at most {most:,}")

    def frame(self) -> UsageFrame:
        """All of it. USAGE_INVALID with everything that is wrong with its rows in themselves."""
        if self._faults:
            raise usage_invalid(self._faults, self._fault_count)
        return joined(self._frames, self._go_on)


class UsageFrames:
    """The uploaded frames of a server. For one event loop."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """`now_us` tells the time in microseconds since 1970 UTC."""
        self._kept: Kept[UsageFrame] = Kept(now_us, limits.USAGE_FRAME_SECONDS)

    def check_room(self, book: str, byte_count: int) -> None:
        """TOO_MANY_USAGE_FRAMES where one more of so many bytes would be over a limit."""
        if self._kept.count(book) >= limits.USAGE_FRAMES_MAX:
            raise Fault(
                ErrorCode.TOO_MANY_USAGE_FRAMES, f"the book has {limits.USAGE_FRAMES_MAX} uploaded frames: wait"
            )
        if self._kept.byte_count() + byte_count > limits.UPLOADED_BYTES_OF_SERVER_MAX:
            raise Fault(
                ErrorCode.TOO_MANY_USAGE_FRAMES,
                f"the server keeps {self._kept.byte_count():,} bytes of uploaded usage, and at most "
                f"{limits.UPLOADED_BYTES_OF_SERVER_MAX:,}: wait",
            )

    def put(self, book: str, frame: UsageFrame) -> tuple[str, Entry[UsageFrame]]:
        """Keeps a frame of a book; answers its id. TOO_MANY_USAGE_FRAMES where there is no room."""
        self.check_room(book, frame.byte_count)
        frame_id = new_name("usage_")
        return frame_id, self._kept.put(book, frame_id, frame, frame.byte_count)

    def forget(self, book: str) -> None:
        """Lets go of a book's frames."""
        self._kept.forget(book)

    def get(self, book: str, frame_id: str) -> UsageFrame:
        """A frame of a book. USAGE_FRAME_NOT_FOUND where it has none of this id (any more)."""
        frame = self._kept.get(book, frame_id)
        if frame is None:
            raise Fault(
                ErrorCode.USAGE_FRAME_NOT_FOUND, f"the book has no uploaded usage {frame_id!r}: upload it again"
            )
        return frame
