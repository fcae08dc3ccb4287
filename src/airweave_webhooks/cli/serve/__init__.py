"""`dev` and `capture`: a receiver served on this machine, and what it shows."""
