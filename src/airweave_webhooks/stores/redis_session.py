"""A Redis store's keys and scripts, on one event loop."""

import zlib
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, NamedTuple

from redis import exceptions

from airweave_webhooks.stores import redis_opening as opening
from airweave_webhooks.stores.redis_records import Value
from airweave_webhooks.stores.redis_target import Target
from airweave_webhooks.stores.redis_wire import Call, Cluster, Server, Wire, sever

# One call per partition and batch: more of them spread better over a cluster, and cost more on one server.
PARTITIONS: Final = 16


class Item(NamedTuple):
    """One record's part in a call."""

    name: bytes
    values: tuple[Value, ...] = ()


class Batch(NamedTuple):
    """What goes to one partition in one call."""

    partition: int
    names: Sequence[bytes]
    values: Sequence[Value]


class _Script(NamedTuple):
    text: str
    sha: str


def _load(name: str) -> _Script:
    text = files("airweave_webhooks.stores").joinpath("redis_scripts", f"{name}.lua").read_text("utf-8")
    return _Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


_SCRIPTS: Final = {name: _load(name) for name in ("claim", "settle", "renew", "read", "due", "purge", "probe")}


class Session:
    """Runs the scripts. It connects when it first needs to.

    Args:
        target: where to.
        prefix: what every key begins with.
        partitions: over how many parts the records are spread; without it, `open` finds out.
    """

    def __init__(self, target: Target, prefix: str, partitions: int = 0) -> None:
        self._target = target
        self._prefix = prefix
        self._wire: Wire = Cluster(target) if target.nodes else Server(target)
        self._spread_over(partitions)

    def _spread_over(self, partitions: int) -> None:
        # Redis Cluster places a key by what is in braces.
        self.heads: list[bytes] = [f"{self._prefix}:{{{partition}}}:".encode() for partition in range(partitions)]

    def twin(self) -> "Session":
        """The same for another event loop, without looking at the servers again."""
        return Session(self._target, self._prefix, len(self.heads))

    async def open(self, wanted: int | None) -> None:
        """Look at the servers, and find out about partitions.

        Args:
            wanted: how many partitions there have to be.

        Raises:
            ConfigurationError: the servers cannot be used; the message says what to do.
            StoreUnavailable: they cannot be reached.
        """
        try:
            if not self._target.nodes and await opening.is_cluster(self._wire):
                await self._wire.close()
                self._target = self._target.as_cluster()
                self._wire = Cluster(self._target)
            await opening.check_servers(self._wire, self._target.address)
            self._spread_over(await opening.agree_on_partitions(self._wire, self._prefix, wanted, PARTITIONS))
            await self.call("probe", [Batch(0, (b"#probe-record", b"#probe-index"), ())])
        except Exception as error:
            await self.close()
            raise opening.explain(error, self._target.address, self._prefix, opening=True) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        await self._wire.close()

    def sever(self) -> None:
        """Cut the connections off from this process, which is a fork of the one that made them."""
        sever(self._wire.connections())

    async def run(self, script: str, items: Sequence[Item], shared: Sequence[Value] = ()) -> list[Any]:
        """Run a script for each item, one call per partition, and give the answers in the order of the items.

        Args:
            script: its name.
            items: what it is run for.
            shared: values for all items, instead of their own.
        """
        by_partition: dict[int, list[int]] = {}
        for position, item in enumerate(items):
            by_partition.setdefault(zlib.crc32(item.name) % len(self.heads), []).append(position)
        batches = [
            Batch(
                partition,
                [items[position].name for position in positions],
                shared or [value for position in positions for value in items[position].values],
            )
            for partition, positions in by_partition.items()
        ]
        answers: list[Any] = [None] * len(items)
        for positions, found in zip(by_partition.values(), await self.call(script, batches), strict=True):
            for position, answer in zip(positions, found, strict=True):
                answers[position] = answer
        return answers

    async def call(self, script: str, batches: Sequence[Batch]) -> list[Any]:
        """Run a script once for each batch, all in one round trip.

        Raises:
            StoreUnavailable, StoreBusy, StoreDataError, ConfigurationError: as `opening.explain` has it.
        """
        text, sha = _SCRIPTS[script]
        try:
            replies = await self._wire.send([self._call("EVALSHA", sha, batch) for batch in batches])
            forgotten = [n for n, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
            if forgotten:  # by a server that was restarted, or never heard of it
                again = await self._wire.send([self._call("EVAL", text, batches[n]) for n in forgotten])
                for n, reply in zip(forgotten, again, strict=True):
                    replies[n] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        except Exception as error:
            raise opening.explain(error, self._target.address, self._prefix) from error
        return replies

    async def purge(self, ages: Sequence[int], most: int) -> int:
        """Go through the partitions until `most` records were touched; say how many were."""
        touched = 0
        for partition, head in enumerate(self.heads):
            if touched >= most:
                break
            (found,) = await self.call("due", [Batch(partition, (), (*ages, most - touched))])
            if found:
                names = [key.removeprefix(head) for key in found]
                (answers,) = await self.call("purge", [Batch(partition, names, ages)])
                touched += sum(answers)
        return touched

    def _call(self, command: str, script: str, batch: Batch) -> Call:
        head = self.heads[batch.partition]
        index = head + b"#done"
        keys = [index, head + b"#open", *[head + name for name in batch.names]]
        return Call(index, (command, script, len(keys), *keys, *batch.values))
