"""Where compiled kernels are kept, so that no process ever runs a stale one.

Numba's own file cache looks only at the file of the function it compiled: after an edit of a *callee* in another
file it answers with the old machine code. So the folder itself is named by everything that can change the code: the
text of every source file that defines kernels and of all that these import (constants are frozen into kernels too),
Numba, LLVM's binding, Python and the processor. Any change opens a new, empty folder.

This is the engine's one use of files.
"""

import hashlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding

CACHE_DIRECTORY_VARIABLE = "TALLYBOOK_CACHE_DIR"
"""Environment variable that moves the base folder; unset, the user's cache folder is used."""

_ENGINE_ROOT = Path(__file__).resolve().parents[1]
_DECORATOR = re.compile(rb"\b(?:inlined_)?kernel\b")
_COMMENT = re.compile(rb"#[^\n]*")
_IMPORT = re.compile(
    rb"^\s*(?:from|import)\s+(?P<module>tallybook_engine[\w.]*)(?:\s+import\s*(?P<names>\([^)]*\)|[^\n]*))?",
    re.MULTILINE,
)


def base_directory() -> Path:
    """The folder that holds one sub-folder a cache key."""
    chosen = os.environ.get(CACHE_DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen)
    user_cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(user_cache) if user_cache else Path.home() / ".cache") / "tallybook"


def kernel_sources(engine_root: Path = _ENGINE_ROOT) -> dict[Path, bytes]:
    """The source files that define kernels and all of the engine's that these import, sorted, with their texts.

    They are searched, not parsed, for every process that runs kernels pays for it: a file that names the decorator
    counts as one that defines kernels, and any name that is imported as one that may be a module.
    """
    paths = {_module_name(path, engine_root): path for path in sorted(engine_root.rglob("*.py"))}
    texts = {module: path.read_bytes() for module, path in paths.items()}
    due = [module for module, text in texts.items() if _DECORATOR.search(text)]
    found: set[str] = set()
    while due:
        module = due.pop()
        if module in texts and module not in found:
            found.add(module)
            due.extend(_imported(texts[module]))
    return {paths[module]: text for module, text in texts.items() if module in found}


def _module_name(path: Path, engine_root: Path) -> str:
    names = path.relative_to(engine_root.parent).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def _imported(text: bytes) -> Iterator[str]:
    """Every name that may be a module: what is imported, from where, and the packages around it."""
    for found in _IMPORT.finditer(_COMMENT.sub(b"", text)):
        module = found["module"].decode()
        yield module
        yield from (module[:at] for at, letter in enumerate(module) if letter == ".")
        yield from (f"{module}.{name.decode()}" for name in re.findall(rb"\w+", found["names"] or b""))


def cache_key(engine_root: Path = _ENGINE_ROOT) -> str:
    """32 hexadecimal digits over the kernels' sources, the compilers' versions and the processor."""
    digest = hashlib.sha256()

    def add(text: bytes) -> None:
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)

    for path, text in kernel_sources(engine_root).items():
        add(path.relative_to(engine_root).as_posix().encode())
        add(text)
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
