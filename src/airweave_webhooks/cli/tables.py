"""Deliveries as tables for people, as wide as the terminal."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from airweave_webhooks.cli.words import age, iso, one_line, size
from airweave_webhooks.operations import Stats
from airweave_webhooks.stores.base import Record

WIDE: Final = 110
"""Columns from which each fact has one of its own."""
UNBOUNDED: Final = 160
"""Columns where there is no terminal: a line a delivery, for grep."""
LONGEST_ID: Final = 40
"""Longer ids are broken, never cut."""

_STYLES: Final = {"dead": "red", "pending": "yellow", "leased": "cyan", "queued": "cyan", "done": "green"}


def console(*, stderr: bool = False) -> Console:
    """Make a console that prints text as it is."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = UNBOUNDED
    return made


def found(records: Sequence[Record], width: int) -> Table:
    """Show what a search found: two lines a delivery on a narrow terminal, one on a wide one."""
    now = time.time()
    wide = width >= WIDE
    longest = max(len(one_line(record.message_id)) for record in records)
    table = _columns()
    table.add_column("STATE")
    table.add_column("ID", overflow="fold", width=min(longest, LONGEST_ID))
    if wide:
        table.add_column("EVENT", max_width=24 if width < UNBOUNDED else None)
        table.add_column("COLLECTION", max_width=20)
        table.add_column("SOURCE", max_width=12)
    else:
        table.add_column("EVENT", ratio=1)
    table.add_column("AGE", justify="right")
    table.add_column("TRY", justify="right")
    if wide:
        table.add_column("ERROR", ratio=1)
    for record in records:
        state = Text(record.state, style=_STYLES[record.state])
        name = Text(one_line(record.message_id))
        event = _cut(record.facts.event_type)
        where = _cut(_place(record), "" if wide else "dim")
        counts = (Text(age(now - record.received_at)), Text(str(record.attempts)))
        error = _cut(record.error, "red")
        if wide:
            table.add_row(state, name, event, where, _cut(record.facts.source_type), *counts, error)
        else:
            table.add_row(state, Group(name, error) if error else name, Group(event, where), *counts)
    return table


def shown(record: Record, *, with_body: bool) -> Group:
    """Show all that is known about a delivery."""
    parts: list[RenderableType] = [_facts(record)]
    if record.results:
        parts += [_title("Handlers"), grid(sorted(record.results.items()))]
    if record.notes:
        parts += [_title("What happened"), _notes(record)]
    if record.origin is not None and record.origin.headers:
        parts += [_title("Headers"), grid(sorted(record.origin.headers.items()))]
    if with_body:
        parts += [_title("Body"), _body(record.body)]
    return Group(*parts)


def _facts(record: Record) -> Table:
    facts, now = record.facts, time.time()
    key = record.key.key
    lines: list[tuple[str, str | None]] = [
        ("message id", record.message_id),
        ("key", key if key != record.message_id else None),
        ("tenant", record.key.tenant),
        ("state", f"{record.state}, {record.reason}" if record.reason else record.state),
        ("event", facts.event_type),
        ("collection", facts.collection),
        ("source type", facts.source_type),
        ("job", facts.job_id),
        ("happened", None if facts.event_time is None else _when(facts.event_time.timestamp(), now)),
        ("received", _when(record.received_at, now)),
        ("settled", _when(record.settled_at, now)),
        ("due", _when(record.due_at, now) if record.state == "pending" else None),
        ("leased until", _when(record.lease_until, now)),
        ("leased by", record.owner if record.state == "leased" else None),
        ("attempts", str(record.attempts)),
        ("leases lost", str(record.leases_lost) if record.leases_lost else None),
        ("replayed", _times(record.generation)),
        ("error", record.error),
        ("body", "not held" if record.body is None else size(len(record.body))),
    ]
    return grid([(name, text) for name, text in lines if text])


def _notes(record: Record) -> Table:
    now = time.time()
    table = _columns()
    for name in ("AGE", "TRY"):
        table.add_column(name, justify="right")
    table.add_column("WHAT")
    table.add_column("WHO", overflow="fold", max_width=24)
    table.add_column("WHY", ratio=1, overflow="fold")
    for note in record.notes:
        words = (Text(one_line(word)) for word in (note.what, note.who, note.text))
        table.add_row(age(now - note.at), str(note.attempt), *words)
    return table


def _body(body: bytes | None) -> Text:
    if body is None:
        return Text("not held")
    try:
        text = json.dumps(json.loads(body), indent=2)  # in ASCII: what a terminal could obey is escaped
    except ValueError:
        text = one_line(body.decode(errors="replace"))
    return Text(text, overflow="fold")


def counted(receiver: str, stats: Stats, store: object) -> Group:
    """Show how many deliveries there are, and how far the workers are behind."""
    backlog = stats.backlog
    states = [state for state in _STYLES if any(tally.state == state for tally in stats.tallies)]
    numbers = Counter[tuple[str, str]]()
    for tally in stats.tallies:
        numbers[tally.event_type, tally.state] += tally.deliveries
    table = _columns(expand=False, gap=3)
    table.add_column("EVENT")
    for state in states:
        table.add_column(state.upper(), justify="right", header_style=_STYLES[state])
    types = sorted({tally.event_type for tally in stats.tallies})
    for name in types:
        table.add_row(_cut(name), *(f"{numbers[name, state]:,}" for state in states))
    totals = (f"{sum(numbers[name, state] for name in types):,}" for state in states)
    table.add_row("all", *totals, style="bold")
    waiting = f"{backlog.pending:,}; the oldest has been due for {age(backlog.oldest)}" if backlog.pending else "0"
    facts = [
        ("receiver", receiver),
        ("store", f"{store!r}, {size(backlog.disk)}"),
        ("pending", waiting),
        ("dead", f"{backlog.dead:,}"),
        ("leases lost", f"{backlog.leases_lost:,}; {backlog.suspects:,} due deliveries lost two or more"),
        ("worker", "never seen" if backlog.worker_seen is None else f"seen {age(backlog.worker_seen)} ago"),
    ]
    return Group(grid(facts), Text(), table if types else Text("no deliveries"))


def _columns(*, expand: bool = True, gap: int = 1) -> Table:
    return Table(box=None, expand=expand, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")


def grid(lines: Iterable[tuple[str, str]]) -> Table:
    """Names and what there is to say about each; a name can be empty."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(Text(one_line(name)), Text(one_line(text)))
    return table


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _cut(text: str | None, style: str = "") -> Text:
    return Text(one_line(text), style=style, no_wrap=True, overflow="ellipsis")


def _times(number: int) -> str | None:
    return None if not number else "once" if number == 1 else f"{number} times"


def _place(record: Record) -> str:
    where = record.facts.collection or ""
    return f"{record.key.tenant}: {where}" if record.key.tenant else where


def _when(moment: float | None, now: float) -> str | None:
    if moment is None:
        return None
    relative = f"{age(now - moment)} ago" if moment <= now else f"in {age(moment - now)}"
    return f"{iso(moment)}  ({relative})"
