"""How the events of an accumulation period become one quantity: one aggregation a file."""
