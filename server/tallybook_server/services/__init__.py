"""One servicer a service: from messages to the book and back."""
