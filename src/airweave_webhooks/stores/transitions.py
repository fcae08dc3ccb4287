"""Who may do what to a record, as plain functions of the record and the time.

Public, for stores of one's own: those that can look at a record before they change it (in memory, under SQLite's write
lock) use these as they are; for stores that decide inside a server they are the specification. Whoever calls them
makes the step atomic: nobody else may change the record between its reading and its writing. Times are seconds since
the epoch, by the store's clock.
"""

from collections.abc import Mapping
from typing import Final

from airweave_webhooks.stores.base import NO_RESULTS, Claim, Claimed, Lease, Record, Settle
from airweave_webhooks.stores.history import appended, tail

__all__ = ["abandon", "claim_again", "first_claim", "granted", "is_abandoned", "lose_lease", "may_renew", "settle"]


# What a lost lease leaves in a record's history.
LEASE_LOST: Final = tail("lease_lost", "")


def first_claim(claim: Claim, now: float) -> Record:
    """Make the record of a delivery that nobody has seen."""
    record = Record(claim.key, claim.message_id, claim.digest, claim.facts, received_at=now)
    _take(record, claim, now)
    return record


def claim_again(record: Record, claim: Claim, now: float) -> tuple[Claimed, bool]:
    """Answer a claim for a record that exists; changes `record` if the claim is granted.

    Returns:
        The answer, and whether the record was changed.
    """
    if record.token == claim.token:
        return granted(record), False
    if record.message_id == claim.message_id and record.digest != claim.digest:
        return Claimed("conflict"), False
    if record.state == "done":
        return Claimed("duplicate"), False
    if record.state == "leased":
        left = (record.lease_until or 0.0) - now
        if left > 0:
            return Claimed("held" if record.body is None else "accepted", retry_after=left), False
        if claim.into == "pending" and record.body is not None:
            return Claimed("accepted"), False  # whoever takes it next finds that its lease was lost
        lose_lease(record, now)
    elif record.body is not None and (claim.into == "pending" or not _is_due(record, now)):
        return Claimed("accepted"), False
    if record.state == "dead":
        # The sender's resend is the replay: what rejected it gets another try, what was done is not repeated.
        record.results = what_is_done(record.results)
    record.message_id = claim.message_id
    record.digest = claim.digest
    _take(record, claim, now)
    return granted(record), True


def what_is_done(results: Mapping[str, str]) -> dict[str, str]:
    """The results that stay when what is dead is tried again."""
    return {name: result for name, result in results.items() if result == "processed"}


def _is_due(record: Record, now: float) -> bool:
    return record.state == "pending" and (record.due_at or 0.0) <= now


def lose_lease(record: Record, now: float) -> None:
    """Note that the holder of an expired lease did not come back: the record is about to be somebody else's."""
    record.leases_lost += 1
    record.history = appended(record.history, now, record.attempts, record.owner, LEASE_LOST)


def granted(record: Record) -> Claimed:
    """The answer to the claim that now holds `record`."""
    return Claimed("claimed", record.fence, max(record.attempts, 1), record.generation, record.results)


def may_renew(record: Record | None, lease: Lease) -> bool:
    """Whether `lease` is the current one. One that has run out may be renewed while nobody has taken it."""
    return (
        record is not None and record.state == "leased" and record.fence == lease.fence and record.token == lease.token
    )


def settle(record: Record | None, wish: Settle, now: float) -> tuple[bool, bool]:
    """Settle `record` if the wish's lease is the current one.

    Returns:
        Whether the settle stands, and whether the record was changed: the two differ for a repeated one.
    """
    if record is None or record.fence != wish.lease.fence or record.token != wish.lease.token:
        return False, False
    if record.state != "leased":
        return True, False
    record.state = wish.state
    record.reason = wish.reason
    record.results = dict(wish.results) if wish.results else NO_RESULTS  # the caller may go on with its own
    record.error = wish.error
    if wish.error is not None:
        end = tail(wish.reason or wish.state, wish.error)
        record.history = appended(record.history, now, record.attempts, record.owner, end)
    if not wish.started:
        record.attempts -= 1
    record.lease_until = None
    record.settled_at = now
    record.due_at = now + wish.delay if wish.state == "pending" else None
    if wish.body is not None:
        record.body = wish.body
    return True, True


def is_abandoned(record: Record, before: float) -> bool:
    """Whether the sender must have given up on `record`: it has no body, and was last touched `before`."""
    if record.body is not None:
        return False
    if record.state == "pending":
        return max(record.due_at or 0.0, record.settled_at or 0.0) < before
    return record.state == "leased" and (record.lease_until or 0.0) < before


def abandon(record: Record, now: float) -> None:
    """Give up on a delivery that the sender has given up on; a holder that comes back can no longer settle it."""
    record.state = "dead"
    record.token = b""
    record.reason = "abandoned"
    record.lease_until = None
    record.due_at = None
    record.settled_at = now


def _take(record: Record, claim: Claim, now: float) -> None:
    record.state = claim.into
    record.reason = claim.reason
    record.token = claim.token
    record.owner = claim.owner
    record.fence += 1
    record.due_at = None
    if claim.into == "leased":
        record.attempts += 1
        record.lease_until = now + claim.lease
    else:
        record.lease_until = None
        record.body = claim.body
        record.origin = claim.origin
        if claim.into == "pending":
            record.due_at = now
        else:
            record.settled_at = now
