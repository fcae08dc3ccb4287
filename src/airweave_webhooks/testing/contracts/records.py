"""Which deliveries are the same, and what a record can hold."""

import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal

import pytest

from airweave_webhooks.stores.base import Facts, Key, Origin, Settle, Store
from airweave_webhooks.stores.history import LONGEST_HISTORY, LONGEST_TEXT, Note
from airweave_webhooks.stores.inbox import InboxStore
from airweave_webhooks.testing.contracts.base import Contract, a_claim, lease_of, noted

# What a store might put between the parts of a key, escape, or match by.
SEPARATORS: Final = (":", "|", "/", "\x1f", ",", " ", "\t", "\n", "\\", "'", '"', "{}", "%", "_", "*", "--", ";")
# Texts that some database or other takes for one.
TWINS: Final = (
    ("msg", "MSG", "Msg"),
    ("msg", "msg ", " msg", "msg\t", "msg\n"),
    ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}", "cafe"),
    ("\N{LATIN SMALL LETTER SHARP S}", "ss"),
    ("1", "01", "1.0", "1e0", "+1"),
    ("", "null", "NULL", "None", "true", "[]"),
    ("\N{SNOWMAN}", "\N{GRINNING FACE}", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "?"),
    ("x" * 1000 + "a", "x" * 1000 + "b", "x" * 1000),
)


def colliding_keys() -> list[Key]:
    """Keys that are different, and look alike once their parts are joined, or are compared loosely."""
    keys: set[Key] = set()
    for mark in SEPARATORS:
        keys |= {
            Key(f"a{mark}b", "c", "d"),
            Key("a", f"b{mark}c", "d"),
            Key("a", "b", f"c{mark}d"),
            Key(f"a{mark}b", "", "c"),
            Key("a", "", f"b{mark}c"),
            Key("a", mark, "c"),
            Key("a", f"{mark}b", "c"),
            Key(f"a{mark}", "b", "c"),
        }
    for twins in TWINS:
        keys |= {Key("r", "", twin) for twin in twins}
        keys |= {Key("r", twin, "k") for twin in twins}
    for parts in itertools.permutations(("p", "q", "")):
        keys.add(Key(*parts))
    return sorted(keys)


