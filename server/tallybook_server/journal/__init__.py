"""The journal: the durable log a book is folded from."""
