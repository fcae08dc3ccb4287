"""Fresh, and signed by one of our keys: what passes, what does not, and what the libraries make of the same."""

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airweave_webhooks.errors import MalformedRequest, SecretError, Unauthorized
from airweave_webhooks.events import parse
from airweave_webhooks.signing import (
    Envelope,
    SigningSecret,
    check_freshness,
    check_signature,
    parse_key,
    raw_headers,
    read_envelope,
)
from conftest import SECRET, sign

NOW = 1_800_000_000
BODY = b'{"event_type":"sync.completed"}'
KEY = parse_key(SECRET)
GOOD = SigningSecret(SECRET).sign(b"msg_1.1800000000." + BODY)
ALIEN = b"v1," + base64.b64encode(b"\x00" * 32)


def envelope(signatures: bytes = GOOD, message_id: str = "msg_1", timestamp: int = NOW) -> Envelope:
    return Envelope(message_id, timestamp, f"{message_id}.{timestamp}.".encode(), signatures)


def verifies(given: Envelope, body: bytes = BODY, *keys: Any) -> bool:
    """Whether `check_signature` lets it pass."""
    try:
        check_signature(given, body, keys or (KEY,))
    except Unauthorized:
        return False
    return True


@pytest.mark.parametrize("age", [0, 0.5, 299.9, 300, -0.5, -299.9, -300])
def test_within_the_tolerance(age: float) -> None:
    """Up to the tolerance, both ends included, in the past and in the future."""
    check_freshness(envelope(), now=NOW + age, tolerance=300)


@pytest.mark.parametrize(
    ("age", "says"),
    [
        (300.6, "stale: signed 301 s ago by this host's clock, 300 s are allowed"),
        (86_400, "stale: signed 86400 s ago"),
        (-300.6, "from the future: signed 301 s ahead of this host's clock, 300 s are allowed"),
        (-3_600, "from the future: signed 3600 s ahead"),
    ],
)
def test_clock_skew_is_named_in_seconds(age: float, says: str) -> None:
    """A stale or future timestamp is a 401 whose diagnosis says by how much, and what to check."""
    with pytest.raises(Unauthorized) as caught:
        check_freshness(envelope(), now=NOW + age, tolerance=300)
    assert caught.value.status == 401
    assert caught.value.diagnosis.startswith(says)
    assert "check this host's time" in caught.value.diagnosis


def test_the_known_good_vector() -> None:
    """The published vector passes under either family's names."""
    for family in ("svix", "webhook"):
        given = read_envelope(
            raw_headers(
                {
                    f"{family}-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                    f"{family}-timestamp": "1614265330",
                    f"{family}-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                }
            )
        )
        check_signature(given, b'{"test": 2432232314}', [parse_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.Webhook])
def test_what_the_libraries_sign(library: Any) -> None:
    """A signature of either library passes; a change of body, id or time, however small, does not."""
    token = library(SECRET).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY.decode()).encode()
    assert verifies(envelope(token))
    assert not verifies(envelope(token), BODY + b" ")
    assert not verifies(envelope(token), b"")
    assert not verifies(envelope(token, message_id="msg_2"))
    assert not verifies(envelope(token, timestamp=NOW + 1))


TOLERATED = [
    b"v1," + base64.b64encode(b"k" * 32),  # another secret's, as during a rotation
    b"v1a," + base64.b64encode(b"k" * 64),
    b"v2,AAAA",
    b"v99,\xff\xfe",
    b"",
    b"v1",
    b"v1,",
    b",",
    b",,,",
    b"v1,AAAA,AAAA",
    b"v1,A",
    b"v1,!!!!",
    b"v1,=",
    b"\x00",
    GOOD[:-2],
    GOOD + b",",
    GOOD.replace(b"v1,", b"v1a,"),
]


@pytest.mark.parametrize("token", TOLERATED)
@pytest.mark.parametrize("place", [b"%b %b", b"%b  %b", b" %b %b "])
def test_a_bad_token_never_hides_a_good_one(token: bytes, place: bytes) -> None:
    """Unknown versions and malformed tokens are passed over, before and after the good one; alone they sign nothing."""
    assert verifies(envelope(place % (token, GOOD)))
    assert verifies(envelope(place % (GOOD, token)))
    assert not verifies(envelope(place % (token, token)))


