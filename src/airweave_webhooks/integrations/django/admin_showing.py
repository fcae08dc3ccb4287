"""Parts of a delivery as HTML for the admin. Whatever came from outside is escaped."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import get_current_timezone

from airweave_webhooks.cli.words import age, redacted, size
from airweave_webhooks.stores.history import Note

LONGEST_BODY: Final = 100_000
"""Characters of a body that are shown."""
NOTHING: Final = "-"


def moment(seconds: float | None) -> str:
    """Say when something was, in the current time zone.

    Args:
        seconds: since the epoch.
    """
    if seconds is None:
        return NOTHING
    try:
        return datetime.fromtimestamp(seconds, get_current_timezone()).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):  # an event can claim to have happened in any year
        return f"{seconds:g} s since 1970"


def relative(seconds: float | None, now: float) -> str:
    """Say when something was or will be, also as seen from now.

    Args:
        seconds: since the epoch.
        now: likewise.
    """
    if seconds is None:
        return NOTHING
    difference = f"{age(now - seconds)} ago" if seconds <= now else f"in {age(seconds - now)}"
    return f"{moment(seconds)} ({difference})"


def state(name: str, reason: str | None) -> SafeString:
    """Show a state, in its colour, and its reason."""
    shown = format_html('<span class="airweave-state airweave-{}">{}</span>', name, name)
    return format_html("{} {}", shown, reason) if reason else shown


def pairs(found: Mapping[str, object]) -> SafeString | str:
    """Show names and values as a table."""
    rows = [(name, visible(str(value))) for name, value in sorted(found.items())]
    return _table((), rows) if rows else NOTHING


def notes(found: Sequence[Note]) -> SafeString | str:
    """Show what happened to a delivery as a table, the latest last."""
    rows = [
        (moment(note.at), str(note.attempt), visible(note.what), visible(note.who), visible(redacted(note.text)))
        for note in found
    ]
    return _table(("When", "Attempt", "What", "Who", "Why"), rows) if rows else NOTHING


def body(content: bytes | None) -> SafeString | str:
    """Show a body: JSON on lines, and anything else as what it is; of a long one the beginning."""
    if content is None:
        return "not held: only the sender has it"
    text, what = _read(content)
    heading = f"{what}, {size(len(content))}"
    if len(text) > LONGEST_BODY:
        heading += f"; the first {LONGEST_BODY:,} of {len(text):,} characters"
    return format_html(
        '<p class="airweave-heading">{}</p><pre class="airweave-body">{}</pre>', heading, visible(text[:LONGEST_BODY])
    )


def lines(text: str | None) -> SafeString | str:
    """Show a text that has lines, without secrets."""
    return format_html('<pre class="airweave-text">{}</pre>', visible(redacted(text))) if text else NOTHING


def visible(text: str) -> str:
    """Write down each character that cannot be seen, or changes how others are: also what no answer could encode."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text)


def _read(content: bytes) -> tuple[str, str]:
    """The text of a body, and what it is."""
    try:
        return json.dumps(json.loads(content), indent=2, ensure_ascii=False), "JSON"
    except (ValueError, RecursionError):  # also of bytes that are no text, and of a number that is too long
        pass
    try:
        return content.decode(), "not JSON, but text"
    except UnicodeDecodeError:
        return content[:LONGEST_BODY].decode(errors="backslashreplace"), "neither JSON nor text"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> SafeString:
    head = format_html("<thead><tr>{}</tr></thead>", format_html_join("", "<th>{}</th>", ((name,) for name in names)))
    written = ((format_html_join("", '<td class="airweave-cell">{}</td>', ((cell,) for cell in row)),) for row in rows)
    return format_html(
        '<table class="airweave-table">{}{}</table>',
        head if names else "",
        format_html_join("", "<tr>{}</tr>", written),
    )
