"""`tallybook serve`."""
