"""Between the wire and columns: one file a message family."""
