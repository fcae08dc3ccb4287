"""The signature headers: one consistent set of one family, or a refusal that says what is wrong."""

from itertools import product
from typing import Any

import pytest

from airweave_webhooks.errors import MalformedRequest
from airweave_webhooks.signing import Envelope, Headers, raw_headers, read_envelope

PARTS = ("id", "timestamp", "signature")
FAMILIES = ("svix", "webhook")
VALUES = {"id": "msg_1", "timestamp": "1800000000", "signature": "v1,AAAA"}
ENVELOPE = Envelope("msg_1", 1_800_000_000, b"msg_1.1800000000.", b"v1,AAAA")


def headers(family: str = "svix", **changes: str | None) -> dict[str, str]:
    """The three headers with some values changed, or removed where the change is None."""
    values = {**VALUES, **changes}
    return {f"{family}-{part}": value for part, value in values.items() if value is not None}


def refusal(given: Headers) -> str:
    """The diagnosis with which `given` is refused."""
    with pytest.raises(MalformedRequest) as caught:
        read_envelope(raw_headers(given))
    assert caught.value.status == 400
    return caught.value.diagnosis


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(dict, id="a mapping of text"),
        pytest.param(lambda given: list(given.items()), id="pairs of text"),
        pytest.param(lambda given: [(n.encode(), v.encode()) for n, v in given.items()], id="pairs of bytes"),
        pytest.param(lambda given: iter([*given.items()]), id="an iterator"),
        pytest.param(lambda given: {n.title(): v for n, v in given.items()}, id="names as HTTP/1 writes them"),
        pytest.param(lambda given: {n.upper(): v for n, v in given.items()}, id="names in capitals"),
        pytest.param(lambda given: dict(reversed(given.items())), id="in another order"),
    ],
)
def test_either_family_in_any_form(family: str, form: Any) -> None:
    """Both families are read, from whatever form a caller has the headers in."""
    assert read_envelope(raw_headers(form(headers(family)))) == ENVELOPE


def test_other_headers_are_passed_over() -> None:
    """Headers that are not part of the signature can be anything, repeated, empty or not even text."""
    pairs: list[tuple[bytes, bytes]] = [
        (b"content-type", b""),
        (b"cookie", b"a"),
        (b"cookie", b"b"),
        (b"svix-ids", b"x"),
        (b"x-svix-id", b"x"),
        (b"svix-id ", b"x"),
        (b"webhook_id", b"x"),
        (b"\xff\x00", b"\xff\xfe"),
        (b"", b""),
    ]
    assert read_envelope(raw_headers([*pairs, *raw_headers(headers()), *pairs])) == ENVELOPE


def test_text_that_http_cannot_carry() -> None:
    """Text beyond Latin-1 raises nothing here, and in an id it is refused or signs nothing."""
    assert raw_headers({"X-Snow": "☃"}) == [(b"x-snow", b"?")]
    assert read_envelope(raw_headers({**headers(), "☃": "☃"})) == ENVELOPE
    assert read_envelope(raw_headers(headers(id="☃"))).signed_prefix == b"?.1800000000."


def test_no_signature_headers_at_all() -> None:
    """A stranger's request is told from a broken one."""
    assert "no signature headers (svix-id, svix-timestamp, svix-signature)" in refusal({})
    assert "no signature headers" in refusal({"content-type": "application/json"})


@pytest.mark.parametrize(("family", "part", "value"), [*product(FAMILIES, PARTS, (None, ""))])
def test_a_missing_or_empty_header_is_named(family: str, part: str, value: str | None) -> None:
    """The diagnosis names the one header that is missing or empty, and no other."""
    assert refusal(headers(family, **{part: value})) == f"missing or empty: {family}-{part}"


def test_several_missing_headers_are_all_named() -> None:
    """One look at the log is enough."""
    assert refusal({"svix-id": "msg_1"}) == "missing or empty: svix-timestamp, svix-signature"
    assert refusal({"webhook-signature": "v1,AAAA"}) == "missing or empty: webhook-id, webhook-timestamp"


@pytest.mark.parametrize("choice", [c for c in product(FAMILIES, repeat=3) if len(set(c)) == 2])
def test_one_set_out_of_two_families_is_refused(choice: tuple[str, ...]) -> None:
    """Three headers that are complete only across the families do not make a set."""
    mixed = {f"{family}-{part}": VALUES[part] for family, part in zip(choice, PARTS, strict=True)}
    assert "both svix-* and webhook-*" in refusal(mixed)


