"""What databases can hold of a record's texts."""

import functools
import json
from collections.abc import Mapping


def as_text(text: str | None) -> str | None:
    """What a text column can hold of `text`: a lone surrogate has no UTF-8, and NUL ends a string in most tools."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def texts_as_json(texts: Mapping[str, str]) -> str:
    """Handlers' results, or headers, as one text; most deliveries of a receiver have the same, so it is remembered."""
    return _as_json(tuple(texts.items())) if texts else "{}"


@functools.lru_cache(maxsize=256)
def _as_json(items: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(dict(items))
