"""Simulations without a server: a catalogue out of a file and a request, and what it is answered."""

from __future__ import annotations

from collections.abc import Iterator

from tallybook.v1 import catalog_pb2
from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.asking import unasked
from tallybook_engine.catalog.faults import CatalogInvalidError
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.simulation.contracts import ContractTable
from tallybook_server.catalog_file import check_catalog_file, read_message_file
from tallybook_server.codec.catalog import read_catalog
from tallybook_server.errors import Fault
from tallybook_server.simulations import prepare


class CatalogFileError(ValueError):
    """A file that is no catalogue; `faults` has a line for each thing that is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class SimulationError(ValueError):
    """Usage or scenarios that do not fit; `faults` has a line for each thing that is wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.message} ({fault.code.name})")
        self.faults = tuple(f"{each.field}: {each.message}" for each in fault.fields)


def read_catalog_file(name: str, content: bytes) -> Catalog:
    """A catalogue file, YAML or JSON. CatalogFileError names every fault with its line."""
    read = read_message_file(name, content, catalog_pb2.Catalog)
    try:
        if not read.faults:
            return read_catalog(read.message)
    except CatalogInvalidError:
        pass
    raise CatalogFileError(*check_catalog_file(read, Catalog(), catalog_pb2.CatalogIds(), False))


def simulate(request: wire.RunSimulationRequest, catalog: Catalog) -> Iterator[wire.RunSimulationResponse]:
    """The messages of a simulation whose usage comes with the request; the baseline is the catalogue. Raises
    SimulationError.
    """
    try:
        simulation = prepare(request, catalog, ContractTable(catalog.contracts))
        yield simulation.started()
        settlement, comparison = simulation.adding_up(unasked)
        unfit_row_counts = [0] * len(simulation.names)
        row_count_done = 0
        for piece in simulation.plan.pieces:
            found, messages = simulation.run(piece, unasked)
            yield from messages
            comparison.add(found)
            settlement.add(found)
            unfit_row_counts = [
                count + lines.unfit_row_count for count, lines in zip(unfit_row_counts, found, strict=True)
            ]
            row_count_done += piece.row_count
            yield simulation.progress(row_count_done)
        for messages in simulation.settled(settlement, comparison, unasked):
            yield from messages
        yield from simulation.results(comparison, unfit_row_counts, unasked)
    except Fault as fault:
        raise SimulationError(fault) from None
