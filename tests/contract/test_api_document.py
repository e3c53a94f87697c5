"""docs/api.md names every method of the contract, and nothing that the contract does not have."""

import re
from pathlib import Path

import pytest

from tallybook.v1 import catalog_pb2, common_pb2, determinants_pb2, ingest_pb2, simulate_pb2

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/api.md").read_text(encoding="utf-8")
FILES = tuple(each.DESCRIPTOR for each in (common_pb2, ingest_pb2, catalog_pb2, determinants_pb2, simulate_pb2))


def table_under(head: str) -> list[str]:
    """The first cells of the table whose first column has this head."""
    lines = DOCUMENT.split(f"\n| {head} |", 1)[1].splitlines()[2:]
    cells = []
    for line in lines:
        if not line.startswith("| "):
            break
        cells += re.findall(r"`(\w+)`", line.split(" | ")[0])
    return cells


def test_every_method_is_described_once():
    methods = [
        method.name for file in FILES for service in file.services_by_name.values() for method in service.methods
    ]
    assert sorted(table_under("method")) == sorted(methods)


@pytest.mark.parametrize(("field", "enum"), [("`status`", "Status"), ("`match`", "Match")])
def test_every_status_and_match_is_described_once(field, enum):
    values = ingest_pb2.EventResult.DESCRIPTOR.enum_types_by_name[enum].values
    assert sorted(table_under(field)) == sorted(value.name for value in values if value.number)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", DOCUMENT):
        assert (ROOT / "docs" / target).exists(), target
