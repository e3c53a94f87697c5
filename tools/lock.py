"""Resolve the dependencies of pyproject.toml into requirements.lock, or check that the lock still fits.

    python tools/lock.py              keeps the pins that still fit and resolves what is new
    python tools/lock.py --upgrade    takes the newest versions
    python tools/lock.py --check      changes nothing, asks no registry, exits 1 and says what is wrong

The lock holds versions and hashes for every platform and no download address: where packages come from is the business
of the machine that installs them. Its head carries a digest of the requirements it was resolved from, which is how the
check knows without a network that the two belong together.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT_NAME = "pyproject.toml"
LOCK_NAME = "requirements.lock"
EXTRAS = ("development", "bench")
"""Of the optional dependencies all: one lock for whoever builds, tests and measures."""
DIGEST_PREFIX = "# requirements-sha256: "


def declared_requirements(root: Path) -> dict[str, Any]:
    """What pyproject.toml asks for: everything that the resolution depends on."""
    document = tomllib.loads((root / PROJECT_NAME).read_text(encoding="utf-8"))
    project = document["project"]
    return {
        "python": project["requires-python"],
        "build": document["build-system"]["requires"],
        "runtime": project["dependencies"],
        **{extra: project["optional-dependencies"][extra] for extra in EXTRAS},
    }


def digest(requirements: dict[str, Any]) -> str:
    """SHA-256 of the requirements, in hexadecimal; the order in which they are written does not matter."""
    canonical = {key: sorted(value) if isinstance(value, list) else value for key, value in requirements.items()}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def resolve(root: Path, upgrade: bool) -> None:
    """Write requirements.lock."""
    lock = root / LOCK_NAME
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += [part for extra in EXTRAS for part in ("--extra", extra)]
    command += ["--output-file", str(lock), *(["--upgrade"] if upgrade else [])]
    subprocess.run([*command, str(root / PROJECT_NAME)], check=True, stdout=subprocess.DEVNULL)
    head = f"# Written by `make lock` from pyproject.toml.\n{DIGEST_PREFIX}{digest(declared_requirements(root))}\n"
    lock.write_text(head + lock.read_text(encoding="utf-8"), encoding="utf-8")


def pinned_requirements(lock: str) -> list[Requirement]:
    """The `name==version ; marker` entries of a lock's text."""
    lines = [line.rstrip(" \\") for line in lock.splitlines() if line and not line.startswith(("#", " "))]
    return [Requirement(line) for line in lines]


def faults(root: Path) -> list[str]:
    """What is wrong with requirements.lock, one sentence each; empty where nothing is."""
    lock = (root / LOCK_NAME).read_text(encoding="utf-8")
    requirements = declared_requirements(root)
    found = []
    if f"{DIGEST_PREFIX}{digest(requirements)}\n" not in lock:
        found.append("requirements.lock was resolved from other requirements than pyproject.toml declares")
    if "://" in lock:
        found.append("requirements.lock carries an address")
    pins: dict[str, list[str]] = {}
    for pin in pinned_requirements(lock):
        pins.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    for text in [
        *requirements["build"],
        *requirements["runtime"],
        *(each for extra in EXTRAS for each in requirements[extra]),
    ]:
        requirement = Requirement(text)
        versions = pins.get(canonicalize_name(requirement.name), [])
        if not versions or not all(requirement.specifier.contains(version) for version in versions):
            found.append(f"{text} is pinned to {' and '.join(versions) or 'nothing'}")
    return found


def main() -> int:
    """Entry point; answers the exit code."""
    parser = argparse.ArgumentParser(description="Resolve requirements.lock, or check it.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where the lock does not fit")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the two files")
    arguments = parser.parse_args()
    if not arguments.check:
        resolve(arguments.root, arguments.upgrade)
    found = faults(arguments.root)
    for fault in found:
        print(f"{fault}; run `make lock`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
