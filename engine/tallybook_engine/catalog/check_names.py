"""Names of a catalogue: ids, references, values and properties."""

from __future__ import annotations

import re

from tallybook_engine.catalog import limits
from tallybook_engine.catalog.faults import Faults

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Unicode's category Cc."""


def check_name(path: str, name: str, faults: Faults) -> None:
    """1 to 255 bytes of UTF-8, no control character, no space at either end."""
    if not name:
        faults.add(path, "is required")
    elif len(name.encode()) > limits.NAME_BYTES_MAX:
        faults.add(path, f"is longer than {limits.NAME_BYTES_MAX} bytes")
    elif name != name.strip():
        faults.add(path, f'"{name}" begins or ends with a space')
    elif _CONTROL_CHARACTERS.search(name):
        faults.add(path, "holds a control character")


def check_names(path: str, names: tuple[str, ...], count_max: int, faults: Faults) -> None:
    """At most `count_max` names, each sound and each once."""
    if len(names) > count_max:
        faults.add(path, f"are {len(names)}, at most {count_max} are possible")
    first_at: dict[str, int] = {}
    for index, name in enumerate(names):
        check_name(f"{path}[{index}]", name, faults)
        if first_at.setdefault(name, index) != index:
            faults.add(f"{path}[{index}]", f'"{name}" is given twice')
