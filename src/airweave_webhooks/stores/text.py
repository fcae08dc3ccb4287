"""What databases can hold of a text."""


def as_text(text: str | None) -> str | None:
    """What a text column can hold of `text`: a lone surrogate has no UTF-8, and NUL ends a string in most tools."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
