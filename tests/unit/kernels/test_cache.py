"""The cache of compiled kernels: fast when nothing changed, never stale when a callee did."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tallybook_engine
from tallybook_engine.kernels.cache import CACHE_DIRECTORY_VARIABLE, base_directory, cache_key

ENGINE = Path(tallybook_engine.__file__).parent
CALLEE = """
from tallybook_engine.kernels import kernel

@kernel
def unit_price():
    return {unit_price}
"""
CALLER = """
from tallybook_engine.kernels import kernel
from tallybook_engine.callee import unit_price

@kernel
def cost(quantity):
    return quantity * unit_price()
"""
ASK = "from tallybook_engine.caller import cost; print(cost(5))"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine of kernels/, a caller and a callee, on its own Python path."""
    copy = tmp_path / "path" / "tallybook_engine"
    shutil.copytree(ENGINE / "kernels", copy / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__init__.py").touch()
    (copy / "callee.py").write_text(CALLEE.format(unit_price=90))
    (copy / "caller.py").write_text(CALLER)
    return copy


def cost_in_a_new_process(engine: Path) -> int:
    base = engine.parents[1] / "cache"
    # The compiler is on, whatever the rest of the suite runs with.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(engine.parent), CACHE_DIRECTORY_VARIABLE: str(base)}
    run = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    return int(run.stdout)


def compiled_files(engine: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (engine.parents[1] / "cache").rglob("*.nb[ci]")}


def test_an_edited_callee_yields_the_new_result(engine: Path):
    assert cost_in_a_new_process(engine) == 450
    (engine / "callee.py").write_text(CALLEE.format(unit_price=108))
    assert cost_in_a_new_process(engine) == 540


def test_numbas_own_cache_would_keep_the_old_result(engine: Path):
    # Given a key that does not see the sources, as Numba's does not see a callee's
    cache = engine / "kernels" / "cache.py"
    cache.write_text(cache.read_text().replace("{cache_key()}", "fixed"))
    assert cost_in_a_new_process(engine) == 450
    # When the callee is edited, then the caller answers from the old one
    (engine / "callee.py").write_text(CALLEE.format(unit_price=108))
    assert cost_in_a_new_process(engine) == 450


def test_nothing_is_compiled_twice(engine: Path):
    cost_in_a_new_process(engine)
    compiled = compiled_files(engine)
    assert compiled
    cost_in_a_new_process(engine)
    assert compiled_files(engine) == compiled


def test_the_key_is_of_every_source_that_a_kernel_sees(engine: Path):
    caller, constant = engine / "caller.py", engine / "prices" / "constant.py"
    constant.parent.mkdir()
    (constant.parent / "__init__.py").touch()
    constant.write_text("UNIT_PRICE = 1")
    keys = [cache_key(engine)]
    for change in (
        lambda: (engine / "callee.py").write_text(CALLEE.format(unit_price=91)),
        lambda: (engine / "new.py").write_text(CALLEE.format(unit_price=1)),
        lambda: (engine / "new.py").rename(engine / "other.py"),
        lambda: caller.write_text(
            CALLER + "from tallybook_engine.prices import (  # a comment (of two)\n    constant,\n)"
        ),
        lambda: constant.write_text("UNIT_PRICE = 2"),
        lambda: (constant.parent / "__init__.py").write_text("UNIT_PRICE = 3"),
        lambda: caller.write_text(CALLER + "import tallybook_engine.prices.constant as constant"),
        lambda: constant.write_text("UNIT_PRICE = 4"),
    ):
        change()
        keys.append(cache_key(engine))
    assert len(set(keys)) == len(keys)


def test_the_key_is_not_of_what_no_kernel_sees(engine: Path):
    before = cache_key(engine)
    (engine / "report.py").write_text("from tallybook_engine.callee import unit_price")
    assert cache_key(engine) == before


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({CACHE_DIRECTORY_VARIABLE: "/chosen"}, Path("/chosen")),
        ({"XDG_CACHE_HOME": "/caches"}, Path("/caches/tallybook")),
        ({}, Path.home() / ".cache" / "tallybook"),
    ],
)
def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Path):
    for name in (CACHE_DIRECTORY_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert base_directory() == expected
