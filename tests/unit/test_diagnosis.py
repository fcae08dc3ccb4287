"""Why a signature did not match: each cause is told from the others, and none is told to a stranger."""

import base64
import hmac
import json
from typing import NamedTuple

import pytest

from airweave_webhooks.signing import Envelope, PrivateKey, SigningSecret, VerificationKey, diagnose, parse_key
from airweave_webhooks.signing.diagnosis import LARGEST_RE_ENCODED
from conftest import OTHER_SECRET, SECRET

MARKER = "wombat"
BODY = json.dumps({"event_type": "sync.completed", "name": f"{MARKER} é"}, separators=(",", ":"), ensure_ascii=False)
ASCII_BODY = json.dumps(json.loads(BODY), separators=(",", ":"))
PREFIX = b"msg_1.1800000000."
KEY = parse_key(SECRET)
PRIVATE = PrivateKey.generate()
PUBLIC = parse_key(PRIVATE.public)

UNKNOWN = "no secret of ours signed this: the secret is of another endpoint, or the body, id or timestamp changed"
CHANGED = "the body changed after signing"
ANEW = f"{CHANGED} (its JSON was written anew): a middleware or proxy re-encoded it"
SPACE = f"{CHANGED} (white space was added around it): a middleware or proxy re-encoded it"
UNDECODED = "signed with the right secret, but not decoded: the signer used the text of the secret as the key"
RETIRED = "signed with a retired secret: the sender still uses the one from before the rotation"
EMPTY = "the body is empty: a middleware may have consumed it"
NO_BASE64 = "no signature is well-formed base64"
VERSION = "no signature of a version that our keys verify"


def v1(body: str | bytes, secret: str = SECRET) -> bytes:
    """What the sender signed."""
    return SigningSecret(secret).sign(PREFIX + (body if isinstance(body, bytes) else body.encode()))


def v1_with(raw_key: str, body: str = BODY) -> bytes:
    """What somebody signs who uses `raw_key` as it stands."""
    return b"v1," + base64.b64encode(hmac.digest(raw_key.encode(), PREFIX + body.encode(), "sha256"))


class Case(NamedTuple):
    """A signature, the body that arrived, and what is to be found out."""

    signatures: bytes
    says: str
    body: str | bytes = BODY
    keys: tuple[VerificationKey, ...] = (KEY,)
    retired: tuple[VerificationKey, ...] = ()

    def diagnosis(self) -> str:
        body = self.body if isinstance(self.body, bytes) else self.body.encode()
        return diagnose(Envelope("msg_1", 1_800_000_000, PREFIX, self.signatures), body, self.keys, self.retired)


LARGE = '{"a":"' + "x" * LARGEST_RE_ENCODED + '"}'

CASES = {
    # something on the way
    "indented": Case(v1(BODY), ANEW, json.dumps(json.loads(BODY), indent=2)),
    "spaces after separators": Case(v1(BODY), ANEW, json.dumps(json.loads(BODY), ensure_ascii=False)),
    "non-ASCII escaped": Case(v1(BODY), ANEW, ASCII_BODY),
    "non-ASCII unescaped": Case(v1(ASCII_BODY), ANEW, BODY),
    "escaped solidus": Case(v1('{"a":"/"}'), ANEW, '{"a":"\\/"}'),
    "byte order mark": Case(v1(BODY), ANEW, b"\xef\xbb\xbf" + BODY.encode()),
    "UTF-16": Case(v1(BODY), ANEW, BODY.encode("utf-16")),
    "newline appended": Case(v1(BODY), SPACE, BODY + "\n"),
    "white space around": Case(v1(BODY), SPACE, f" \r\n{BODY}\t"),
    "white space around what is no JSON": Case(v1(MARKER), SPACE, MARKER + "\n"),
    "large, newline appended": Case(v1(LARGE), SPACE, LARGE + "\n"),
    "large, re-encoded: not looked into": Case(v1(LARGE), UNKNOWN, LARGE.replace(":", ": ", 1)),
    "re-encoded, ed25519": Case(PRIVATE.sign(PREFIX + BODY.encode()), ANEW, ASCII_BODY, (PUBLIC,)),
    "re-encoded, the second key's": Case(v1(BODY), ANEW, ASCII_BODY, (parse_key(OTHER_SECRET), KEY)),
    "body gone": Case(v1(BODY), EMPTY, b""),
    # the secret
    "not decoded, with prefix": Case(v1_with(SECRET), UNDECODED),
    "not decoded, without prefix": Case(v1_with(SECRET.removeprefix("whsec_")), UNDECODED),
    "not decoded, among others": Case(b"v1,AAAA " + v1_with(SECRET), UNDECODED, keys=(PUBLIC, KEY)),
    "not decoded, empty body": Case(v1_with(SECRET, ""), UNDECODED, b""),
    "retired": Case(v1(BODY, OTHER_SECRET), RETIRED, retired=(parse_key(OTHER_SECRET),)),
    "retired, one of several": Case(v1(BODY, OTHER_SECRET), RETIRED, retired=(PUBLIC, parse_key(OTHER_SECRET))),
    "retired, but other": Case(v1(BODY, OTHER_SECRET), UNKNOWN, retired=(PUBLIC,)),
    "another endpoint's": Case(v1(BODY, OTHER_SECRET), UNKNOWN),
    "another endpoint's, ed25519": Case(PrivateKey.generate().sign(PREFIX + BODY.encode()), UNKNOWN, keys=(PUBLIC,)),
    # what was signed
    "another body": Case(v1("{}"), UNKNOWN),
    "cut short": Case(v1(BODY), UNKNOWN, BODY[:-1]),
    # the token
    "only v1a, ours v1": Case(PRIVATE.sign(PREFIX + BODY.encode()), f"{VERSION} (sent: v1a; ours: v1)"),
    "only v1, ours v1a": Case(v1(BODY), f"{VERSION} (sent: v1; ours: v1a)", keys=(PUBLIC,)),
    "only v2 and v3, ours both": Case(
        b"v3,A v2,A v2,A", f"{VERSION} (sent: v2, v3; ours: v1, v1a)", keys=(PUBLIC, KEY)
    ),
    "no version": Case(v1(BODY).removeprefix(b"v1,"), f"{VERSION} (sent: none readable; ours: v1)"),
    "empty version": Case(b",AAAA", f"{VERSION} (sent: none readable; ours: v1)"),
    "unreadable version": Case(b"\xff\x1b[31m,AAAA v\n9,AAAA", f"{VERSION} (sent: none readable; ours: v1)"),
    "only spaces": Case(b"  ", f"{VERSION} (sent: none readable; ours: v1)"),
    "bad base64": Case(b"v1,not*base64", NO_BASE64),
    "no base64": Case(b"v1, v1", NO_BASE64),
    "cut short token": Case(v1(BODY)[:-3], NO_BASE64),
    "too few bytes": Case(b"v1,AAAA", NO_BASE64),
    "hexadecimal": Case(b"v1," + base64.b64decode(v1(BODY)[3:]).hex().encode(), NO_BASE64),
    "bad base64 beside good": Case(b"v1,! " + v1("{}"), UNKNOWN),
    # bodies that JSON tools choke on
    "not JSON": Case(v1("{}"), UNKNOWN, MARKER),
    "not UTF-8": Case(v1("{}"), UNKNOWN, MARKER.encode() + b"\xff"),
    "deep": Case(v1("{}"), UNKNOWN, "[" * 100_000),
    "huge number": Case(v1("{}"), UNKNOWN, "9" * 5000),
    "lone surrogate": Case(v1("{}"), UNKNOWN, f'{{"{MARKER}":"\\ud800"}}'),
    "NaN": Case(v1("{}"), UNKNOWN, f'{{"{MARKER}": NaN}}'),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_cause_is_told_from_the_others(case: Case) -> None:
    """The sentence names the cause that was set up."""
    assert case.diagnosis().startswith(case.says)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_no_diagnosis_quotes_the_body_or_a_secret(case: Case) -> None:
    """A diagnosis can be logged: nothing of the body, the signature or a secret is in it, and it is one line."""
    found = case.diagnosis()
    quotable = [MARKER, "event_type", "x" * 8, "9" * 8, "[[", *(s.partition("_")[2] for s in (SECRET, OTHER_SECRET))]
    quotable += [token.decode("latin-1")[3:] for token in case.signatures.split() if len(token) > 20]
    assert not [text for text in quotable if text in found]
    assert found.isprintable()
    assert len(found) < 250


def test_every_case_is_a_mismatch() -> None:
    """None of the cases above verifies with the keys in use: the table is about refusals only."""
    for name, case in CASES.items():
        body = case.body if isinstance(case.body, bytes) else case.body.encode()
        assert not any(key.verifies(PREFIX + body, case.signatures.split(b" ")) for key in case.keys), name
