"""The journal in one SQLite file; nothing outside this folder knows SQLite's journal tables."""

from tallybook_server.journal.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal"]
