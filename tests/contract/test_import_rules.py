"""Who may import whom: .importlinter holds on the tree, and sees each planted import."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_ROOTS = ("proto", "engine", "server", "clients/python", "tests/oracle")
# The compile cache lives on disk by its nature.
ENGINE_FILES = sorted(file for file in (ROOT / "engine").rglob("*.py") if file.name != "cache.py")


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages below a folder."""
    path = os.pathsep.join(str(root / name) for name in PACKAGE_ROOTS)
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--config",
        str(ROOT / ".importlinter"),
        "--no-cache",
    ]
    return subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree_copy(tmp_path: Path) -> Path:
    """A copy of the packages, to plant imports in."""
    for name in PACKAGE_ROOTS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_import_rules_hold() -> None:
    run = lint_imports(ROOT)

    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("package", "imported", "contract"),
    [
        ("engine/tallybook_engine", "grpc", "The engine"),
        ("engine/tallybook_engine", "google.protobuf", "The engine"),
        ("engine/tallybook_engine", "time", "The engine"),
        ("engine/tallybook_engine", "pathlib", "The engine"),
        ("engine/tallybook_engine", "tallybook_server", "The engine"),
        ("engine/tallybook_engine", "tallybook.v1.ingest_pb2", "The engine"),
        ("clients/python/tallybook_client", "tallybook_engine", "The client"),
        ("clients/python/tallybook_client", "tallybook_server", "The client"),
        ("server/tallybook_server", "tallybook_client", "The server"),
        ("server/tallybook_server", "tallybook_cli", "The server"),
        ("server/tallybook_server", "apsw", "Nothing outside"),
        ("clients/python/tallybook_cli", "tallybook_engine", "The command line"),
        ("clients/python/tallybook_cli", "sqlite3", "Nothing outside"),
        ("tests/oracle/tallybook_oracle", "tallybook_engine", "The oracle"),
        ("tests/oracle/tallybook_oracle", "numpy", "The oracle"),
        ("proto/tallybook", "tallybook_engine", "The protos"),
    ],
)
def test_a_forbidden_import_is_named(tree_copy: Path, package: str, imported: str, contract: str) -> None:
    (tree_copy / package / "planted.py").write_text(f"import {imported}\n", encoding="utf-8")

    run = lint_imports(tree_copy)

    assert run.returncode == 1
    broken = [line for line in run.stdout.splitlines() if "BROKEN" in line]
    assert [line for line in broken if line.startswith(contract)], run.stdout
    assert "planted" in run.stdout


def test_top_level_folders_are_no_packages() -> None:
    folders = ("proto", "engine", "server", "clients", "clients/python", "tests", "benchmarks")

    assert [folder for folder in folders if (ROOT / folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("file", ENGINE_FILES, ids=lambda file: str(file.relative_to(ROOT / "engine")))
def test_the_engine_reads_no_clock_and_opens_no_file(file: Path) -> None:
    """Imports are judged above; these calls need no import of their own."""
    calls = [node.func for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}

    assert names & {"now", "utcnow", "today", "open", "read_parquet", "read_csv", "default_rng"} == set()
