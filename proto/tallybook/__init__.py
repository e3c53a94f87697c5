"""The wire contract of Tallybook."""
