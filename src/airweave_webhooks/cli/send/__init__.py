"""`trigger` and `send`: deliveries sent as Airweave sends them, and whether they were answered rightly."""
