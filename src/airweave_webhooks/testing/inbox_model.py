"""The model of what an `InboxStore` does besides. See `model`."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from airweave_webhooks.stores import inbox_transitions
from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Origin, Record
from airweave_webhooks.stores.inbox import Cursor, InboxStore, Search, Take
from airweave_webhooks.testing.store_model import BRIEF, KEYS, LONG, StoreModel, a_batch

ORIGINS: Final = (
    None,
    Origin(1_800_000_000, {"webhook-id": "msg"}, "o"),
    Origin(0, {"X-\N{SNOWMAN}": '"\\\n'}, "o"),
    Origin(2**33, {}, "O"),
    Origin(1),
)
FACTS: Final = (
    Facts("sync.completed", "docs", "github", "job", datetime(2026, 11, 20, 9, 3, 41, 803112, UTC)),
    Facts("sync.failed", "docs", None, None, datetime(2026, 11, 20, 9, 3, 41, 803113, UTC)),
    Facts("sync.completed", event_time=datetime(2026, 11, 20, 9, 3, 40, 0, UTC)),
    Facts("search.completed"),
)
RECEIVERS: Final = ("a", "a", "a", "a:t", "b")

_deliveries: Final = st.builds(
    Claim,
    st.sampled_from(KEYS),
    st.sampled_from(["msg"] * 7 + ["other"]),
    st.just(b"1" * 32),
    st.just(b""),  # each gets its own
    st.sampled_from(FACTS),
    st.just(LONG),
    st.sampled_from(["host:1", "host:2"]),
    st.sampled_from(["pending"] * 7 + ["dead"]),
    st.sampled_from([None, "because"]),
    st.sampled_from([b"", b"\0[]\xff", b"[body]"]),
    keep=st.just(30 * 86_400.0),
    origin=st.sampled_from(ORIGINS),
)
_takes: Final = st.builds(
    Take,
    st.sampled_from(RECEIVERS),
    st.sampled_from([1, 2, 100, 100]),
    st.just(b""),  # each gets its own
    st.sampled_from([BRIEF, LONG]),
    st.sampled_from(["worker:1", "worker:\N{SNOWMAN}"]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([(), (), ("sync.failed",), ("search.completed", "sync")]),
    st.sampled_from([(), (), (), ("sync.completed", "sync.failed")]),
)
_searches: Final = st.builds(
    Search,
    st.sampled_from(RECEIVERS),
    st.sampled_from([*[()] * 5, ("done",), ("pending", "leased"), ("dead", "done")]),
    st.sampled_from([*[()] * 5, ("sync.completed", "search.completed")]),
    st.sampled_from([*[()] * 5, ("docs",)]),
    st.sampled_from([*[()] * 5, ("github",)]),
    st.sampled_from([*[None] * 5, "", "t"]),
    st.sampled_from([*[None] * 5, "k", "msg"]),
    since=st.none(),  # see the rule
    until=st.none(),
    replayable=st.sampled_from([False, False, False, True]),
)


class InboxModel(StoreModel):
    """An inbox, and the model of it."""

    def __init__(self) -> None:
        super().__init__()
        self._takes: list[Take] = []

    def inbox(self, which: int) -> InboxStore:
        """One of the stores that are driven."""
        store = self.store(which)
        assert isinstance(store, InboxStore)
        return store

    @rule(store=st.integers(0, 1), wishes=a_batch(_deliveries))
    def put(self, store: int, wishes: list[Claim]) -> None:
        """Leave some to a worker; some that came are dead at once, with their body."""
        self.claim_all(store, wishes)

    @rule(store=st.integers(0, 1), wish=_takes)
    def take(self, store: int, wish: Take) -> None:
        """Take some."""
        self._takes.append(wish._replace(token=self.new_token()))
        self._take(store, self._takes[-1])

    @precondition(lambda self: self._takes)
    @rule(store=st.integers(0, 1), which=st.integers(0, 2), most=st.sampled_from([1, 100]))
    def take_again(self, store: int, which: int, most: int) -> None:
        """Send one of the last takes again."""
        self._take(store, self._takes[-1 - which % len(self._takes)]._replace(most=most))

    def _take(self, store: int, wish: Take) -> None:
        now = self.now()
        chosen = inbox_transitions.choose(self._as_the_store_has_them(), wish, now + (self.ahead or 0.0))
        records = self.records.values()
        expected = [inbox_transitions.take(self.records[record.key], wish, records, now) for record in chosen]
        answers = self.run(self.inbox(store).take(wish))
        assert [answer.record.key for answer in answers] == [wanted.record.key for wanted in expected]
        assert [answer.stale for answer in answers] == [wanted.stale for wanted in expected]
        for answer, wanted in zip(answers, expected, strict=True):
            self.compare_one(answer.record, wanted.record)
            lease = Lease(answer.record.key, answer.record.fence, answer.record.token)
            if lease not in self.leases.get(lease.key, []):
                self.leases.setdefault(lease.key, []).append(lease)
        self.compare()

    def _as_the_store_has_them(self) -> list[Record]:
        """The model's records with the store's times: what the model did at one time, a store did at several."""
        return [
            replace(
                record,
                received_at=self.seen[key][0].received_at,
                due_at=self.seen[key][0].due_at,
                lease_until=self.seen[key][0].lease_until,
            )
            for key, record in self.records.items()
        ]

    @rule(
        store=st.integers(0, 1),
        keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True),
        why=st.sampled_from(["", "because \N{SNOWMAN}", "x" * 1500]),
    )
    def replay(self, store: int, keys: list[Key], why: str) -> None:
        """Replay some, whether they can be or not."""
        now = self.now()
        expected = [key in self.records and inbox_transitions.replay(self.records[key], "me", why, now) for key in keys]
        assert self.run(self.inbox(store).replay(keys, who="me", why=why)) == expected
        self.compare()

    @rule(store=st.integers(0, 1), done_for=st.sampled_from([0.0, 0.0, LONG]), most=st.sampled_from([1, 2, 100]))
    def forget_bodies(self, store: int, done_for: float, most: int) -> None:
        """Forget some. Which ones, if not all, is the store's choice, and whether the origin goes, too."""
        now = self.now()
        old = [key for key, record in self.records.items() if inbox_transitions.has_old_body(record, now - done_for)]
        touched = self.run(self.inbox(store).forget_bodies(done_for=done_for, most=most))
        assert touched == min(most, len(old))
        for key, found in zip(old, self.run(self.inbox(store).get(old)), strict=True):
            assert found is not None
            if found.body is None:
                self.records[key].body = None
                self.records[key].origin = found.origin and self.records[key].origin
                touched -= 1
        assert touched == 0, "the store says that it forgot other bodies than it did"
        self.compare()

    @rule(
        store=st.integers(0, 1),
        wish=_searches,
        most=st.sampled_from([1, 2, 100]),
        since=st.sampled_from([*[None] * 12, *KEYS]),
        until=st.sampled_from([*[None] * 12, *KEYS]),
    )
    def search(self, store: int, wish: Search, most: int, since: Key | None, until: Key | None) -> None:
        """Search, page by page, from and to when some delivery came; and count."""
        wish = wish._replace(since=self._when(since), until=self._when(until))
        found = [record for record in self._as_the_store_has_them() if inbox_transitions.finds(wish, record)]
        after: Cursor | None = None
        for _ in range(len(KEYS) + 1):
            wanted = inbox_transitions.page_of(found, after, most)
            page = self.run(self.inbox(store).search(wish, after=after, most=most))
            assert [record.key for record in page] == [record.key for record in wanted]
            for record in page:
                whole = self.seen[record.key][0]
                assert record == replace(whole, results=record.results, body=None, origin=None), (record, whole)
                assert dict(record.results) == dict(whole.results)
                after = Cursor(record.received_at, record.key.tenant, record.key.key)
        assert self.run(self.inbox(store).count(wish)) == len(found)

    def _when(self, key: Key | None) -> float | None:
        return None if key is None or key not in self.seen else self.seen[key][0].received_at

    @rule(store=st.integers(0, 1), receiver=st.sampled_from(RECEIVERS))
    def look(self, store: int, receiver: str) -> None:
        """Count what there is."""
        ours = [record for record in self.records.values() if record.key.receiver == receiver]
        kinds = Counter((record.state, record.reason, record.facts.event_type) for record in ours)
        tally = self.run(self.inbox(store).tally(receiver))
        assert {each[:3]: each.deliveries for each in tally} == kinds
        backlog = self.run(self.inbox(store).backlog(receiver))
        assert backlog.pending == sum(record.state == "pending" and record.body is not None for record in ours)
        assert backlog.dead == sum(record.state == "dead" for record in ours)
        assert backlog.leases_lost == sum(record.leases_lost for record in ours)
