"""The demo's second part: real meters, from files of readings to determinants, billing messages and a bill."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import tallybook_client as tb
from tallybook.v1 import catalog_pb2, determinants_pb2
from tallybook_cli.errors import CommandError
from tallybook_cli.load_picture import draw
from tallybook_cli.main import cli
from tallybook_cli.output import console, yaml_text
from tallybook_cli.stored_load import with_book
from tallybook_server import offline_determinants as offline
from tallybook_server.catalog_file import read_message_file

EXAMPLE = Path("examples/energy")
READINGS = Path("tests/vectors/energy")
CUSTOMER = "household"
HOME = "london"
CONNECTION_POINTS = ("NEM1202022", "NEM1206104", "NEM1208150")

IMPORTS = (
    (
        str(READINGS / "real/uk-electricity-hdd-only-hourly-sample-1.csv.gz"),
        *("--datasource", HOME, "--channel", "load"),
        *("--zone", "UTC", "--unit", "kWh", "--interval", "1800", "--quality", "measured"),
    ),
    tuple(
        str(READINGS / "nem12/nem12" / name)
        for name in (
            "NEM12#000000000000002#CNRGYMDP#NEMMCO.zip",
            "NEM12#SCENARIO605033001#ENERGEXM#NEMMCO.zip",
            "NEM12#SCENARIO705033001#ENERGEXM#NEMMCO.zip",
            "NEM12#08150_05031502#WBAYM#NEMMCO.zip",
        )
    ),
)
"""Arguments of `tallybook readings import`: a year of a London home, then what four of AEMO's NEM12 files hold."""


@dataclass(frozen=True)
class Cancelled:
    """A billing request that was refused its determinants."""

    datasource: str
    why: str


@dataclass(frozen=True)
class Metered:
    """What the server made of the readings."""

    home: tb.Determinants
    home_request: determinants_pb2.CalculateDeterminantsRequest
    """With the readings and the configuration that the book had."""
    others: tuple[tb.Determinants | Cancelled, ...]
    messages: tuple[tb.BillingMessage, ...]
    """The outbox before it was acknowledged."""
    charges: tb.Charges
    events: tuple[tb.StoredEvent, ...]
    """The customer's usage: determinants that a plan is for."""
    catalog: catalog_pb2.Catalog
    """What the book's catalogue has of the example."""


def run_meters(client: tb.Client, address: str) -> Metered:
    """Import the readings, store determinants, read the outbox and the bill. A second run changes nothing of it."""
    example = _applied(client)
    for arguments in IMPORTS:
        _import(arguments, address)
    request = _request(HOME)
    home = client.calculate_determinants(request)
    others = tuple(_determinants(client, name) for name in CONNECTION_POINTS)
    messages = tuple(client.billing_messages())
    client.acknowledge(each.message_id for each in messages)
    return Metered(
        home,
        with_book(client, request, home),
        others,
        messages,
        client.charges(tb.Span(customer_id=CUSTOMER)),
        tuple(client.list_events(tb.Span(customer_id=CUSTOMER))),
        _stored_of(client, example),
    )


def write_meter_files(out: Path, metered: Metered) -> list[Path]:
    """The picture of the load, its billing message, and the catalogue of the meters."""
    picture, message, catalog = out / "london-load.png", out / "billing-message.json", out / "meters.yaml"
    load = offline.sliced_load(metered.home_request)
    if load is None:
        raise CommandError(f"{EXAMPLE / HOME}.yaml asks for no channel of intervals")
    draw(load, metered.home, picture)
    (own,) = (each for each in metered.messages if each.message_id == metered.home.message.message_id)
    message.write_text(json.dumps(json.loads(own.document), indent=2) + "\n")
    catalog.write_text(yaml_text(metered.catalog))
    return [picture, message, catalog]


def _applied(client: tb.Client) -> catalog_pb2.Catalog:
    file = EXAMPLE / "catalog.yaml"
    example = read_message_file(str(file), file.read_bytes(), catalog_pb2.Catalog).message
    client.apply_catalog(example)
    return example


def _import(arguments: tuple[str, ...], address: str) -> None:
    """The command that anybody would use; it tells what it read, skipped and stored."""
    console().print(f"\n$ tallybook readings import {shlex.join(arguments)}", markup=False, soft_wrap=True)
    cli.main(["readings", "import", *arguments, "--server", address], standalone_mode=False)


def _request(name: str) -> determinants_pb2.CalculateDeterminantsRequest:
    file = EXAMPLE / f"{name}.yaml"
    request = offline.read_request_file(str(file), file.read_bytes())
    request.store = True
    return request


def _determinants(client: tb.Client, name: str) -> tb.Determinants | Cancelled:
    try:
        return client.calculate_determinants(_request(name))
    except tb.DeterminantsCancelledError as error:
        return Cancelled(name, "; ".join(f"{each.detail} ({each.reason})" for each in error.causes))


def _stored_of(client: tb.Client, example: catalog_pb2.Catalog) -> catalog_pb2.Catalog:
    """The book's objects of the ids that the example has."""
    whole, found = client.get_catalog().catalog, catalog_pb2.Catalog()
    for field in example.DESCRIPTOR.fields:
        ids = {each.id for each in getattr(example, field.name)}
        getattr(found, field.name).extend(each for each in getattr(whole, field.name) if each.id in ids)
    return found
