"""Tests here open books."""

from tests.support.books import open_book

__all__ = ["open_book"]
