"""Commands that mean every customer where none is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import tallybook_client as tb


def customer_spans(client: tb.Client, span: tb.Span) -> Iterator[tb.Span]:
    """The span itself where it names a customer; otherwise one for each customer of the catalogue."""
    if span.customer_reference or span.customer_id:
        yield span
        return
    for customer in client.list_customers():
        yield replace(span, customer_id=customer.id)
