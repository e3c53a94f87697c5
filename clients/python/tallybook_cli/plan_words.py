"""A plan's rules and a tax in words, as the catalogue names them."""

from __future__ import annotations

from decimal import Decimal

from google.protobuf.message import Message

from tallybook.v1 import catalog_pb2
from tallybook_cli.output import number


def plan_words(catalog: catalog_pb2.Catalog, plan_id: str, cell_id: str) -> str:
    """`en_route_2013: graduated; included quantity 100000 SUBTRACT_FIRST; rounding HALF_AWAY_FROM_ZERO`."""
    plan = next((plan for plan in catalog.plans if plan.id == plan_id), None)
    if plan is None:
        return plan_id
    priced: catalog_pb2.Plan | catalog_pb2.MatrixRule = plan
    words: list[str] = [plan.WhichOneof("model") or ""]
    if plan.HasField("matrix"):
        rule = next((rule for rule in plan.matrix.rules if rule.id == cell_id), None)
        if rule is not None:
            priced = rule
            words = [f"matrix rule {cell_id}", rule.WhichOneof("model") or ""]
    words += _around(priced)
    words.append(f"rounding {_chosen(plan, 'rounding', 'HALF_AWAY_FROM_ZERO')}")
    return f"{plan.id}: {'; '.join(words)}"


def _around(priced: catalog_pb2.Plan | catalog_pb2.MatrixRule) -> list[str]:
    """What stands around the model."""
    words = []
    if priced.HasField("conversion"):
        conversion = priced.conversion
        operation = conversion.WhichOneof("operation") or ""
        words.append(f"conversion: {operation.replace('_', ' ')} {getattr(conversion, operation)}")
    if priced.HasField("included_quantity"):
        included = priced.included_quantity
        by_days = " by days" if included.prorate else ""
        words.append(f"included quantity {included.quantity} {_chosen(included, 'mode', 'SUBTRACT_FIRST')}{by_days}")
    if priced.HasField("minimum"):
        words.append(f"minimum {priced.minimum}")
    if priced.HasField("cap"):
        words.append(f"cap {priced.cap}")
    return words


def _chosen(message: Message, field: str, default: str) -> str:
    """The word of an enum field; the default where it is left out."""
    value: int = getattr(message, field)
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    return kind.values_by_number[value].name if value and kind else default


def tax_words(catalog: catalog_pb2.Catalog, country_code: str) -> str:
    """`us_excise: 7.5 % EXCLUSIVE`."""
    tax = next((tax for tax in catalog.taxes if tax.country_code == country_code), None)
    if tax is None:
        return f"of {country_code}"
    return f"{tax.id}: {number(Decimal(tax.rate) * 100)} % {_chosen(tax, 'mode', 'EXCLUSIVE')}"
