"""The `tallybook` command, and the demo."""
