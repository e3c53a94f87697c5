"""The gRPC server: services over books, each a catalogue, a ledger and a journal."""