class RecordContract(Contract):
    """Keys and values."""

    async def test_receivers_and_tenants_do_not_meet(self, store: Store) -> None:
        """The same message id is another delivery for another receiver, and for another tenant."""
        claims = [a_claim(receiver=receiver, tenant=tenant) for receiver in "ab" for tenant in ("", "t", "u")]
        answers = await store.claim(sorted(claims, key=lambda claim: claim.key))
        assert [answer.verdict for answer in answers] == ["claimed"] * 6

    async def test_keys_are_the_same_only_if_all_of_them_is(self, store: Store) -> None:
        """Whatever stands in them, two keys that differ are two deliveries."""
        keys = colliding_keys()
        claims = [a_claim()._replace(key=key) for key in keys]
        assert {answer.verdict for answer in await store.claim(claims)} == {"claimed"}
        again = await store.claim([a_claim()._replace(key=key) for key in keys])
        assert {answer.verdict for answer in again} == {"held"}
        found = await store.get(keys)
        assert [record and record.key for record in found] == keys
        assert [record and record.token for record in found] == [claim.token for claim in claims]

    async def test_a_step_on_one_key_moves_no_other(self, store: Store) -> None:
        """Settling every second of the similar keys leaves those between."""
        keys = colliding_keys()
        claims = [a_claim()._replace(key=key) for key in keys]
        answers = await store.claim(claims)
        leases = [lease_of(claim, answer) for claim, answer in zip(claims, answers, strict=True)]
        assert all(await store.settle([Settle(lease, "done") for lease in leases[::2]]))
        states = [record and record.state for record in await store.get(keys)]
        assert states == [("done", "leased")[n % 2] for n in range(len(keys))]

    @pytest.mark.parametrize(
        "facts",
        [
            Facts(""),
            Facts("sync.completed"),
            Facts("sync.completed", "", "", ""),
            Facts("sync.completed", "d" * 10_000, "\N{SNOWMAN}' OR 1=1 --", '{"a": [1]}\n\t\\'),
            Facts("sync.completed", event_time=datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
            Facts("sync.completed", event_time=datetime(2038, 1, 19, 3, 14, 8, 1, UTC)),
            Facts("sync.completed", event_time=datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=-9.5)))),
        ],
        ids=["empty", "none", "empty texts", "odd texts", "before the epoch", "microseconds", "another zone"],
    )
    async def test_facts_come_back_as_they_were(self, store: Store, facts: Facts) -> None:
        """None stays None and is not an empty text; times are aware and to the microsecond."""
        claim = a_claim()._replace(facts=facts)
        await self.settled(store, claim)
        found = (await self.record(store, claim.key)).facts
        assert found == facts
        assert found.event_time is None or found.event_time.utcoffset() is not None

    async def test_texts_and_bytes_come_back_as_they_were(self, store: Store) -> None:
        """Long ones, foreign ones, empty ones; bodies and tokens with every byte."""
        every_byte = bytes(range(256))
        claim = a_claim()._replace(token=every_byte, digest=every_byte[:32], owner="h\N{SNOWMAN}st:1")
        lease = await self.leased(store, claim)
        results = {
            "app.\N{SNOWMAN}:handler": "processed",
            "": "rejected",
            "h" * 5000: "processed",
            '"\\\n': "processed",
        }
        error = "E\N{GRINNING FACE}\n" * 5000
        wish = Settle(lease, "dead", "r\N{SNOWMAN}", results, error, body=every_byte * 4000)
        assert await store.settle([wish]) == [True]
        record = await self.record(store, claim.key)
        assert (record.token, record.digest, record.owner) == (every_byte, every_byte[:32], claim.owner)
        assert (record.reason, record.error, record.body) == (wish.reason, error, wish.body)
        assert record.results == results

    async def test_text_that_databases_dislike(self, store: Store) -> None:
        """NUL and lone surrogates in names and errors are stored as something readable, and bodies as they are."""
        claim = a_claim("msg_\N{SNOWMAN}")._replace(facts=Facts("sync.completed", "nul\0nul", "lone\ud800", None, None))
        lease = await self.leased(store, claim)
        wish = Settle(lease, "dead", "rejected", {"h\N{SNOWMAN}": "rejected"}, "E\0\udfff", body=bytes(range(256)))
        assert await store.settle([wish]) == [True]
        record = await self.record(store, claim.key)
        assert record.body == bytes(range(256))
        assert (record.facts.collection or "").startswith("nul")
        assert (record.facts.source_type or "").startswith("lone")
        assert (record.error or "").startswith("E")
        assert record.results == {"h\N{SNOWMAN}": "rejected"}
        (note,) = record.notes
        assert (note.attempt, note.who, note.what, note.text[:1]) == (1, "test:1", "rejected", "E")

    async def test_notes_come_back_as_they_were(self, store: Store) -> None:
        """Whatever stands in the names and in the error: nothing of it ends a note, or begins one."""
        odd = '"],\n[0,0,"","",""]\n\\ \t\r\x1f\u2028 \N{SNOWMAN}\N{GRINNING FACE} \' {} %s $1'
        claim = a_claim()._replace(owner=f"o {odd}")
        lease = await self.leased(store, claim)
        before = await self.record(store, claim.key)
        assert await store.settle([Settle(lease, "pending", f"r {odd}", error=f"e {odd}")]) == [True]
        after = await self.record(store, claim.key)
        assert noted(before, after) == [Note(0.0, 1, f"o {odd}", f"r {odd}", f"e {odd}")]

    async def test_of_a_long_history_the_end_is_kept(self, store: Store) -> None:
        """So is the beginning of a long error; what is no longer whole is not read."""
        for n in range(8):
            await self.settled(store, a_claim(), "pending", error=f"{n}" + "x" * 2 * LONGEST_TEXT)
            record = await self.record(store, a_claim().key)
            assert len(record.history) <= LONGEST_HISTORY
            last = range(max(0, n - 2), n + 1)  # three lines of a thousand characters and more
            assert [note.text for note in record.notes] == [f"{m}" + "x" * (LONGEST_TEXT - 1) for m in last]
            assert [note.attempt for note in record.notes] == [m + 1 for m in last]
        await self.settled(store, a_claim(), "pending", error="short")
        assert [note.text[:1] for note in (await self.record(store, a_claim().key)).notes] == ["5", "6", "7", "s"]

    @pytest.mark.parametrize("into", ["done", "dead"])
    async def test_an_origin_is_kept_or_dropped(self, store: Store, into: Literal["done", "dead"]) -> None:
        """As a whole: an `InboxStore` keeps it with the body, others need not."""
        origin = Origin(1_800_000_000, {"webhook-id": "msg_1"}, "docs")
        await self.claim(store, a_claim()._replace(into=into, body=b"[1]", origin=origin))
        record = await self.record(store, a_claim().key)
        assert record.body == b"[1]"
        assert record.origin == origin or (record.origin is None and not isinstance(store, InboxStore))
