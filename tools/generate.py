"""Write what is generated from the protos: the Python stubs beside them and the wire image; or check all of it.

    python tools/generate.py                     writes stubs and image; refuses a change that breaks deployed clients
    python tools/generate.py --accept-breaking   writes them all the same (before a first release, or a new major)
    python tools/generate.py --check             changes nothing; lint, format, compatibility, everything up to date

The wire image (proto/image.binpb) is the contract in force, as protoc's descriptors with all imports. An edit of a
proto is held against it, so an incompatible edit is refused here and by the tests until it is accepted by name.
"""

import argparse
import importlib.resources
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
IMAGE_NAME = "image.binpb"
BIN = Path(sys.executable).parent
STUB_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def proto_files(proto: Path) -> list[str]:
    """Paths of the protos below the folder `proto`, relative to it."""
    return sorted(path.relative_to(proto).as_posix() for path in proto.rglob("*.proto"))


def protoc(proto: Path, *options: str, files: list[str]) -> None:
    """Run the pinned protoc; the imports come from the installed packages."""
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    google_rpc = importlib.resources.files("google.rpc") / ".." / ".."
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto}", f"-I{well_known}", f"-I{google_rpc}"]
    command += [f"--plugin=protoc-gen-{name}={BIN / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    subprocess.run([*command, *options, *files], check=True)


def write_stubs(proto: Path, into: Path) -> None:
    """Write the Python stubs, and their types, of every proto; gRPC stubs only where a service is declared."""
    files = proto_files(proto)
    protoc(proto, f"--python_out={into}", f"--mypy_out=quiet:{into}", files=files)
    with_service = [name for name in files if "\nservice " in (proto / name).read_text(encoding="utf-8")]
    if with_service:
        protoc(proto, f"--grpc_python_out={into}", f"--mypy_grpc_out=quiet:{into}", files=with_service)


def write_image(proto: Path, to: Path, source_info: bool = False) -> None:
    """Write the descriptors of every proto and of all that they import; with comments and lines where asked."""
    options = ["--include_imports", f"--descriptor_set_out={to}", *(["--include_source_info"] if source_info else [])]
    protoc(proto, *options, files=proto_files(proto))


def buf(*arguments: str | Path) -> str:
    """Run buf under the rules of buf.yaml; answers what it found, empty where it found nothing."""
    command = [str(BIN / "buf"), *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else f"{run.stdout}{run.stderr}".strip()


def breaking_changes(proto: Path) -> str:
    """What of the protos would break a client of the image in force."""
    in_force = proto / IMAGE_NAME
    if not in_force.exists():
        return ""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / IMAGE_NAME
        write_image(proto, image, source_info=True)
        return buf("breaking", image, "--against", in_force, "--config", ROOT / "buf.yaml")


def lint_faults(proto: Path) -> str:
    """What of the protos is against the style of buf.yaml, missing comments included."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / IMAGE_NAME
        write_image(proto, image, source_info=True)
        return buf("lint", image, "--config", ROOT / "buf.yaml")


def stubs(folder: Path) -> dict[str, bytes]:
    """Content of every stub below a folder, by its path relative to it."""
    found = (path for pattern in STUB_PATTERNS for path in folder.rglob(pattern))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def outdated(proto: Path) -> Iterator[str]:
    """Names of the generated files that differ from what the protos would generate, in either direction."""
    with tempfile.TemporaryDirectory() as folder:
        fresh_folder = Path(folder)
        write_stubs(proto, fresh_folder)
        fresh, present = stubs(fresh_folder), stubs(proto)
        yield from sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))
        write_image(proto, fresh_folder / IMAGE_NAME)
        image = proto / IMAGE_NAME
        if not image.exists() or image.read_bytes() != (fresh_folder / IMAGE_NAME).read_bytes():
            yield IMAGE_NAME


def faults(proto: Path) -> list[str]:
    """Everything that is wrong with the protos and what is generated from them."""
    checks = {
        "style": lint_faults(proto),
        "format (run `make fmt`)": buf("format", "--diff", "--exit-code", proto),
        "breaking (see `tools/generate.py --help`)": breaking_changes(proto),
        "out of date (run `make generate`)": "\n".join(outdated(proto)),
    }
    return [f"{title}:\n{text}" for title, text in checks.items() if text]


def generate(proto: Path, accept_breaking: bool) -> list[str]:
    """Write stubs and image; answers why not where the change is incompatible and not accepted."""
    broken = "" if accept_breaking else breaking_changes(proto)
    if broken:
        return [f"breaking, so nothing is written (--accept-breaking writes all the same):\n{broken}"]
    with tempfile.TemporaryDirectory() as folder:
        fresh_folder = Path(folder)
        write_stubs(proto, fresh_folder)
        fresh = stubs(fresh_folder)
        for name in stubs(proto).keys() - fresh.keys():
            (proto / name).unlink()
        for name, content in fresh.items():
            (proto / name).write_bytes(content)
    write_image(proto, proto / IMAGE_NAME)
    return []


def main() -> int:
    """Entry point; answers the exit code."""
    parser = argparse.ArgumentParser(description="Write stubs and wire image from the protos, or check them.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where something is wrong")
    parser.add_argument("--accept-breaking", action="store_true", help="accept changes that break deployed clients")
    parser.add_argument("--proto", type=Path, default=PROTO, help="folder of the protos")
    arguments = parser.parse_args()
    found = faults(arguments.proto) if arguments.check else generate(arguments.proto, arguments.accept_breaking)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
