"""What is configured: customers, meters, products, plans, contracts and taxes, in immutable versions."""
