"""Statuses of the quality table for a file's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallybook_server.readings_files.model import ReadOptions

NO_WORD = -1
"""In the place of a word's code: the file says none."""


class StatusWords:
    """A file's own words, numbered as they come, and what a quality table makes of them."""

    def __init__(self, options: ReadOptions, meanings: Mapping[str, str], letters_mean: bool = False) -> None:
        """`meanings` are the format's: names of the default table, by word. With `letters_mean`, also by its first
        letter: "S14" as "S"."""
        self._options = options
        self._meanings = meanings
        self._letters_mean = letters_mean
        self._codes: dict[str, int] = {}

    def code(self, word: str) -> int:
        """Number of a word; `NO_WORD` of ""."""
        if not word:
            return NO_WORD
        return self._codes.setdefault(word, len(self._codes))

    @property
    def words(self) -> tuple[str, ...]:
        """By number."""
        return tuple(self._codes)

    def status_code(self, word: str) -> int | None:
        """Code of the quality table. None: nothing says what the word means."""
        names = {status.name: code for code, status in enumerate(self._options.quality.statuses)}
        keys = (word, word[:1]) if self._letters_mean else (word,)
        for name in self._names(keys):
            if name in names:
                return names[name]
        return None

    def _names(self, keys: Sequence[str]) -> list[str]:
        given = [self._options.statuses[key] for key in keys if key in self._options.statuses]
        # What the caller says is meant: a name that the table does not have is no reason to look further.
        return given[:1] or [keys[0], *(self._meanings[key] for key in keys if key in self._meanings)]
