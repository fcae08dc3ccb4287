"""Bodies and headers, as people have them in files."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, cast

from airweave_webhooks.errors import OperatorError

STDIN: Final = "-"

# `name: value`, also as curl -v shows it, or quoted, as a log does. A name is what HTTP takes for one.
_LINE: Final = re.compile(r"""^\s*(?:[<>*]\s)?\s*["']?([A-Za-z0-9!#$%&'*+.^_`|~-]+?)["']?\s*:\s*(.*)$""")
# What of a line is the sender's, whatever a log has written before it.
_SIGNED: Final = re.compile(r"""(?i)(?<![\w-])((?:svix|webhook)-(?:id|timestamp|signature))["']?\s*[:=]\s*(.*)$""")


class Body(NamedTuple):
    """What a file holds."""

    content: bytes
    id: str | None
    """The message's, if the file is a recording."""


def read_body(path: str) -> Body:
    """Read a body to the byte; of a recording, the body that it tells of.

    Args:
        path: a file, or `-` for stdin.

    Raises:
        OperatorError: it cannot be read.
    """
    raw = _read(path)
    try:
        content: object = json.loads(raw)
    except (ValueError, RecursionError):
        return Body(raw, None)
    from airweave_webhooks.testing.recording import recorded

    message = recorded(content, path)
    return Body(raw, None) if message is None else Body(message.body, message.id)


def read_headers(path: str) -> list[tuple[bytes, bytes]]:
    """Read headers, with their names in lower case: `name: value` lines among others, or JSON.

    Args:
        path: a file, or `-` for stdin.

    Raises:
        OperatorError: it cannot be read.
    """
    text = _read(path).decode("utf-8-sig", "replace")
    try:
        pairs = list(_of_json(json.loads(text)))
    except (ValueError, RecursionError):
        lines = (_SIGNED.search(line) or _LINE.match(line) for line in text.splitlines())
        pairs = [(line[1], _unquoted(line[2])) for line in lines if line]
    return [
        (name.lower().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")) for name, value in pairs
    ]


def _of_json(content: object) -> Iterator[tuple[str, str]]:
    """The pairs of an object, or of a list of pairs; of a header that is repeated, a list."""
    match content:
        case {"name": str(name), "value": str(value)} | [str(name), str(value)]:
            yield name, value
        case dict():
            pairs = cast("dict[str, object]", content)
            if "headers" in pairs:
                yield from _of_json(pairs["headers"])
                return
            for key, values in pairs.items():
                for each in cast("list[object]", values) if isinstance(values, list) else [values]:
                    if each is not None:
                        yield key, str(each)
        case list():
            for each in cast("list[object]", content):
                yield from _of_json(each)
        case _:
            pass


def _unquoted(text: str) -> str:
    text = text.strip().removesuffix(",")
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _read(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None