@pytest.mark.parametrize(("family", "part"), [*product(FAMILIES, PARTS)])
def test_a_full_set_and_a_stray_of_the_other_family_is_refused(family: str, part: str) -> None:
    """A second opinion on the id, the time or the signature is never just ignored, nor is an empty one."""
    other = "webhook" if family == "svix" else "svix"
    for value in (VALUES[part], ""):
        assert "both svix-* and webhook-*" in refusal({**headers(family), f"{other}-{part}": value})


def test_two_full_sets_are_refused() -> None:
    """Also when they agree."""
    assert "both svix-* and webhook-*" in refusal({**headers("svix"), **headers("webhook")})


@pytest.mark.parametrize(("family", "part"), [*product(FAMILIES, PARTS)])
@pytest.mark.parametrize("again", ["the same", "other", ""])
def test_a_repeated_header_is_refused(family: str, part: str, again: str) -> None:
    """What two readers could read differently is refused, even if both values are the same."""
    pairs = list(headers(family).items())
    name = f"{family}-{part}"
    second = (name, VALUES[part] if again == "the same" else again)
    assert refusal([*pairs, second]) == f"the header {name} is repeated"
    assert refusal([second, *pairs]) == f"the header {name} is repeated"
    assert refusal([*pairs, (name.upper(), second[1])]) == f"the header {name} is repeated"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1", 1), ("1614265330", 1_614_265_330), ("999999999999", 999_999_999_999), ("007", 7)],
)
def test_plain_decimal_timestamps(text: str, seconds: int) -> None:
    """Digits are read as a number; the signed bytes keep them as they came."""
    envelope = read_envelope(raw_headers(headers(timestamp=text)))
    assert envelope.timestamp == seconds
    assert envelope.signed_prefix == f"msg_1.{text}.".encode()


BAD_TIMESTAMPS = [
    b"1.7e9",
    b"1e9",
    b"1800000000.0",
    b"1800000000.",
    b"+1",
    b"-1",
    b" 1",
    b"1 ",
    b"1\n",
    b"1_0",
    b"0x10",
    b"1,8",
    b"1800000000000",  # milliseconds: 13 digits
    b"0000000000001",
    b"9" * 5000,
    b"nan",
    b"inf",
    b"Infinity",
    b"now",
    b"\x00",
    b"1\x00",
    b"\xb2",  # the Latin-1 superscript two, a digit to str.isdigit()
    "１８".encode(),  # noqa: RUF001 - full-width digits, which int() takes
    "١٨".encode(),
    b"2026-11-20T09:00:00Z",
]


@pytest.mark.parametrize("timestamp", BAD_TIMESTAMPS)
def test_other_timestamps_are_refused(timestamp: bytes) -> None:
    """Whatever else `int()` or `float()` would take is not a timestamp."""
    pairs = [(b"svix-id", b"msg_1"), (b"svix-timestamp", timestamp), (b"svix-signature", b"v1,AAAA")]
    assert refusal(pairs) == "the timestamp is not a plain decimal number of seconds"


def test_full_width_digits_as_text() -> None:
    """A caller with text headers gets no other reading of foreign digits."""
    assert "timestamp" in refusal(headers(timestamp="１８００"))  # noqa: RUF001


@pytest.mark.parametrize("message_id", ["m", "m" * 256, "a.b.1", "with space", "{}", "msg_~!@#$%^&*()'\""])
def test_ids_are_opaque(message_id: str) -> None:
    """Any printable ASCII up to 256 characters is an id."""
    envelope = read_envelope(raw_headers(headers(id=message_id)))
    assert envelope.id == message_id
    assert envelope.signed_prefix == f"{message_id}.1800000000.".encode()


@pytest.mark.parametrize(
    "message_id", [b"m" * 257, b"m\x00", b"m\n", b"\tm", b"m\x7f", b"m\x1b[31m", b"\xe9", "é".encode(), b"\xed\xa0\x80"]
)
def test_ids_that_logs_and_stores_could_garble(message_id: bytes) -> None:
    """What is not printable ASCII, or is too long for an index, is refused, and not quoted."""
    pairs = [(b"svix-id", message_id), (b"svix-timestamp", b"1800000000"), (b"svix-signature", b"v1,AAAA")]
    assert refusal(pairs) == "the message id is not 1 to 256 printable ASCII characters"


@pytest.mark.parametrize("signatures", [b"\xff\x00", b" ", b",", b"v1,\n", b"x" * 100_000])
def test_signatures_are_kept_as_they_came(signatures: bytes) -> None:
    """The list is not judged here: that is `check_signature`'s, which passes malformed tokens over."""
    pairs = [(b"svix-id", b"msg_1"), (b"svix-timestamp", b"1800000000"), (b"svix-signature", signatures)]
    assert read_envelope(pairs).signatures == signatures
