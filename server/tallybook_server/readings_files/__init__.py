"""Files of meter readings as the engine's columns: one format a file, `read` is the door (docs/readings.md)."""
