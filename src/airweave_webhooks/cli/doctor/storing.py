"""Whether the store is there, outlives what it has to, and is shared by all who need it."""

from typing import Protocol, runtime_checkable

from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, skipped, warning
from airweave_webhooks.cli.doctor.program import Program
from airweave_webhooks.cli.sources import typed
from airweave_webhooks.cli.words import age, deliveries, one_line
from airweave_webhooks.errors import ConfigurationError, Unavailable
from airweave_webhooks.health import WORKER_GONE_AFTER
from airweave_webhooks.stores import MemoryStore, PostgresStore, RedisStore, SQLiteStore, Store
from airweave_webhooks.stores.inbox import InboxStore

DURABLE = "use store='sqlite:///path' on one machine, 'postgresql://...' or 'redis://...' on several"


@runtime_checkable
class Migrating(Protocol):
    """A store that can say whether opening it would change it."""

    async def migrates_on_opening(self) -> bool:
        """Whether `open` would make or change its tables."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A store that can say who shares it."""

    def shared_by(self) -> str:
        """Which processes see the same records."""
        ...


async def reachable(program: Program) -> Verdict:
    """Whether it can be opened. Opened only if that changes nothing."""
    store = program.receiver.store
    try:
        with program.listening():
            async with program.patience():
                if isinstance(store, Migrating) and await store.migrates_on_opening():
                    return skipped(
                        f"{_name(store)} is missing, empty or old: the receiver makes its tables when it opens",
                        "start the receiver once, and come again for the rest",
                    )
                await _look(program, store)
    except TimeoutError:
        program.unanswered = True
        return problem(f"{_name(store)} did not answer within {program.timeout:g} s", _AWAY)
    except Unavailable as error:
        program.unanswered = True
        return problem(f"the store cannot be reached: {one_line(str(error))}", _AWAY)
    except ConfigurationError as error:
        return problem(f"the store cannot be opened: {one_line(str(error))}", "do what it says, and come again")
    return ok(f"{_name(store)} opens")


_AWAY = "start it, and check host, port, user and network; meanwhile the sender gets 503 and comes again"


def _name(store: Store) -> str:
    return "memory:" if isinstance(store, MemoryStore) else repr(store)


async def _look(program: Program, store: Store) -> None:
    await store.open()
    try:
        if isinstance(store, InboxStore):
            program.backlog = await store.backlog(program.receiver.name)
    finally:
        await store.close()


async def says(program: Program) -> list[Verdict]:
    """What the store said when it opened: what a crash could cost, what it may evict."""
    if not program.warnings:
        return [ok("it has nothing to warn of")]
    found: list[Verdict] = []
    for sentence in program.warnings:
        seen, _, remedy = one_line(sentence).rpartition(": ")
        found.append(warning(seen, remedy) if seen else warning(remedy, "see docs/stores.md"))
    return found


async def durable(program: Program) -> Verdict:
    """Whether what is settled outlives the process."""
    store = program.receiver.store
    if store.durable:
        return ok("what is done is remembered when the process ends")
    return warning(
        f"{_name(store)} forgets everything when the process ends: what is sent again then is done again", DURABLE
    )


async def shared(program: Program) -> Verdict:
    """Whether all processes see the same records."""
    number = program.workers or 1
    served = f"{number} processes" if number > 1 else "one process"
    if program.workers is None:
        served += " (assumed; --workers N says otherwise)"
    if isinstance(store := program.receiver.store, Shared):
        return ok(f"{store!r} is shared by {store.shared_by()}, so also by {served}")
    match store:
        case MemoryStore() if number > 1:
            return problem(f"memory: is not shared, and {number} processes would each do what comes twice", DURABLE)
        case MemoryStore():
            return ok(f"memory: is for {served}")
        case SQLiteStore():
            return ok(f"a SQLite file is shared by all processes of one machine, so also by {served}; not by machines")
        case PostgresStore() | RedisStore() as store:
            return ok(f"{type(store).__name__} is shared by all processes of all machines, so also by {served}")
        case store:
            return skipped(
                f"whether {type(store).__name__} is shared by {served} cannot be known",
                "prove it with airweave_webhooks.testing.contracts",
            )


async def worker(program: Program) -> Verdict:
    """Whether somebody works on what is stored."""
    inbox, backlog = program.inbox, program.backlog
    if inbox is None or backlog is None:
        waiting = backlog.pending if backlog else 0
        if waiting:
            return warning(
                f"{deliveries(waiting)} pending, and Inline() has no worker",
                f"run what was replayed: {typed('worker', program.target)}",
            )
        return ok("no inbox, so no worker is needed")
    seen = "never" if backlog.worker_seen is None else f"{age(backlog.worker_seen)} ago"
    if inbox.worker:
        return ok(f"each process that serves the receiver also works; a worker was last seen: {seen}")
    if backlog.worker_seen is None or backlog.worker_seen > WORKER_GONE_AFTER:
        return warning(
            f"Inbox(worker=False), and a worker was last seen: {seen}; so handlers do not run",
            f"start one: {typed('worker', program.target)}",
        )
    return ok(f"a worker was seen {seen}")


async def health(program: Program) -> list[Verdict]:
    """What `health()` says."""
    try:
        with program.listening():
            async with program.patience():
                found = await program.receiver.health()
    except TimeoutError:
        return [problem(f"the store did not answer within {program.timeout:g} s", _AWAY)]
    verdicts = [
        problem(*(one_line(part) for part in text.split("; ", 1)))
        if "; " in text
        else problem(one_line(text), "see docs/inbox.md")
        for text in found.problems
    ]
    if found.dead:
        verdicts.append(
            warning(
                f"{deliveries(found.dead)} dead: given up, and waiting for somebody",
                f"look, and replay them: {typed('deliveries list', program.target, '--state', 'dead')}",
            )
        )
    return verdicts or [ok(f"healthy; {found.pending} pending, {found.leases_lost} leases lost")]