@pytest.mark.parametrize("separator", [b",", b"\t", b";", b"\n", b""])
def test_only_spaces_separate_tokens(separator: bytes) -> None:
    """A list in another notation is not guessed at."""
    assert not verifies(envelope(GOOD + separator + GOOD))


def test_a_rotation_on_the_senders_side() -> None:
    """Eleven live secrets sign; a receiver that holds any one of them accepts."""
    secrets = ["whsec_" + base64.b64encode(bytes([n]) * 24).decode() for n in range(11)]
    content = b"msg_1.1800000000." + BODY
    given = envelope(b" ".join(SigningSecret(secret).sign(content) for secret in secrets))
    assert [verifies(given, BODY, parse_key(secret)) for secret in secrets] == [True] * 11
    assert not verifies(given, BODY, KEY)


def test_a_rotation_on_our_side() -> None:
    """A receiver that holds eleven secrets accepts what any one of them signed."""
    keys = [parse_key("whsec_" + base64.b64encode(bytes([n]) * 24).decode()) for n in range(10)]
    assert verifies(envelope(), BODY, *keys, KEY)
    assert verifies(envelope(), BODY, KEY, *keys)
    assert not verifies(envelope(), BODY, *keys)


def test_symmetric_and_ed25519_keys_together() -> None:
    """Each key looks at its own version only, and one that matches is enough."""
    private = Ed25519PrivateKey.generate()
    public = parse_key("whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode())
    asymmetric = b"v1a," + base64.b64encode(private.sign(b"msg_1.1800000000." + BODY))
    assert verifies(envelope(asymmetric), BODY, KEY, public)
    assert verifies(envelope(GOOD), BODY, public, KEY)
    assert verifies(envelope(ALIEN + b" " + asymmetric), BODY, public)
    assert not verifies(envelope(asymmetric), BODY, KEY)
    assert not verifies(envelope(GOOD), BODY, public)
    assert not verifies(envelope(asymmetric), BODY + b" ", KEY, public)


def test_without_keys_nothing_passes() -> None:
    """An empty list of keys is not a way in."""
    with pytest.raises(Unauthorized):
        check_signature(envelope(), BODY, [])


# What follows shows, by running both, where `standardwebhooks` raises or accepts what it should not.


def theirs(headers: dict[str, str], body: bytes = BODY) -> object:
    return standardwebhooks.Webhook(SECRET).verify(body, headers)


def ours(headers: dict[str, str], body: bytes = BODY) -> None:
    given = read_envelope(raw_headers(headers))
    check_freshness(given, now=time.time(), tolerance=300)
    check_signature(given, body, [KEY])


def signed_now(**changes: Callable[[str], str]) -> dict[str, str]:
    """Standard headers of a fresh signature, with values changed by functions."""
    headers = sign(BODY, family="webhook")
    return headers | {f"webhook-{part}": change(headers[f"webhook-{part}"]) for part, change in changes.items()}


@pytest.mark.parametrize(
    ("before", "error"),
    [
        ("garbage ", ValueError),
        (" ", ValueError),
        ("v1,a,b ", ValueError),
        ("v1,abc ", binascii.Error),
        ("v1,ä ", ValueError),
    ],
)
def test_tokens_on_which_the_library_raises(before: str, error: type[Exception]) -> None:
    """The library lets an error escape that is not its own, before it sees the good token; we pass the bad one over."""
    headers = signed_now(signature=lambda good: before + good)
    with pytest.raises(error) as caught:
        theirs(headers)
    assert not isinstance(caught.value, standardwebhooks.WebhookVerificationError)
    ours(headers)


def test_a_body_that_is_not_utf8() -> None:
    """The library raises UnicodeDecodeError before it verifies; we verify the bytes, as they were signed."""
    body = b'{"name":"\xff"}'
    headers = signed_now()
    content = f"msg_1.{headers['webhook-timestamp']}.".encode() + body
    raw_key = base64.b64decode(SECRET.removeprefix("whsec_"))
    headers["webhook-signature"] = "v1," + base64.b64encode(hmac.digest(raw_key, content, "sha256")).decode()
    with pytest.raises(UnicodeDecodeError):
        theirs(headers, body)
    ours(headers, body)
    with pytest.raises(Unauthorized):
        ours(headers, body + b"\xff")


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(lambda text: f"{int(text) / 1e9:.9f}e9", id="exponent"),
        pytest.param(lambda text: text + ".0", id="fraction"),
        pytest.param(lambda text: " +" + text, id="sign and space"),
        pytest.param(lambda text: text[:3] + "_" + text[3:], id="underscore"),
    ],
)
def test_timestamps_that_the_library_accepts(spelling: Callable[[str], str]) -> None:
    """The library reads them as floats and signs what it has read; we refuse them as malformed."""
    headers = signed_now(timestamp=spelling)
    assert theirs(headers) == {"event_type": "sync.completed"}
    with pytest.raises(MalformedRequest):
        ours(headers)


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(lambda text: text[:10] + "*~" + text[10:], id="junk inside"),
        pytest.param(lambda text: text[:-2] + chr(ord(text[-2]) + 1) + "=", id="unused bits"),
        pytest.param(lambda text: text + "==", id="too much padding"),
    ],
)
def test_base64_that_the_library_accepts(spelling: Callable[[str], str]) -> None:
    """The library decodes many spellings of one signature; we accept the canonical one."""
    headers = signed_now(signature=spelling)
    assert theirs(headers) == {"event_type": "sync.completed"}
    with pytest.raises(Unauthorized):
        ours(headers)


