"""A record's way into Redis, and back: what the Lua scripts take and give.

A record is a hash. Times are whole microseconds, because Lua prints a float with 14 digits; nothing is an empty text,
and an empty text is a NUL, which no text of ours holds. Only `body`, `origin` and `history` are missing where there are
none.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from airweave_webhooks.errors import StoreDataError
from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Facts, Key, Lease, Origin, Record, Settle
from airweave_webhooks.stores.history import tail
from airweave_webhooks.stores.text import as_text, texts_as_json

Value: TypeAlias = str | bytes | int

# Seconds, about 190 years: together with the server's time it still fits into the 53 bits of a Lua number.
LONGEST: Final = 6e9
# Redis takes no value of more, unless it is told to.
LARGEST_BODY: Final = 512 * 2**20

FIELDS: Final = (
    *("message_id", "digest", "event_type", "collection", "source_type", "job_id", "event_time", "received_at"),
    *("state", "reason", "settled_at", "due_at", "fence", "token", "owner", "lease_until", "leases_lost"),
    *("attempts", "generation", "results", "error", "body", "origin", "history"),
)

_NO_TEXTS: Final = {"digest", "token", "body", "origin", "history"}
_NEW: Final = Claimed("claimed", 1)
_EMPTY: Final = "\0"


@lru_cache(256)
def _scope(receiver: str, tenant: str) -> str:
    """The first two parts of a key, so that no other pair reads the same."""
    parts = [(as_text(part) or "").replace("%", "%25").replace(":", "%3A") for part in (receiver, tenant)]
    return ":".join(parts) + ":"


def name_of(key: Key) -> bytes:
    """What a record is called inside its partition."""
    return (_scope(key.receiver, key.tenant) + (as_text(key.key) or "")).encode()


def claim_values(claim: Claim) -> tuple[Value, ...]:
    """The 15 values that `claim.lua` takes."""
    facts = claim.facts
    # What the sender will bring again is not kept.
    body, origin = (None, None) if claim.into == "leased" else (claim.body, claim.origin)
    return (
        _text(claim.message_id),
        _bytes(claim.digest),
        _bytes(claim.token),
        _text(facts.event_type),
        _text(facts.collection),
        _text(facts.source_type),
        _text(facts.job_id),
        facts.event_time.astimezone(UTC).isoformat() if facts.event_time else "",
        microseconds(claim.lease),
        as_text(claim.owner) or "",
        claim.into,
        _text(claim.reason),
        b"" if body is None else _body(body),
        "" if origin is None else json.dumps(origin._replace(headers=dict(origin.headers))),
        round(min(max(claim.keep, 0.0), LONGEST) * 1000),
    )


def settle_values(wish: Settle) -> tuple[Value, ...]:
    """The 11 values that `settle.lua` takes."""
    processed = ""
    if any(result != "processed" for result in wish.results.values()):
        processed = texts_as_json({name: result for name, result in wish.results.items() if result == "processed"})
    return (
        _fence(wish.lease),
        _bytes(wish.lease.token),
        wish.state,
        _text(wish.reason),
        texts_as_json(wish.results),
        processed,
        _text(wish.error),
        microseconds(wish.delay),
        b"" if wish.body is None else _body(wish.body),
        "" if wish.error is None else tail(wish.reason or wish.state, wish.error),
        int(wish.started),
    )


def lease_values(lease: Lease, seconds: float) -> tuple[Value, ...]:
    """The 3 values that `renew.lua` takes."""
    return _fence(lease), _bytes(lease.token), microseconds(seconds)


def claimed(answer: Any) -> Claimed:
    """Read an answer of `claim.lua`."""
    if answer == 1:
        return _NEW
    if isinstance(answer, bytes):
        return Claimed(answer.decode())  # type: ignore[arg-type]
    if len(answer) == 2:
        return Claimed(answer[0].decode(), retry_after=answer[1] / 1e6)
    fence, attempts, generation, results = answer
    return Claimed("claimed", fence, max(attempts, 1), generation, _results(results))


def record(key: Key, values: Sequence[bytes | None]) -> Record | None:
    """Read what `read.lua` found under `key`: the values of `FIELDS`."""
    found: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    if found["state"] is None:
        return None
    text = {name: _read(found[name]) for name in FIELDS if name not in _NO_TEXTS}
    return Record(
        key,
        message_id=text["message_id"] or "",
        digest=found["digest"],
        facts=Facts(
            text["event_type"] or "",
            text["collection"],
            text["source_type"],
            text["job_id"],
            datetime.fromisoformat(text["event_time"]) if text["event_time"] else None,
        ),
        received_at=int(found["received_at"]) / 1e6,
        state=found["state"].decode(),
        reason=text["reason"],
        settled_at=_seconds(found["settled_at"]),
        due_at=_seconds(found["due_at"]),
        fence=int(found["fence"]),
        token=found["token"],
        owner=text["owner"] or "",
        lease_until=_seconds(found["lease_until"]),
        leases_lost=int(found["leases_lost"]),
        attempts=int(found["attempts"]),
        generation=int(found["generation"]),
        results=_results(found["results"]),
        error=text["error"],
        body=found["body"],
        origin=Origin(*json.loads(found["origin"])) if found["origin"] else None,
        # Its beginning may be cut within a character.
        history=(found["history"] or b"").decode(errors="replace"),
    )


def microseconds(seconds: float) -> int:
    """Turn a length of time into what the scripts count in.

    Raises:
        StoreDataError: it is longer than any clock goes.
    """
    if not -LONGEST <= seconds <= LONGEST:
        raise StoreDataError(f"Redis cannot store a time of {seconds!r} s")
    return round(seconds * 1e6)


def _text(text: str | None) -> str:
    return "" if text is None else as_text(text) or _EMPTY


def _read(value: bytes) -> str | None:
    return None if value == b"" else value.decode().replace(_EMPTY, "")


def _bytes(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"bytes are needed, not {type(value).__name__}")
    return value


def _body(body: bytes) -> bytes:
    if len(body) >= LARGEST_BODY:
        raise StoreDataError(f"Redis cannot store a body of {len(body)} bytes")
    return b"+" + body


def _fence(lease: Lease) -> int:
    if not -(2**53) < lease.fence < 2**53:
        raise StoreDataError(f"Redis cannot store the fence {lease.fence}")
    return lease.fence


def _seconds(value: bytes) -> float | None:
    return int(value) / 1e6 if value else None


def _results(packed: bytes) -> Mapping[str, str]:
    return NO_RESULTS if packed == b"{}" else json.loads(packed)
