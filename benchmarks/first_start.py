"""The first start on a machine: how long it takes to compile the kernels, and the start and the demo after it.

    python -m benchmarks.first_start            # with an empty cache of its own, then with what that left
    python -m benchmarks.first_start --smoke    # one start, with the cache that is there

Timed, each in processes of its own: `tallybook serve` until it answers and has stopped, with nothing compiled; again,
with what the first has left; and `make demo` without the installation, which starts such a server. `cpu_seconds` is
what all these processes took of the processor; `compiled` is how many pieces of machine code they added to the cache,
one for a kernel and types of its arguments, and `cache_mib` what the cache then holds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import Figures, Size, run_command
from benchmarks.processes import server_process

from tallybook_engine.kernels.cache import CACHE_DIRECTORY_VARIABLE, base_directory, cache_key

MIB = 1 << 20


def measure(size: Size) -> list[Figures]:
    """The starts and the demo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if size == Size.SMOKE:
            return [_measured("start", lambda: _start(folder / "start"))]
        # The processes that are started from here look there.
        os.environ[CACHE_DIRECTORY_VARIABLE] = str(folder / "cache")
        return [
            _measured("first start", lambda: _start(folder / "first")),
            _measured("second start", lambda: _start(folder / "second")),
            _measured("demo", lambda: _demo(folder / "demo")),
        ]


def _start(data: Path) -> None:
    with server_process(data):
        pass


def _demo(out: Path) -> None:
    command = [sys.executable, "-m", "tallybook_cli.demo", "--out", str(out)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, stdout=subprocess.DEVNULL)


def _measured(case: str, work: Callable[[], None]) -> Figures:
    compiled, cpu_seconds, begun = len(_compiled_bytes()), _cpu_seconds(), time.perf_counter()
    work()
    return {
        "case": case,
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu_seconds, 1),
        "compiled": len(_compiled_bytes()) - compiled,
        "cache_mib": round(sum(_compiled_bytes()) / MIB, 1),
    }


def _cpu_seconds() -> float:
    """Of the processes that were started from here and have ended, and of those that these started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compiled_bytes() -> list[int]:
    """The size of each piece of machine code that is kept of these sources."""
    return [path.stat().st_size for path in (base_directory() / f"kernels-{cache_key()}").rglob("*.nbc")]


if __name__ == "__main__":
    run_command("first_start", __doc__, measure)
