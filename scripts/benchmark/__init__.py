"""The speed table: what a delivery costs here, beside what it costs without this package."""
