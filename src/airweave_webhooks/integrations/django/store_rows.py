"""A record's way into the columns of `Delivery`, and back."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from airweave_webhooks.stores.base import Key, Record
from airweave_webhooks.stores.sqlite_schema import COLUMNS, from_row, to_row
from airweave_webhooks.stores.text import as_text

FIELDS: Final = tuple(COLUMNS.split(", "))
"""The fields that hold what a `Record` does, in the order of `from_row`. The body is the last."""
_BYTES: Final = tuple(FIELDS.index(name) for name in ("digest", "token", "body"))

HELD: Final = bytes(bytearray(b"held"))
"""Stands for a body that was not read. Known by its identity: it is an object of its own."""


def hash_of(*texts: str) -> str:
    """What a row is found by: no collation takes two for the same, and it is short enough for an index."""
    return hashlib.sha256(json.dumps([as_text(text) for text in texts]).encode()).hexdigest()


def id_of(key: Key) -> str:
    """The primary key of a delivery."""
    return hash_of(*key)


def values_of(record: Record) -> dict[str, Any]:
    """The columns of a record."""
    values: dict[str, Any] = dict(zip(FIELDS, to_row(record), strict=True))
    values["receiver_hash"] = hash_of(record.key.receiver)
    values["line"] = line_of(record)
    values["has_body"] = record.body is not None
    return values


def line_of(record: Record) -> str | None:
    """What deliveries have in common that run one at a time."""
    if record.origin is None or not record.origin.order:
        return None
    return hash_of(record.key.receiver, record.key.tenant, record.origin.order)


def record_of(row: Sequence[Any]) -> Record:
    """Turn the values of `FIELDS` into a record."""
    values = list(row)
    for place in _BYTES:  # some drivers give views of their buffers
        if values[place] is not None and values[place] is not HELD:
            values[place] = bytes(values[place])
    return from_row(tuple(values))
