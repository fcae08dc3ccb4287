"""Times, ages and other people's text, as the command reads and writes them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_SECRETS: Final = (
    (re.compile(r"\b(wh(?:sec|pk|sk)_)[\w+/=-]+"), r"\1…"),
    (re.compile(r"://[^\s'\"]*@"), "://…@"),
    (re.compile(r"(?i)\b(password\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s'\",)]+)"), r"\1…"),
)
_STEPS: Final = ((60.0, 1.0, "s"), (3600.0, 60.0, "m"), (2 * 86_400.0, 3600.0, "h"), (float("inf"), 86_400.0, "d"))


def redacted(text: str) -> str:
    """Take secrets, and passwords in URLs, out of a text that somebody else wrote."""
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return text


def one_line(text: str | None) -> str:
    """Make a text from outside fit for a terminal: no line breaks, no control characters, no secrets."""
    words = " ".join(redacted(text or "").split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


def age(seconds: float) -> str:
    """Say a duration in at most a few characters: `59s`, `15m`, `47h`, `120d`."""
    seconds = max(0.0, seconds)
    unit, letter = next((unit, letter) for below, unit, letter in _STEPS if seconds < below)
    return f"{seconds // unit:.0f}{letter}"


def iso(time: float | datetime | None) -> str | None:
    """Write a time in UTC, to the millisecond."""
    if time is None:
        return None
    moment = time.astimezone(UTC) if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """Read `2h` (ago) or an ISO time, which is in UTC unless it says otherwise.

    Raises:
        ValueError: it is neither.
    """
    try:
        if match := re.fullmatch(r"([0-9]{1,6})([smhdw])", text):
            return datetime.now(UTC) - timedelta(**{UNITS[match[2]]: int(match[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a time ago (90s, 15m, 2h, 3d, 1w) nor an ISO time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def size(number: int) -> str:
    """Say a number of bytes for people."""
    amount = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def deliveries(number: int) -> str:
    """Say how many deliveries."""
    return f"{number:,} {'delivery' if number == 1 else 'deliveries'}"


def milliseconds(seconds: float) -> str:
    """Say how long something took: `0.4 ms`, `12 ms`, `3.1 s`."""
    if seconds >= 10:
        return f"{seconds:.0f} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
