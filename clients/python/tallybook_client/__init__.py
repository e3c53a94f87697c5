"""The Python client of Tallybook."""
