"""Secrets and keys: strict about what they are made of, exact about what they verify."""

import base64
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from airweave_webhooks.errors import ConfigurationError, SecretError
from airweave_webhooks.signing import PrivateKey, PublicKey, SigningSecret, generate_secret, parse_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
SIGNATURE = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
CONTENT = b"msg_1.1800000000.{}"


def encoded(raw: bytes, prefix: str = "whsec_") -> str:
    return prefix + base64.b64encode(raw).decode()


def ed25519_pair() -> tuple[Ed25519PrivateKey, PublicKey]:
    """A sender's private key that is not of our making, and our reading of its public half."""
    private = Ed25519PrivateKey.generate()
    return private, PublicKey(encoded(private.public_key().public_bytes_raw(), "whpk_"))


def v1a(signature: bytes) -> bytes:
    return b"v1a," + base64.b64encode(signature)


def test_the_known_good_vector() -> None:
    """The published vector of the scheme comes out byte for byte."""
    secret = SigningSecret(SECRET)
    assert secret.sign(SIGNED) == SIGNATURE
    assert secret.verifies(SIGNED, [SIGNATURE])


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.Webhook])
@pytest.mark.parametrize("body", ["{}", '{"é": "☃ 𝄞"}', '{"event_type":"x"}\n', ""])
@pytest.mark.parametrize("secret", [SECRET, encoded(b"\xff" * 24), encoded(bytes(75)), encoded(b"k" * 32)])
def test_signs_as_the_libraries_do(library: Any, body: str, secret: str) -> None:
    """Two independent signers make the token that we make, whatever the body and the secret's length."""
    theirs = library(secret).sign("msg_1", datetime.fromtimestamp(1_800_000_000, UTC), body)
    assert SigningSecret(secret).sign(b"msg_1.1800000000." + body.encode()) == theirs.encode()


@pytest.mark.parametrize("length", [24, 25, 26, 32, 75])
def test_secrets_of_every_length_that_the_server_takes(length: int) -> None:
    """24 to 75 bytes are accepted, both ends included, whatever padding that needs."""
    key = parse_key(encoded(b"k" * length))
    assert isinstance(key, SigningSecret)
    assert key.key == b"k" * length


@pytest.mark.parametrize("around", [" {}", "{}\n", "\t{}\r\n"])
def test_white_space_around_a_secret_is_ignored(around: str) -> None:
    """A trailing newline, as files and shells leave it, does no harm."""
    assert parse_key(around.format(SECRET)).verifies(SIGNED, [SIGNATURE])


