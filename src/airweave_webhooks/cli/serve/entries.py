"""The journal's entries: as lines for people, and as JSON objects."""

import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.text import Text

from airweave_webhooks.cli.send.outcomes import MEANINGS, style_of
from airweave_webhooks.cli.serve.journal import Answered, Entry, Late, Lost, Refusal, Run, Settled
from airweave_webhooks.cli.tables import WIDE
from airweave_webhooks.cli.tracebacks import users_frames, what_it_says
from airweave_webhooks.cli.words import iso, milliseconds, one_line, redacted
from airweave_webhooks.delivery import Delivery
from airweave_webhooks.events import UnknownEvent

INDENT: Final = 10
"""Columns that the time takes."""

_VERDICTS: Final = {"processed": "green", "retry": "yellow", "rejected": "yellow", "failed": "red"}
_STATES: Final = {"done": "green", "pending": "yellow", "dead": "red"}
_SETTLED: Final = {"pending": "again later", "dead": "given up; `airweave-webhooks deliveries replay` does it again"}


def lines(entry: Entry, width: int) -> Iterator[Text]:
    """Say it for people: what came of it first, then where it belongs, then each handler.

    Args:
        entry: what happened.
        width: columns there are.
    """
    match entry:
        case Refusal(status, outcome, why):
            yield _head((f"{status} {outcome}", style_of(status)))
            yield _more(one_line(why), width)
        case Answered(delivery, reply, seconds, runs):
            yield from _first(delivery, (f"{reply.status} {reply.outcome}", style_of(reply.status)), seconds, width)
            if meaning := _meaning(delivery, reply.outcome):
                yield _more(meaning, width, "dim")
            yield from _runs(runs, width)
        case Settled(delivery, state, reason, runs):
            yield from _first(delivery, (f"{state} {reason or ''}".rstrip(), _STATES.get(state, "")), None, width)
            if meaning := _SETTLED.get(state):
                yield _more(meaning, width, "dim")
            yield from _runs(runs, width)
        case Late(delivery, run):
            yield from _first(delivery, ("finished late", ""), None, width)
            yield from _runs([run], width)
        case Lost(delivery, runs):
            yield from _first(delivery, ("lease lost", "red"), None, width)
            yield _more("another process took the delivery over; what this one did is not recorded", width)
            yield from _runs(runs, width)


def as_object(entry: Entry) -> dict[str, Any]:
    """Say it for programs."""
    match entry:
        case Refusal(status, outcome, why):
            return {"kind": "refused", "time": _now(), "status": status, "outcome": outcome, "why": redacted(why)}
        case Answered(delivery, reply, seconds, runs):
            answer = {"status": reply.status, "outcome": reply.outcome, "retry_after": reply.retry_after}
            taken = {"milliseconds": round(seconds * 1000, 3)}
            return {"kind": "delivery", **_facts(delivery), **answer, **taken, "handlers": list(map(_as_run, runs))}
        case Settled(delivery, state, reason, runs):
            how = {"state": state, "reason": reason}
            return {"kind": "settled", **_facts(delivery), **how, "handlers": list(map(_as_run, runs))}
        case Late(delivery, run):
            return {"kind": "late", **_facts(delivery), "handlers": [_as_run(run)]}
        case Lost(delivery, runs):
            return {"kind": "lease_lost", **_facts(delivery), "handlers": list(map(_as_run, runs))}


def _first(delivery: Delivery, what: tuple[str, str], seconds: float | None, width: int) -> Iterator[Text]:
    taken = "" if seconds is None else milliseconds(seconds)
    event = one_line(delivery.event.event_type) or "an event without a type"
    place = [("tenant " + one_line(delivery.tenant), "")] if delivery.tenant else []
    place += [(text, "") for text in [one_line(collection_of(delivery))] if text]
    place += [(one_line(delivery.id), "dim")]
    again = [(f"attempt {delivery.attempt}", "yellow")] if delivery.attempt > 1 else []
    head = [what, (event, "bold"), *again, *([(taken, "")] if taken else [])]
    if width >= WIDE:
        yield _head(*head, *place, width=width)
    else:
        yield _head(*head, width=width)
        yield _more("  ".join(text for text, _ in place), width, "dim")


def _head(*parts: tuple[str, str], width: int | None = None) -> Text:
    head = Text(f"{time.strftime('%H:%M:%S'):{INDENT}}", style="dim") + _joined(parts)
    return _fitted(head, width)


def _more(text: str, width: int, style: str = "") -> Text:
    """What belongs to the line above, as long as it is."""
    return Text(textwrap.fill(text, width, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT), style=style)


def _runs(runs: Sequence[Run], width: int) -> Iterator[Text]:
    for run in runs:
        verdict = (f"{run.verdict:9}", _VERDICTS[run.verdict])
        yield _fitted(
            Text(" " * INDENT) + _joined([verdict, (f"{milliseconds(run.seconds):>8}", ""), (run.handler, "")])
        )
        if run.error is None:
            continue
        for line in redacted(_said(run)).splitlines()[:5]:
            yield _fitted(Text(" " * (INDENT + 2) + one_line(line), style=verdict[1]), width)
        if run.verdict != "failed":
            continue  # it is what the handler wanted to say
        for frame in users_frames(run.error):
            where = f"{frame.filename}:{frame.lineno} in {frame.name}"
            yield _fitted(Text(" " * (INDENT + 4) + where, style="dim"))
            if frame.line:
                yield _fitted(Text(" " * (INDENT + 6) + one_line(frame.line)), width)


def _said(run: Run) -> str:
    """What went wrong; where a handler says so itself, its words alone."""
    assert run.error is not None, "it is asked for only then"  # noqa: S101
    return what_it_says(run.error) if run.verdict == "failed" else str(run.error)


def _meaning(delivery: Delivery, outcome: str) -> str | None:
    if isinstance(delivery.event, UnknownEvent):
        drifted = delivery.event.drifted
        known = "its fields are not those of this type" if drifted else "this version does not know the type"
        meaning = MEANINGS.get(outcome)
        return f"{meaning}; {known}" if meaning else known
    return MEANINGS.get(outcome)


def collection_of(delivery: Delivery) -> str | None:
    """The readable id of the collection that an event is about, if it says one."""
    event = delivery.event
    if isinstance(event, UnknownEvent):
        name = event.payload.get("collection_readable_id")
    else:
        name = getattr(event, "collection_readable_id", None)
    return name if isinstance(name, str) else None


def _joined(parts: Sequence[tuple[str, str]]) -> Text:
    return Text("  ").join(Text(text, style=style) for text, style in parts)


def _fitted(text: Text, width: int | None = None) -> Text:
    if width is not None:
        text.truncate(width, overflow="ellipsis")
    return text


def _facts(delivery: Delivery) -> dict[str, Any]:
    return {
        "time": _now(),
        "message_id": delivery.id,
        "tenant": delivery.tenant,
        "event_type": delivery.event.event_type,
        "collection": collection_of(delivery),
        "attempt": delivery.attempt,
    }


def _as_run(run: Run) -> dict[str, Any]:
    taken = round(run.seconds * 1000, 3)
    shown: dict[str, Any] = {"handler": run.handler, "result": run.verdict, "milliseconds": taken, "error": None}
    if run.error is not None:
        shown["error"] = redacted(_said(run))
        shown["frames"] = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in users_frames(run.error)]
    return shown


def _now() -> str | None:
    return iso(time.time())
