"""A store with real records in each state, for the tests of what operators do."""

import hashlib
from typing import Any

from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Origin, Settle
from airweave_webhooks.stores.inbox import InboxStore, Take
from airweave_webhooks.testing.payloads import payload

HEADERS = {"content-type": "application/json", "user-agent": "Svix-Webhooks/1.84"}


class Filler:
    """Brings deliveries into a state, as receivers and workers do."""

    def __init__(self, store: InboxStore, receiver: str = "shop") -> None:
        self.store = store
        self.receiver = receiver
        self._tokens = 0

    def claim(self, name: str, **changed: Any) -> Claim:
        """What asks for one delivery."""
        event_type = changed.pop("event_type", "sync.completed")
        body = payload(event_type) if event_type != "new.thing" else b'{"event_type": "new.thing"}'
        facts = Facts(event_type, changed.pop("collection", "docs"), changed.pop("source_type", "github"))
        fields: dict[str, Any] = {
            "key": Key(self.receiver, changed.pop("tenant", ""), changed.pop("key", name)),
            "message_id": name,
            "digest": hashlib.sha256(body).digest(),
            "token": self._token(),
            "facts": facts,
            "lease": 60.0,
            "owner": "web-1:77",
            "into": "pending",
            "body": body,
            "origin": Origin(1_800_000_000, HEADERS),
            **changed,
        }
        return Claim(**fields)

    def _token(self) -> bytes:
        self._tokens += 1
        return self._tokens.to_bytes(24)

    async def pending(self, name: str, **changed: Any) -> Key:
        """It waits for a worker."""
        claim = self.claim(name, **changed)
        await self.store.claim([claim])
        return claim.key

    async def many(self, number: int, **changed: Any) -> None:
        """Deliveries that are dead from the beginning."""
        changed = {"into": "dead", "reason": "drift", **changed}
        claims = [self.claim(f"msg_{count:05}", **changed) for count in range(number)]
        for start in range(0, number, 500):
            await self.store.claim(claims[start : start + 500])

    async def leased(self, name: str, **changed: Any) -> Lease:
        """A worker is at it. Nothing else may be pending."""
        await self.pending(name, **changed)
        token = self._token()
        (taken,) = await self.store.take(Take(self.receiver, 1, token, 60, "worker-2:4711"))
        return Lease(taken.record.key, taken.record.fence, token)

    async def done(self, name: str, **changed: Any) -> None:
        """It went well."""
        lease = await self.leased(name, **changed)
        await self.store.settle([Settle(lease, "done", "processed", {"shop.refresh": "processed"})])

    async def dead(self, name: str, *, error: str = "ValueError: no", **changed: Any) -> None:
        """One handler did it, another gave up."""
        lease = await self.leased(name, **changed)
        results = {"shop.refresh": "processed", "shop.audit": "rejected"}
        await self.store.settle([Settle(lease, "dead", "exhausted", results, error)])

    async def inline(self, name: str, **changed: Any) -> None:
        """Done while the sender waited: nobody kept the body."""
        claim = self.claim(name, **{"into": "leased", "body": None, "origin": None, **changed})
        (claimed,) = await self.store.claim([claim])
        await self.store.settle([Settle(Lease(claim.key, claimed.fence, claim.token), "done", "processed")])

    async def one_of_each(self) -> None:
        """`msg_dead`, `msg_done`, `msg_inline`, `msg_pending`, `msg_leased`, received in this order."""
        await self.dead("msg_dead", event_type="sync.failed", source_type="notion", collection="crm")
        await self.done("msg_done")
        await self.inline("msg_inline", event_type="collection.created")
        lease = await self.leased("msg_pending")
        held = await self.leased("msg_leased", event_type="sync.running")
        assert held.key.key == "msg_leased"
        await self.store.settle([Settle(lease, "pending", "failed", error="TimeoutError: late", delay=3600)])