REFUSED = [
    ("whsec_C2FVsBQIhrscChlQIMV10R9X4jZ8", "too weak: it holds 21 bytes"),
    (encoded(b"k" * 23), "too weak: it holds 23 bytes"),
    (encoded(b"k" * 76), "too long: it holds 76 bytes"),
    ("whsec_", "too weak: it holds 0 bytes"),
    (encoded(b"k" * 25).rstrip("="), "not padded standard base64"),
    ("whsec_" + base64.urlsafe_b64encode(b"\xfb\xff" * 15).decode(), "not padded standard base64"),
    (SECRET[:-1], "not padded standard base64"),
    (SECRET[:12] + " " + SECRET[12:], "not padded standard base64"),
    (SECRET[:12] + "\n" + SECRET[12:], "not padded standard base64"),
    (SECRET[:12] + "é" + SECRET[13:], "not padded standard base64"),
    (SECRET + "," + SECRET, "not padded standard base64"),
    (encoded(b"s" * 32, "whsk_"), "private key (whsk_…), which a receiver must never hold"),
    (SECRET.removeprefix("whsec_"), "does not begin with 'whsec_'"),
    (SECRET.upper(), "does not begin with 'whsec_'"),
    ("correct horse battery staple", "does not begin with 'whsec_'"),
    ("", "the secret is empty"),
    (" \r\n\t", "the secret is empty"),
    (encoded(b"p" * 31, "whpk_"), "holds 31 bytes, an ed25519 key has 32"),
    (encoded(b"p" * 64, "whpk_"), "holds 64 bytes, an ed25519 key has 32"),
    (encoded(b"p" * 32, "whpk_").rstrip("="), "not padded standard base64"),
    ("whpk_", "holds 0 bytes"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_unusable_secrets_are_refused_by_name(text: str, message: str) -> None:
    """Each kind of bad secret is refused with what is wrong with it, and what to do."""
    with pytest.raises(SecretError) as caught:
        parse_key(text)
    assert message in str(caught.value)
    assert "Take the endpoint's secret from Airweave" in str(caught.value) or "public key (whpk_…)" in str(caught.value)


@pytest.mark.parametrize("text", [text for text, _ in REFUSED if len(text.strip()) > len("whsec_")])
def test_no_message_quotes_a_secret(text: str) -> None:
    """What an error says can be logged: it holds no eight characters of the secret."""
    with pytest.raises(SecretError) as caught:
        parse_key(text)
    body = text.strip().partition("_")[2] or text
    assert not [body[at : at + 8] for at in range(len(body) - 7) if body[at : at + 8] in str(caught.value)]


@pytest.mark.parametrize("secret", [None, 5, 2.5, True, SECRET.encode(), [SECRET], object()])
def test_a_secret_that_is_no_string(secret: Any) -> None:
    """A secret of another type is refused naming the type, not with an AttributeError."""
    with pytest.raises(SecretError, match=rf"is a string such as 'whsec_…', not {type(secret).__name__}"):
        parse_key(secret)


def test_the_documented_example_is_named() -> None:
    """Whoever copied the secret of Airweave's documentation learns that this is the cause."""
    with pytest.raises(SecretError, match="the example in Airweave's documentation"):
        parse_key("whsec_C2FVsBQIhrscChlQIMV10R9X4jZ8")


@pytest.mark.parametrize(("cls", "text"), [(SigningSecret, "whpk_AAAA"), (PublicKey, SECRET), (PrivateKey, SECRET)])
def test_each_key_takes_only_its_own_prefix(cls: Any, text: str) -> None:
    """A key of another kind is not silently used as this one."""
    with pytest.raises(SecretError, match="does not begin with"):
        cls(text)


def test_generated_secrets() -> None:
    """A generated secret is strong, usable here and by the libraries, and new every time."""
    first, second = generate_secret(), generate_secret()
    assert first != second
    key = parse_key(first)
    assert isinstance(key, SigningSecret)
    assert len(key.key) == 32
    theirs = standardwebhooks.Webhook(first).sign("msg_1", datetime.fromtimestamp(1_800_000_000, UTC), "{}")
    assert key.verifies(CONTENT, [theirs.encode()])


def test_a_key_shows_nothing_of_its_secret() -> None:
    """A key in a traceback or a log line is safe."""
    shown = repr(parse_key(SECRET)) + str(parse_key(SECRET))
    assert SECRET.removeprefix("whsec_") not in shown
    assert repr(base64.b64decode(SECRET.removeprefix("whsec_")))[2:-1] not in shown


NOT_CANONICAL = [
    SIGNATURE.replace(b"1OE=", b"1OF="),  # the last character's unused bits
    SIGNATURE.rstrip(b"="),
    SIGNATURE + b"=",
    SIGNATURE[:10] + b"*" + SIGNATURE[10:],
    SIGNATURE.replace(b"+", b"-").replace(b"/", b"_"),
    SIGNATURE + b"\n",
    SIGNATURE.replace(b"v1,", b"v1,,"),
    SIGNATURE.replace(b"v1,", b"V1,"),
    SIGNATURE.replace(b"v1,", b"v01,"),
    SIGNATURE.replace(b"v1,", b"v1a,"),
    SIGNATURE.removeprefix(b"v1,"),
    SIGNATURE.swapcase(),
    b"v1,",
    b"",
]


@pytest.mark.parametrize("token", NOT_CANONICAL)
def test_only_the_canonical_token_verifies(token: bytes) -> None:
    """One spelling of a `v1` signature is right; every other one of the same bytes is not."""
    assert not SigningSecret(SECRET).verifies(SIGNED, [token])


def test_v1a_of_an_independent_signer() -> None:
    """A signature made with `cryptography` verifies with the public key, for this content only."""
    private, key = ed25519_pair()
    token = v1a(private.sign(CONTENT))
    assert key.verifies(CONTENT, [token])
    assert not key.verifies(CONTENT + b" ", [token])
    assert not ed25519_pair()[1].verifies(CONTENT, [token])


@pytest.mark.parametrize("token", [b"v1a", b"v1a,", b"v1a,AAAA", b"v1a,!", b"v1a,=", b"v1,AAAA", b"v2,AAAA", b"", b","])
def test_v1a_passes_over_malformed_tokens(token: bytes) -> None:
    """A token that is no ed25519 signature neither hides a good one nor raises."""
    private, key = ed25519_pair()
    good = v1a(private.sign(CONTENT))
    assert key.verifies(CONTENT, [token, good])
    assert key.verifies(CONTENT, [good, token])
    assert not key.verifies(CONTENT, [token])


def test_v1a_under_another_label() -> None:
    """An ed25519 signature that calls itself `v1` is not tried."""
    private, key = ed25519_pair()
    signature = base64.b64encode(private.sign(CONTENT))
    assert not key.verifies(CONTENT, [b"v1," + signature, b"v1a:" + signature, signature, b"V1A," + signature])


def test_the_number_of_v1a_checks_is_bounded() -> None:
    """A forger cannot buy more than 16 of the expensive checks per key with one header; junk costs none of them."""
    private, key = ed25519_pair()
    good, forged = v1a(private.sign(CONTENT)), v1a(bytes(64))
    assert key.verifies(CONTENT, [b"v1a,junk"] * 1000 + [forged] * 15 + [good])
    assert not key.verifies(CONTENT, [forged] * 16 + [good])


def test_the_private_key_signs_for_its_public_key() -> None:
    """What the sender's side signs, `cryptography` verifies with the public text, and so do we."""
    private = PrivateKey.generate()
    token = private.sign(CONTENT)
    raw = base64.b64decode(private.public.removeprefix("whpk_"), validate=True)
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(token.removeprefix(b"v1a,")), CONTENT)
    assert parse_key(private.public).verifies(CONTENT, [token])
    assert PrivateKey(private.text).public == private.public
    assert PrivateKey.generate().public != private.public


def test_the_private_key_with_the_public_one_appended() -> None:
    """libsodium's 64 bytes (seed, then public key) mean the same as the seed alone."""
    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert PrivateKey(encoded(seed + public, "whsk_")).public == PrivateKey(encoded(seed, "whsk_")).public


@pytest.mark.parametrize("length", [0, 31, 33, 63, 65])
def test_a_private_key_of_the_wrong_length(length: int) -> None:
    """What is no ed25519 seed is refused, with its length."""
    with pytest.raises(SecretError, match=f"the private key holds {length} bytes"):
        PrivateKey(encoded(b"s" * length, "whsk_"))


@pytest.mark.parametrize(("cls", "prefix"), [(PublicKey, "whpk_"), (PrivateKey, "whsk_")])
def test_without_cryptography(cls: Any, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ed25519 key without its package is a configuration error that names the extra to install."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'airweave-webhooks\[ed25519\]'") as caught:
        cls(encoded(bytes(32), prefix))
    assert not isinstance(caught.value, SecretError)


def test_v1_needs_no_cryptography() -> None:
    """In an interpreter that cannot import `cryptography`, the package imports and verifies `v1`."""
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from airweave_webhooks import Receiver\n"
        "from airweave_webhooks.signing import parse_key\n"
        f"print(parse_key({SECRET!r}).verifies({SIGNED!r}, [{SIGNATURE!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr
