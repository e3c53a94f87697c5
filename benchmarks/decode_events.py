"""Events from the wire to the ledger's columns on one core, layer by layer, and the library that was not taken.

    python benchmarks/decode_events.py            # 20,000 events a message
    python benchmarks/decode_events.py --smoke    # a size for the tests

Timed: one message of events of 1,000 customers with a decimal quantity and two properties. `rows` is what the server
does with typed rows; `count`, `spans` and `pivot` are its three passes. `arrow` is the same for an Arrow stream of
plain text, of dictionaries, and of dictionaries compressed with lz4. `ptars` makes Arrow of the same rows and stops
there: names are not yet made distinct, numbers not read, nothing judged. Not timed: making the messages, compilation.
The best of the runs counts, by the clock and by the thread's processor time. The hash covers every column, and is the
same for all that read the same events.
"""

import argparse
import hashlib
import json
import random
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import ptars
import pyarrow as pa

from tallybook.v1 import ingest_pb2
from tallybook_engine.ledger.columns import EventColumns
from tallybook_engine.ledger.pivot import pivot
from tallybook_server.codec import wire
from tallybook_server.codec.arrow import decode_events
from tallybook_server.codec.checks import check_names, message_seed
from tallybook_server.codec.events import decode_rows
from tallybook_server.limits import EVENTS_IN_BATCH_MAX

SEED = 20250702
EVENTS = 20_000
SMOKE_EVENTS = 200
CUSTOMERS = 1_000
RUNS = 40
SMOKE_RUNS = 1
FIRST_SECOND = 1_700_000_000


class Events:
    """n events by column, the same every time."""

    def __init__(self, count: int) -> None:
        chance = random.Random(SEED)
        self.count = count
        self.customers = [f"customer_{chance.randrange(CUSTOMERS)}" for _ in range(count)]
        self.references = [f"event-{index:012d}" for index in range(count)]
        self.cents = [chance.randrange(100_000) for _ in range(count)]
        self.card_types = [chance.choice(["Visa", "Mastercard", "Amex"]) for _ in range(count)]
        self.channels = [chance.choice(["online", "terminal"]) for _ in range(count)]

    def rows(self) -> bytes:
        """Serialised `EventRows`."""
        rows = ingest_pb2.EventRows()
        columns = (self.customers, self.references, self.cents, self.card_types, self.channels)
        for index, (customer, reference, cents, card_type, channel) in enumerate(zip(*columns, strict=True)):
            event = rows.events.add(customer_reference=customer, meter_reference="card_issuing", reference=reference)
            event.time.seconds = FIRST_SECOND + index
            event.meter_values.add(reference="amount", number=f"{cents // 100}.{cents % 100:02d}")
            event.meter_properties.add(reference="card_type", value=card_type)
            event.meter_properties.add(reference="channel", value=channel)
        return rows.SerializeToString()

    def stream(self, dictionaries: bool, compression: str | None) -> bytes:
        """One Arrow IPC stream."""
        texts = {
            "customer_reference": self.customers,
            "meter_reference": ["card_issuing"] * self.count,
            "property:card_type": self.card_types,
            "property:channel": self.channels,
        }
        plain = {name: pa.array(column) for name, column in texts.items()}
        seconds = np.arange(FIRST_SECOND, FIRST_SECOND + self.count, dtype=np.int64)
        table = pa.table(
            {
                "reference": self.references,
                "time": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")),
                "value:amount": pa.array([Decimal(cents) / 100 for cents in self.cents], pa.decimal128(38, 12)),
                **{name: column.dictionary_encode() if dictionaries else column for name, column in plain.items()},
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())


def digest(columns: EventColumns) -> str:
    """16 hexadecimal digits over all that the columns say, whatever their codes are."""
    parts = [repr(names_of(each)) for each in (columns.customers, columns.meters, columns.contracts)]
    parts.append(repr(columns.references.to_pylist()))
    parts += [f"{each.name} {[each.values[code].as_py() for code in each.codes]}" for each in columns.properties]
    content = hashlib.sha256("\n".join(parts).encode())
    for each in columns.values:
        content.update(each.name.encode() + each.numbers.tobytes() + each.present.tobytes())
    for array in (columns.times_us, columns.time_given, columns.faults):
        content.update(array.tobytes())
    return content.hexdigest()[:16]


def names_of(names: Any) -> list[str | None]:
    """The name of each row."""
    texts = names.names.to_pylist()
    return [texts[code] if code >= 0 else None for code in names.codes]


def measured(layer: str, event_count: int, message_bytes: int, runs: int, work: Callable[[], Any]) -> dict[str, object]:
    """Best rate of the runs, and the hash of what they made."""
    best_seconds = best_cpu_seconds = float("inf")
    result = work()
    for _ in range(runs):
        started, started_cpu = time.perf_counter(), time.thread_time()
        result = work()
        seconds, cpu_seconds = time.perf_counter() - started, time.thread_time() - started_cpu
        best_seconds, best_cpu_seconds = min(best_seconds, seconds), min(best_cpu_seconds, cpu_seconds)
    return {
        "benchmark": "decode_events",
        "layer": layer,
        "events": event_count,
        "message_bytes_per_event": round(message_bytes / event_count, 1),
        "events_per_second": round(event_count / best_seconds),
        "nanoseconds_per_event": round(best_seconds / event_count * 1e9, 1),
        "cpu_nanoseconds_per_event": round(best_cpu_seconds / event_count * 1e9, 1),
        "hash": digest(result) if isinstance(result, EventColumns) else None,
    }


def layers(events: Events) -> dict[str, tuple[bytes, Callable[[], Any]]]:
    """Name -> (message, what is timed)."""
    rows = events.rows()
    data = np.frombuffer(rows, dtype=np.uint8)
    counts = wire.count_events(data)
    spans = wire.read_events(data, counts)
    streams = {
        "arrow, text": events.stream(False, None),
        "arrow, dictionaries": events.stream(True, None),
        "arrow, dictionaries, lz4": events.stream(True, "lz4"),
    }
    to_arrow = ptars.HandlerPool([ingest_pb2.DESCRIPTOR]).get_for_message(ingest_pb2.EventRows.DESCRIPTOR)
    return {
        "rows": (rows, lambda: decode_rows(rows, EVENTS_IN_BATCH_MAX)),
        "rows: count": (rows, lambda: wire.count_events(data)),
        "rows: spans": (rows, lambda: wire.read_events(data, counts)),
        "rows: pivot": (rows, lambda: pivot(spans, message_seed(), check_names)),
        **{name: (stream, partial(decode_events, stream)) for name, stream in streams.items()},
        "ptars to Arrow": (rows, lambda: to_arrow.list_to_record_batch([rows])),
    }


def main() -> None:
    """Prints one JSON line a layer."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="a size for the tests")
    event_count, runs = (SMOKE_EVENTS, SMOKE_RUNS) if arguments.parse_args().smoke else (EVENTS, RUNS)
    for layer, (message, work) in layers(Events(event_count)).items():
        print(json.dumps(measured(layer, event_count, len(message), runs, work)))


if __name__ == "__main__":
    main()
