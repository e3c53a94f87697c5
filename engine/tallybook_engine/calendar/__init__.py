"""Time zones and periods: instants are UTC, periods half-open, days as long as the zone makes them."""
