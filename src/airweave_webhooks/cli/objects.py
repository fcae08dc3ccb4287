"""JSON objects, one a line, and deliveries as such."""

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from airweave_webhooks.cli.words import iso, redacted
from airweave_webhooks.operations import Replay, Stats
from airweave_webhooks.stores.base import Record


def write(thing: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print one object on a line of its own, on stdout or on `stream`."""
    (stream or sys.stdout).write(json.dumps(thing) + "\n")


def as_found(record: Record) -> dict[str, Any]:
    """What a search says about a delivery."""
    return {
        "receiver": record.key.receiver,
        "tenant": record.key.tenant or None,
        "key": record.key.key,
        "message_id": record.message_id,
        "state": record.state,
        "reason": record.reason,
        "event_type": record.facts.event_type,
        "collection": record.facts.collection,
        "source_type": record.facts.source_type,
        "job_id": record.facts.job_id,
        "event_time": iso(record.facts.event_time),
        "received_at": iso(record.received_at),
        "settled_at": iso(record.settled_at),
        "due_at": iso(record.due_at),
        "lease_until": iso(record.lease_until),
        "owner": record.owner or None,
        "attempts": record.attempts,
        "leases_lost": record.leases_lost,
        "generation": record.generation,
        "results": dict(record.results),
        "error": None if record.error is None else redacted(record.error),
    }


def as_shown(record: Record, *, with_body: bool) -> dict[str, Any]:
    """All that is known about a delivery."""
    shown = as_found(record)
    shown["notes"] = [{**note._asdict(), "at": iso(note.at), "text": redacted(note.text)} for note in record.notes]
    origin = record.origin
    shown["sent_at"] = None if origin is None else iso(origin.sent_at)
    shown["headers"] = {} if origin is None else dict(origin.headers)
    shown["order"] = None if origin is None else origin.order or None
    shown["sha256"] = record.digest.hex()
    shown["body_bytes"] = None if record.body is None else len(record.body)
    if with_body:
        shown["body"] = None if record.body is None else record.body.decode(errors="backslashreplace")
    return shown


def as_replay(replay: Replay, *, dry_run: bool) -> dict[str, Any]:
    """What came of a replay."""
    return {
        "dry_run": dry_run,
        "found": replay.found,
        "replayed": replay.replayed,
        "skipped": dict(replay.skipped),
        "names": dict(replay.names),
    }


def as_stats(receiver: str, stats: Stats) -> dict[str, Any]:
    """What a receiver has in its store."""
    backlog = stats.backlog
    return {
        "receiver": receiver,
        "deliveries": [tally._asdict() for tally in stats.tallies],
        "pending": backlog.pending,
        "oldest_pending": backlog.oldest,
        "suspects": backlog.suspects,
        "dead": backlog.dead,
        "leases_lost": backlog.leases_lost,
        "worker_seen": backlog.worker_seen,
        "disk": backlog.disk,
    }
