"""Plans out of files, to be quoted from without a server."""

from __future__ import annotations

from tallybook.v1 import catalog_pb2
from tallybook_engine.catalog.faults import CatalogFault, Faults
from tallybook_engine.catalog.model import Catalog, Plan
from tallybook_server.catalog_file import check_catalog_file, read_message_file
from tallybook_server.codec.catalog import read_objects
from tallybook_server.quotes import read_one_plan


class PlanFileError(ValueError):
    """A file that holds no plan to quote from; `faults` has a line for each thing that is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def read_plan(name: str, content: bytes, plan_id: str | None) -> Plan:
    """A plan out of a file: the one of a catalogue file that `plan_id` names, or the only one, or a file that is one
    plan. PlanFileError names every fault with its line.
    """
    catalog = read_message_file(name, content, catalog_pb2.Catalog)
    if not catalog.message.plans:
        return _single_plan(name, content)
    faults = check_catalog_file(catalog, Catalog(), prune=False)
    if faults:
        raise PlanFileError(*faults)
    plans = {plan.id: plan for plan in read_objects(catalog.message, Faults()).plans}
    if plan_id is None and len(plans) == 1:
        return next(iter(plans.values()))
    if plan_id is None or plan_id not in plans:
        raise PlanFileError(f"{name}: which plan? it has {', '.join(plans)}")
    return plans[plan_id]


def _single_plan(name: str, content: bytes) -> Plan:
    """A file of the message `Plan`; its product may be left out."""
    file = read_message_file(name, content, catalog_pb2.Plan)
    faults = Faults()
    for fault in file.faults:
        faults.add(f"plan.{fault.path}", fault.message)
    plan = read_one_plan(file.message, faults)
    found = [CatalogFault(fault.path.removeprefix("plan").lstrip("."), fault.message) for fault in faults.ordered()]
    if found:
        raise PlanFileError(*map(file.located, found))
    return plan
