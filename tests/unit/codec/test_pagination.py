"""Page tokens and page sizes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallybook.v1.ingest_pb2 import ListChargesRequest, ListUsageRequest
from tallybook_server import limits
from tallybook_server.codec.pagination import page_size, read_token, write_token
from tallybook_server.errors import ErrorCode, Fault


@pytest.mark.parametrize(
    ("asked", "size"), [(0, 1_000), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)]
)
def test_page_sizes_are_coerced(asked, size):
    assert page_size(asked) == size
    assert limits.PAGE_SIZE_MAX == 1_000


def test_negative_page_sizes_are_refused():
    with pytest.raises(Fault, match="page_size"):
        page_size(-1)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4), st.text(max_size=5))
def test_a_token_says_what_was_put_into_it(numbers, customer):
    request = ListUsageRequest(customer_id=customer, page_size=7)
    token = write_token("book", request, *numbers)
    again = ListUsageRequest(customer_id=customer, page_size=9, page_token=token)
    assert read_token("book", again, len(numbers)) == tuple(numbers)


def test_no_token_is_the_first_page():
    assert read_token("book", ListUsageRequest(), 2) is None


TOKEN = write_token("book", ListUsageRequest(customer_id="a"), 5, 10)
NEGATIVE = write_token("book", ListUsageRequest(customer_id="a"), -1, 0)


@pytest.mark.parametrize(
    ("what", "book", "request_"),
    [
        ("another book", "other", ListUsageRequest(customer_id="a", page_token=TOKEN)),
        ("another customer", "book", ListUsageRequest(customer_id="b", page_token=TOKEN)),
        ("another method", "book", ListChargesRequest(customer_id="a", page_token=TOKEN)),
        ("another sequence", "book", ListUsageRequest(customer_id="a", as_of_sequence=3, page_token=TOKEN)),
        ("a shorter token", "book", ListUsageRequest(customer_id="a", page_token=TOKEN[:-4])),
        ("a longer token", "book", ListUsageRequest(customer_id="a", page_token=TOKEN + "AAAA")),
        ("no token", "book", ListUsageRequest(customer_id="a", page_token="not a token")),
        ("not ASCII", "book", ListUsageRequest(customer_id="a", page_token="ü" * 32)),
        ("a negative number", "book", ListUsageRequest(customer_id="a", page_token=NEGATIVE)),
    ],
)
def test_foreign_tokens_are_refused(what, book, request_):
    with pytest.raises(Fault) as fault:
        read_token(book, request_, 2)
    assert fault.value.code is ErrorCode.PAGE_TOKEN_INVALID


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_read(content):
    token = base64.urlsafe_b64encode(content).decode()
    try:
        numbers = read_token("book", ListUsageRequest(page_token=token), 2)
    except Fault as fault:
        assert fault.code is ErrorCode.PAGE_TOKEN_INVALID
    else:
        assert numbers is None or min(numbers) >= 0
