"""The protos, and what is generated from them: tools/generate.py passes on the tree and sees each planted fault."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMON = Path("tallybook/v1/common.proto")


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the check of tools/generate.py."""
    command = [sys.executable, str(ROOT / "tools" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def proto_copy(tmp_path: Path) -> Path:
    """A copy of the protos and their stubs, to plant faults in."""
    return Path(shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("__pycache__")))


def test_protos_are_clean_and_generated_files_are_up_to_date() -> None:
    run = check("--check")

    assert (run.returncode, run.stderr) == (0, "")


def test_a_copy_without_faults_passes(proto_copy: Path) -> None:
    run = check("--check", "--proto", str(proto_copy))

    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("find", "replace", "expected"),
    [
        pytest.param("string currency = 2;", "", ["breaking", 'field "2"'], id="field removed"),
        pytest.param("string currency = 2;", "bytes currency = 2;", ["breaking", "bytes"], id="type changed"),
        pytest.param("string currency = 2;", "string code = 2;", ["breaking", "name"], id="field renamed"),
        pytest.param("// An amount of money.\n", "", ["style", '"Money"'], id="comment missing"),
        pytest.param("string currency = 2;", "string currency   = 2;", ["format"], id="badly formatted"),
        pytest.param("rpc GetEvent(", "rpc getEvent(", ["style", "getEvent"], id="name of a method"),
        pytest.param(
            "string currency = 2;",
            "string currency = 2;\n  // Digits.\n  int32 digits = 3;",
            ["out of date", "image.binpb", "common_pb2.py", "common_pb2.pyi"],
            id="field added, nothing generated",
        ),
    ],
)
def test_a_fault_in_a_proto_is_named(proto_copy: Path, find: str, replace: str, expected: list[str]) -> None:
    path = next(path for path in proto_copy.rglob("*.proto") if find in path.read_text(encoding="utf-8"))
    path.write_text(path.read_text(encoding="utf-8").replace(find, replace, 1), encoding="utf-8")

    run = check("--check", "--proto", str(proto_copy))

    assert run.returncode == 1
    assert [word for word in expected if word not in run.stderr] == [], run.stderr


def test_a_stub_without_a_proto_is_named(proto_copy: Path) -> None:
    (proto_copy / "tallybook/v1/forgotten_pb2.py").write_text("", encoding="utf-8")

    run = check("--check", "--proto", str(proto_copy))

    assert run.returncode == 1
    assert "tallybook/v1/forgotten_pb2.py" in run.stderr


def content(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("find", "replace", "expected"),
    [
        pytest.param("  string currency = 2;\n", "", "breaking", id="breaking"),
        pytest.param("string currency = 2;", "string currency = ;", "common.proto", id="no proto at all"),
    ],
)
def test_generating_from_a_bad_proto_writes_nothing(proto_copy: Path, find: str, replace: str, expected: str) -> None:
    proto = proto_copy / COMMON
    proto.write_text(proto.read_text(encoding="utf-8").replace(find, replace, 1), encoding="utf-8")
    before = content(proto_copy)

    run = check("--proto", str(proto_copy))

    assert run.returncode != 0
    assert expected in run.stderr
    assert content(proto_copy) == before


@pytest.mark.parametrize(
    ("find", "replace", "options"),
    [
        ("string currency = 2;", "string currency = 2;\n  // Digits.\n  int32 digits = 3;", []),
        ("string currency = 2;", "// Currency.\n  bytes currency = 2;", ["--accept-breaking"]),
    ],
    ids=["compatible", "breaking and accepted"],
)
def test_generating_brings_everything_up_to_date(proto_copy: Path, find: str, replace: str, options: list[str]) -> None:
    proto = proto_copy / COMMON
    proto.write_text(proto.read_text(encoding="utf-8").replace(find, replace, 1), encoding="utf-8")
    forgotten = proto_copy / "tallybook/v1/forgotten_pb2.py"
    forgotten.write_text("", encoding="utf-8")

    generated = check("--proto", str(proto_copy), *options)
    checked = check("--check", "--proto", str(proto_copy))

    assert (generated.returncode, generated.stderr) == (0, "")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert not forgotten.exists()
