"""How the tables are made, step by step."""
