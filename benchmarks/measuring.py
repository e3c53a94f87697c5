"""What the benchmarks share: the size, the machine, medians over runs, and how figures are printed and kept."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("grpcio", "protobuf", "pyarrow", "numpy", "numba", "llvmlite", "polars", "apsw")

Figures = dict[str, Any]
"""One line of a benchmark's table: `case`, the figures with their units last, and `hash` of what was computed."""


class Size(StrEnum):
    """How much to do: `smoke` runs inside the tests and proves the work, `full` makes the figures."""

    SMOKE = "smoke"
    FULL = "full"


Measure = Callable[[Size], list[Figures]]


def environment() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "load_average": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def median(runs: Iterable[Figures]) -> Figures:
    """The runs of one case as one: the median of each number; everything else, also the hash, must be the same."""
    every = list(runs)
    merged: Figures = {}
    for name, first in every[0].items():
        values = [run[name] for run in every]
        if isinstance(first, float):
            merged[name] = significant(statistics.median(values))
        elif all(value == first for value in values):
            merged[name] = first
        else:
            raise ValueError(f"{every[0].get('case')}: {name} differs between runs: {values}")
    return merged


def significant(number: float, digits: int = 4) -> float:
    """The number with so many digits."""
    return float(f"{number:.{digits}g}")


def percentile(seconds: Sequence[float], percent: float) -> float:
    """By nearest rank, in milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * percent / 100))] * 1e3


def hash_of(*pieces: bytes) -> str:
    """16 hexadecimal digits over all pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:16]


def timed(work: Callable[[], Any]) -> float:
    """Seconds that the work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run_command(
    name: str,
    doc: str,
    measure: Measure | Mapping[str, Measure],
    arguments: Sequence[str] | None = None,
) -> list[Figures]:
    """The command line of a benchmark: measures, prints a table or JSON lines, and adds a line to the history.

    Where `measure` has parts, each is printed as soon as it is measured, and one may be run by itself.
    """
    parts = measure if isinstance(measure, Mapping) else {name: measure}
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="the size that runs inside the tests")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--history", type=Path, help="append the figures to this file, as one JSON line a run")
    if len(parts) > 1:
        parser.add_argument("--part", choices=parts, action="append", help="only this, or these; all of them else")
    options = parser.parse_args(arguments)
    chosen = (len(parts) > 1 and options.part) or list(parts)
    size = Size.SMOKE if options.smoke else Size.FULL
    machine = environment()
    if not options.json:
        print(f"{name} ({size}): {doc.partition(chr(10))[0]}")
        print("  " + ", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    figures: list[Figures] = []
    for part in chosen:
        found = parts[part](size)
        figures += found
        if options.json:
            for line in found:
                print(json.dumps({"benchmark": name, **line}), flush=True)
        else:
            print_table(found)
    if options.history is not None:
        record = {"benchmark": name, "size": size, "commit": _commit(), "time": _now(), "machine": machine}
        with options.history.open("a") as history:
            history.write(json.dumps({**record, "figures": figures}) + "\n")
    return figures


def print_table(figures: list[Figures]) -> None:
    """Figures as columns; cases that have other figures begin a new table."""
    at = 0
    while at < len(figures):
        names = list(figures[at])
        end = at
        while end < len(figures) and list(figures[end]) == names:
            end += 1
        rows = [names, *([_shown(line[name]) for name in names] for line in figures[at:end])]
        widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
        for row in rows:
            cells = [
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            print("  " + "  ".join(cells).rstrip())
        at = end


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _commit() -> str:
    """The commit that was measured; empty outside of a repository."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
