"""The command line: `tallybook`."""
