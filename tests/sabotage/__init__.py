"""Stores that are wrong in one place each, as real ones are, and the test of the contract that finds it."""

from sabotage import batches, claims, inboxes, keys, notes, operating
from sabotage.durable import Disk, DurableMemory
from sabotage.registry import SABOTAGED

__all__ = ["SABOTAGED", "Disk", "DurableMemory", "batches", "claims", "inboxes", "keys", "notes", "operating"]
