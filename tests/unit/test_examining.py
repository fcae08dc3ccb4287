"""Bodies and headers as people have them in files; what is wrong with them; and how secrets are shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks.cli.examining import REMEDIES, Examination, Known, examine
from airweave_webhooks.cli.files import read_body, read_headers
from airweave_webhooks.cli.masks import fingerprint, masked
from airweave_webhooks.errors import OperatorError, SecretError
from airweave_webhooks.signing import PrivateKey, parse_signer, signature_headers
from airweave_webhooks.testing.attempts import Message
from airweave_webhooks.testing.recording import write_recording
from conftest import OTHER_SECRET, SECRET

NOW = 1_800_000_000
BODY = b'{"event_type":"sync.completed","name":"caf\xc3\xa9"}'
OURS = [Known(SECRET, "a test")]
OTHER = [Known(OTHER_SECRET, "elsewhere")]


def signed(body: bytes = BODY, *secrets: str, at: int = NOW, family: Any = "svix") -> dict[str, str]:
    signers = [parse_signer(text) for text in secrets or (SECRET,)]
    return signature_headers(signers, "msg_1", at, body, family)


def look(headers: dict[str, str], body: bytes = BODY, tried: list[Known] = OURS, **more: Any) -> Examination:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return examine(raw, body, tried, **{"now": NOW, "tolerance": 300, **more})


def causes(examination: Examination) -> list[str | None]:
    assert examination.good == (not any(check.cause for check in examination.checks))
    text = " ".join(f"{check.finding} {check.remedy}" for check in examination.checks)
    assert SECRET.removeprefix("whsec_") not in text
    assert OTHER_SECRET.removeprefix("whsec_") not in text
    return [check.cause for check in examination.checks if not check.good]


@pytest.mark.parametrize("family", ["svix", "webhook"])
def test_what_is_good(family: str) -> None:
    """Also during a rotation; and it says which secret it was."""
    found = look(signed(BODY, OTHER_SECRET, SECRET, family=family), tried=OURS)
    assert causes(found) == []
    assert f"signed with whsec_… ({fingerprint(SECRET)}), from a test" in found.checks[1].finding


@pytest.mark.parametrize(
    ("headers", "finding"),
    [
        ({}, "no signature headers"),
        ({"svix-id": "msg_1"}, "missing or empty: svix-timestamp, svix-signature"),
        (signed() | {"webhook-id": "msg_1"}, "both svix-* and webhook-*"),
        (signed() | {"svix-timestamp": "1800000000000"}, "not a plain decimal number of seconds"),
        (signed() | {"svix-id": "x" * 257}, "not 1 to 256 printable"),
    ],
)
def test_headers_that_are_none(headers: dict[str, str], finding: str) -> None:
    found = look(headers)
    assert causes(found) == ["headers"]
    assert finding in found.checks[0].finding
    assert found.envelope is None


@pytest.mark.parametrize(
    ("headers", "body", "cause", "more"),
    [
        (signed(BODY, OTHER_SECRET), BODY, "unknown", {}),
        (signed(), BODY + b" ", "re_encoded", {}),
        (signed(), json.dumps(json.loads(BODY), indent=2).encode(), "re_encoded", {}),
        (signed(), b"", "empty", {}),
        (signed(), BODY.replace(b"completed", b"failed"), "unknown", {}),
        (signed() | {"svix-id": "msg_2"}, BODY, "unknown", {}),
        (signed() | {"svix-signature": "v1,!"}, BODY, "malformed", {}),
        (signed(BODY, PrivateKey.generate().text), BODY, "version", {}),
        (signed(BODY, OTHER_SECRET), BODY, "retired", {"retired": OTHER}),
        (signed(BODY, OTHER_SECRET), BODY, "local", {"others": [*OURS, *OTHER]}),
    ],
)
def test_signatures_that_are_bad(headers: dict[str, str], body: bytes, cause: str, more: dict[str, Any]) -> None:
    found = look(headers, body, **more)
    assert causes(found) == [cause]
    assert found.checks[1].remedy == REMEDIES[cause]


@pytest.mark.parametrize(
    ("at", "cause", "finding"),
    [
        (NOW - 301, "stale", "signed 301 s ago by this host's clock, 300 s are allowed"),
        (NOW + 7200, "future", "signed 7200 s ahead"),
        (NOW - 300, None, "5m ago; 300 s are allowed"),
        (NOW + 300, None, "in 5m; 300 s are allowed"),
    ],
)
def test_times(at: int, cause: str | None, finding: str) -> None:
    found = look(signed(at=at))
    assert causes(found) == ([cause] if cause else [])
    assert finding in found.checks[2].finding


def test_two_things_are_wrong() -> None:
    assert causes(look(signed(BODY, OTHER_SECRET, at=0))) == ["unknown", "stale"]


def test_a_secret_that_cannot_be_used() -> None:
    with pytest.raises(SecretError):
        look(signed(), tried=[Known("whsec_x", "a test")])


def test_a_body_is_read_to_the_byte(tmp_path: Path) -> None:
    """Of a recording it is the one that the recording tells of."""
    file = tmp_path / "body"
    for content in (b"", b"\xff\x00", BODY + b"\r\n", b'{"id": "msg_1"}', b"[" * 100_000):
        file.write_bytes(content)
        assert read_body(str(file)) == (content, None)
    recording = write_recording(Message("msg_7", BODY, NOW), tmp_path)
    assert read_body(str(recording)) == (BODY, "msg_7")
    with pytest.raises(OperatorError, match="nowhere: No such file"):
        read_body("nowhere")
    with pytest.raises(OperatorError, match="Is a directory"):
        read_body(str(tmp_path))


WANTED = [(b"svix-id", b"msg_1"), (b"svix-signature", b"v1,a= v1,b=")]


@pytest.mark.parametrize(
    "text",
    [
        "svix-id: msg_1\nsvix-signature: v1,a= v1,b=",
        "Svix-Id:msg_1\r\nSVIX-Signature:  v1,a= v1,b=  \r\n\r\n",
        '\ufeffPOST /webhooks HTTP/1.1\nsvix-id: msg_1\nsvix-signature: v1,a= v1,b=\n\n{"a b": 1}',
        "* to http://x\n> POST / HTTP/1.1\n> svix-id: msg_1\n> svix-signature: v1,a= v1,b=\n>\n< HTTP/2 401",
        "  'svix-id': 'msg_1',\n  'svix-signature': 'v1,a= v1,b=',",
        '{"svix-id": "msg_1", "svix-signature": "v1,a= v1,b="}',
        '{"Svix-Id": ["msg_1"], "svix-signature": ["v1,a= v1,b="]}',
        '[["svix-id", "msg_1"], ["svix-signature", "v1,a= v1,b="], 7]',
        '{"headers": [{"name": "svix-id", "value": "msg_1"}, {"name": "Svix-Signature", "value": "v1,a= v1,b="}]}',
        '{"body": "x: y", "headers": {"svix-id": "msg_1", "svix-signature": "v1,a= v1,b="}}',
        "10:42:01 DEBUG header svix-id: msg_1\n10:42:01 DEBUG header 'Svix-Signature'='v1,a= v1,b='",
    ],
)
def test_how_headers_can_be_written(tmp_path: Path, text: str) -> None:
    file = tmp_path / "headers"
    file.write_text(text, encoding="utf-8")
    found = read_headers(str(file))
    assert [pair for pair in found if pair[0].startswith(b"svix")] == WANTED


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1]", b"7", b": x\n:\n", b"[" * 100_000, "é: ü".encode()])
def test_what_holds_no_headers(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "headers"
    file.write_bytes(content)
    assert causes(examine(read_headers(str(file)), BODY, OURS, now=NOW, tolerance=300)) == ["headers"]


def test_headers_with_odd_values(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text('{"svix-id": null, "svix-timestamp": 7, "a": "\\ud800"}')
    assert read_headers(str(file)) == [(b"svix-timestamp", b"7"), (b"a", b"?")]


@pytest.mark.parametrize("secret", ["", "hunter2", "whsec_", "whsec_hunter2", "x" * 100, "whsec_" + "\ud800" * 40])
def test_what_is_no_secret_has_no_fingerprint(secret: str) -> None:
    """Somebody could guess it, and then know."""
    assert fingerprint(secret) is None
    assert masked(secret) == "… (not usable)"


def test_how_a_secret_is_shown() -> None:
    assert masked(SECRET) == "whsec_… (96ad2ccd)"
    private = PrivateKey.generate()
    assert masked(private.public).startswith("whpk_… (")
    assert masked(private.text).startswith("whsk_… (")
