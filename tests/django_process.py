"""Another process of a Django project: `python -m django_process WHAT SETTINGS`, the database's settings as JSON.

`claim` says `ready`, waits for a line, and claims the same deliveries as every other such process; `fork` uses a store
before and after a fork, in the parent and in the child. Both write down as JSON what they got.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from django.db import connections

from airweave_webhooks.errors import StoreUnavailable
from airweave_webhooks.integrations.django import DjangoStore
from airweave_webhooks.stores.base import Claim, Facts, Key, Lease, Settle
from django_databases import known

KEYS = 40
ROUNDS = 5


def a_claim(name: str) -> Claim:
    return Claim(Key("default", "", name), name, bytes(32), os.urandom(16), Facts("sync.completed"), 60.0)


async def claim(store: DjangoStore) -> list[str]:
    await store.open()
    print("ready", flush=True)  # noqa: T201 - the test reads it
    await asyncio.to_thread(sys.stdin.readline)
    won: list[str] = []
    for turn in range(ROUNDS):
        claims = [a_claim(f"{turn}-{number:02}") for number in range(KEYS)]
        for answer, wish in zip(await store.claim(claims), claims, strict=True):
            if answer.verdict == "claimed":
                won.append(wish.key.key)
    await store.close()
    return won


async def fork(store: DjangoStore) -> dict[str, Any]:
    """The parent claims before, settles and closes; then the child claims and settles by itself."""
    await store.open()
    first = a_claim("parent")
    (answer,) = await store.claim([first])
    go_on, say_go_on = os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(_run_apart(store, go_on))
    settled = await store.settle([Settle(Lease(first.key, answer.fence, first.token), "done")])
    await store.close()
    os.write(say_go_on, b"!")
    child = os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])
    await store.open()
    records = await store.get([first.key, Key("default", "", "child")])
    await store.close()
    return {"child": child, "settled": settled, "states": [record and record.state for record in records]}


def _run_apart(store: DjangoStore, go_on: int) -> int:
    """In the child: the parent's event loop came along, so it needs a thread."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            os.read(go_on, 1)
            asyncio.run(in_the_child(store))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        print(repr(errors), file=sys.stderr, flush=True)  # noqa: T201 - the test shows it
    return len(errors)


async def in_the_child(store: DjangoStore) -> None:
    # SQLite's documentation: a connection is not to be carried over a fork.
    file = str(connections[store.using].settings_dict["NAME"])
    assert file not in {os.path.realpath(name) for name in Path("/proc/self/fd").iterdir()}
    try:
        await store.claim([a_claim("child")])
    except StoreUnavailable:
        pass
    else:
        raise AssertionError("the child has its parent's store")
    await store.open()
    wish = a_claim("child")
    (answer,) = await store.claim([wish])
    assert await store.settle([Settle(Lease(wish.key, answer.fence, wish.token), "done")]) == [True]
    await store.close()


def main(what: str, settings: str) -> None:
    with known("shared", json.loads(settings)):
        store = DjangoStore("shared")
        answer: Any = asyncio.run(claim(store) if what == "claim" else fork(store))
        connections["shared"].close()
    print(json.dumps(answer), flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
