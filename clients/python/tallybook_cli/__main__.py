"""`python -m tallybook_cli`."""

from tallybook_cli.main import main

main()
