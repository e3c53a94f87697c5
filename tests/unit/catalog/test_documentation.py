"""The catalogues that docs/catalog.md shows are ones that can be read."""

import re
from pathlib import Path

import pytest
from tests.support.catalog_files import faults, read

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/catalog.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
PLANS_NEED = "meters: [{id: m, values: [v], properties: [origin]}]\nproducts: [{id: p, meter: m, aggregation: COUNT}]\n"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_shown_catalogue_is_sound(block):
    assert faults(block if "products:" in block or "datasources:" in block else PLANS_NEED + block) == []


def test_every_model_is_shown():
    shown = {plan.WhichOneof("model") for block in BLOCKS for plan in read(block).message.plans}
    assert shown == {"none", "per_unit", "graduated", "volume", "stairstep", "package", "matrix"}
