"""PreviewInvoice between wire and engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from tallybook.v1 import ingest_pb2
from tallybook.v1 import simulate_pb2 as wire
from tallybook_engine.catalog.model import Contract
from tallybook_engine.contract.invoice import Invoice, InvoiceLevel, InvoiceLine, LineKind, TaxTotal
from tallybook_engine.contract.terms import term_holding
from tallybook_engine.currencies import minor_digits
from tallybook_engine.decimals import QUANTITY_SCALE, format_decimal
from tallybook_engine.ledger.invoices import PreviewedInvoices
from tallybook_engine.ledger.outcomes import ChargeLine
from tallybook_server import limits
from tallybook_server.codec.instants import parse_period_date
from tallybook_server.codec.results import charge_line, money, period
from tallybook_server.errors import ErrorCode, Fault, field_invalid
from tallybook_server.services.catalog_pages import ANSWER_BYTES_MAX

InvoicedLine = tuple[ChargeLine, date] | tuple[Invoice, InvoiceLine]
"""A charge line and when it is due, or another line and its invoice."""


def read_request(request: wire.PreviewInvoiceRequest) -> tuple[str, date, int, int | None]:
    """Contract, first day, how many periods, and the sequence (None: now). FIELD_INVALID."""
    if not request.contract_id:
        raise field_invalid("contract_id", "is required")
    try:
        first_day = parse_period_date(request.date)
    except ValueError as error:
        raise field_invalid("date", str(error) if request.date else "is required") from None
    if request.period_count < 0:
        raise field_invalid("period_count", "is below 0")
    if request.as_of_sequence < 0:
        raise field_invalid("as_of_sequence", "is below 0")
    count = min(request.period_count or 1, limits.BILLING_PERIODS_MAX)
    return request.contract_id, first_day, count, request.as_of_sequence or None


def response(previewed: PreviewedInvoices) -> wire.PreviewInvoiceResponse:
    """Invoices as the answer has them. INVOICE_TOO_LARGE for one with too many lines."""
    answer = wire.PreviewInvoiceResponse(sequence=previewed.sequence, catalog_version=previewed.catalog_version)
    byte_count = 0
    for number, invoice in enumerate(previewed.invoices):
        if len(invoice.lines) > limits.INVOICE_LINES_MAX:
            raise Fault(
                ErrorCode.INVOICE_TOO_LARGE,
                f"the invoice from {invoice.start_date} has {len(invoice.lines)} lines; "
                f"at most {limits.INVOICE_LINES_MAX}",
            )
        written = _invoice(invoice, previewed.lines, previewed.root)
        byte_count += written.ByteSize()
        # Invoices of one period, in several currencies, are never parted.
        begins = number > 0 and invoice.start_us != previewed.invoices[number - 1].start_us
        if begins and byte_count > ANSWER_BYTES_MAX:
            answer.next_date = invoice.start_date.isoformat()
            return answer
        answer.invoices.append(written)
    answer.next_date = "" if previewed.next_date is None else previewed.next_date.isoformat()
    return answer


def _invoice(invoice: Invoice, lines: Sequence[ChargeLine], root: Contract) -> wire.Invoice:
    currency = invoice.currency, minor_digits(invoice.currency)
    excluding, tax = invoice.amount_excluding_tax, invoice.tax_amount
    term_start, term_end = term_texts(root, invoice.start_date)
    return wire.Invoice(
        contract_id=invoice.contract_id,
        customer_id=invoice.customer_id,
        start_date=invoice.start_date.isoformat(),
        end_date=invoice.end_date.isoformat(),
        period=period(invoice.start_us, invoice.end_us),
        issue_date=invoice.issue_date.isoformat(),
        due_date=invoice.due_date.isoformat(),
        lines=[invoice_line(each, currency, lines) for each in invoice.lines],
        levels=[invoice_level(each, currency) for each in invoice.levels],
        taxes=[_tax(each, currency) for each in invoice.taxes],
        amount_excluding_tax=money(excluding, *currency),
        tax_amount=money(tax, *currency),
        amount_including_tax=money(excluding + tax, *currency),
        term_start_date=term_start,
        term_end_date=term_end,
    )


def invoice_line(
    line: InvoiceLine, currency: tuple[str, int], lines: Sequence[ChargeLine] = ()
) -> ingest_pb2.InvoiceLine:
    """A line of an invoice in a currency (code, digits); a charge line is one of `lines`."""
    excluding = line.amount_excluding_tax
    return ingest_pb2.InvoiceLine(
        kind=ingest_pb2.InvoiceLine.Kind.Value(line.kind.value),
        contract_path=line.contract_path,
        id=line.id,
        period=period(line.start_us, line.end_us),
        amount_excluding_tax=money(excluding, *currency),
        tax_amount=money(line.tax_amount, *currency),
        amount_including_tax=money(excluding + line.tax_amount, *currency),
        tax_id="" if line.tax is None else line.tax.id,
        due_date=line.due_date.isoformat(),
        charge=charge_line(lines[line.charge]) if line.kind is LineKind.CHARGE else None,
    )


def charges_page(page: Sequence[InvoicedLine], token: str, sequence: int) -> ingest_pb2.ListChargesResponse:
    """Lines of invoices, charge lines before the others, as a page of ListCharges."""
    answer = ingest_pb2.ListChargesResponse(next_page_token=token, sequence=sequence)
    for line, of in page:
        if isinstance(line, Invoice):
            assert isinstance(of, InvoiceLine)
            answer.invoice_lines.append(invoice_line(of, (line.currency, minor_digits(line.currency))))
        else:
            assert isinstance(of, date)
            written = charge_line(line)
            written.due_date = of.isoformat()
            answer.charges.append(written)
    return answer


def term_texts(contract: Contract, day: date) -> tuple[str, str]:
    """First day, and first day after, of the term that holds a day; empty where there is no end."""
    term = term_holding(contract, day)
    return ("", "") if term is None else (term[0].isoformat(), term[1].isoformat())


def invoice_level(level: InvoiceLevel, currency: tuple[str, int]) -> wire.InvoiceLevel:
    """A level; `currency` with its digits."""
    return wire.InvoiceLevel(
        contract_path=level.contract_path,
        period=period(level.start_us, level.end_us),
        subtotal=money(level.subtotal, *currency),
        total=money(level.total, *currency),
    )


def _tax(total: TaxTotal, currency: tuple[str, int]) -> wire.InvoiceTax:
    return wire.InvoiceTax(
        tax_id="" if total.tax is None else total.tax.id,
        rate="" if total.tax is None else format_decimal(total.tax.rate, QUANTITY_SCALE),
        base_amount=money(total.base_amount, *currency),
        tax_amount=money(total.tax_amount, *currency),
    )
