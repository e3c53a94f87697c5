"""Where compiled kernels are kept, so that no process ever runs a stale one.

Numba's own file cache looks only at the file of the function it compiled: after an edit of a *callee* in another
file it answers with the old machine code. So the folder itself is named by everything that can change the code: the
text of every source file of the engine (constants are frozen into kernels too), Numba, LLVM's binding, Python and
the processor. Any change opens a new, empty folder.

This is the engine's one use of files.
"""

import hashlib
import importlib.metadata
import os
import sys
from pathlib import Path

import llvmlite.binding

CACHE_DIRECTORY_VARIABLE = "TALLYBOOK_CACHE_DIR"
"""Environment variable that moves the base folder; unset, the user's cache folder is used."""

_ENGINE_ROOT = Path(__file__).resolve().parents[1]


def base_directory() -> Path:
    """The folder that holds one sub-folder a cache key."""
    chosen = os.environ.get(CACHE_DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen)
    user_cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(user_cache) if user_cache else Path.home() / ".cache") / "tallybook"


def cache_key(engine_root: Path = _ENGINE_ROOT) -> str:
    """32 hexadecimal digits over the engine's sources, the compilers' versions and the processor."""
    digest = hashlib.sha256()

    def add(text: bytes) -> None:
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)

    for path in sorted(engine_root.rglob("*.py")):
        add(path.relative_to(engine_root).as_posix().encode())
        add(path.read_bytes())
    add(sys.version.encode())
    for package in ("numba", "llvmlite", "numpy"):
        add(importlib.metadata.version(package).encode())
    add(llvmlite.binding.get_host_cpu_name().encode())
    add(llvmlite.binding.get_host_cpu_features().flatten().encode())
    return digest.hexdigest()[:32]


def point_numba_at_cache() -> Path:
    """Makes Numba keep and look for compiled code in the folder of the present key, and answers that folder.

    Must run before the first kernel is defined: Numba fixes a function's folder when it is decorated.
    """
    directory = base_directory() / f"kernels-{cache_key()}"
    os.environ["NUMBA_CACHE_DIR"] = str(directory)
    from numba.core import config

    # Whoever imported Numba before us made it read the old environment.
    config.reload_config()  # type: ignore[no-untyped-call]  # Numba states no types
    return directory
