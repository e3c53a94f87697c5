"""requirements.lock belongs to pyproject.toml, carries no address, and is what runs here."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def check(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the check of tools/lock.py on the two files in a folder."""
    command = [sys.executable, str(ROOT / "tools" / "lock.py"), "--check", "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pins() -> list[Requirement]:
    """The entries of the lock that apply to this machine."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    entries = [Requirement(line.rstrip(" \\")) for line in lines if line and not line.startswith(("#", " "))]
    return [entry for entry in entries if entry.marker is None or entry.marker.evaluate()]


def test_lock_fits_the_project() -> None:
    run = check(ROOT)

    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("file", "find", "replace", "expected"),
    [
        (
            "pyproject.toml",
            '"click>=',
            '"left-pad",\n    "click>=',
            ["other requirements", "left-pad is pinned to nothing"],
        ),
        ("pyproject.toml", '"click>=8', '"click>=99', ["other requirements", "click>=99"]),
        ("requirements.lock", "\nclick==", "\n# https://example.test/\nclick==", ["carries an address"]),
        ("requirements.lock", "\nclick==", "\nclick==7.", ["is pinned to 7."]),
    ],
)
def test_a_lock_that_does_not_fit_is_refused(
    tmp_path: Path, file: str, find: str, replace: str, expected: list[str]
) -> None:
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    path = tmp_path / file
    path.write_text(path.read_text(encoding="utf-8").replace(find, replace, 1), encoding="utf-8")

    run = check(tmp_path)

    assert run.returncode == 1
    assert [word for word in expected if word not in run.stderr] == [], run.stderr


def test_installed_packages_are_the_pinned_ones() -> None:
    installed = {entry.name: importlib.metadata.version(entry.name) for entry in pins()}

    assert {entry.name: str(entry.specifier).removeprefix("==") for entry in pins()} == installed