@pytest.mark.parametrize(
    "text",
    [
        "whsk_" + base64.b64encode(bytes(32)).decode(),
        "whpk_" + base64.b64encode(bytes(31)).decode(),
        "plain text as a key.",
        "whsec_C2FVsBQIhrscChlQIMV10R9X4jZ8",
        "whsec_AA==",
    ],
)
def test_weak_keys_that_the_library_takes(text: str) -> None:
    """The library makes a key of nearly anything, and signs with it; we refuse to start."""
    assert standardwebhooks.Webhook(text).sign("msg_1", datetime.fromtimestamp(NOW, UTC), "{}").startswith("v1,")
    with pytest.raises(SecretError):
        parse_key(text)


@pytest.mark.parametrize(("age", "tolerance", "library_accepts"), [(400, 600, False), (120, 60, True)])
def test_the_librarys_tolerance_is_fixed(age: int, tolerance: int, library_accepts: bool) -> None:
    """300 seconds is all that the library knows; ours is as wide or as narrow as it is set."""
    headers = sign(BODY, family="webhook", at=time.time() - age)
    if library_accepts:
        assert theirs(headers) == {"event_type": "sync.completed"}
    else:
        with pytest.raises(standardwebhooks.WebhookVerificationError, match="too old"):
            theirs(headers)
    given = read_envelope(raw_headers(headers))
    if age <= tolerance:
        check_freshness(given, now=time.time(), tolerance=tolerance)
    else:
        with pytest.raises(Unauthorized, match="stale"):
            check_freshness(given, now=time.time(), tolerance=tolerance)


def test_the_library_reads_one_family() -> None:
    """What Svix sends, the `standardwebhooks` library calls headerless; we read it."""
    headers = sign(BODY, family="svix")
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="Missing required headers"):
        theirs(headers)
    ours(headers)


def test_the_library_never_checks_v1a() -> None:
    """An ed25519 signature is passed over by the library; we check it against the public key."""
    private = Ed25519PrivateKey.generate()
    headers = signed_now()
    content = f"msg_1.{headers['webhook-timestamp']}.".encode() + BODY
    headers["webhook-signature"] = "v1a," + base64.b64encode(private.sign(content)).decode()
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching signature"):
        theirs(headers)
    public = parse_key("whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode())
    assert verifies(read_envelope(raw_headers(headers)), BODY, public)


def test_what_svix_returns() -> None:
    """`svix.Webhook.verify` of this version returns nothing to work with; parsing is a step of its own here."""
    assert svix.Webhook(SECRET).verify(BODY, sign(BODY)) is None  # type: ignore[func-returns-value]
    assert parse(BODY).event_type == "sync.completed"
