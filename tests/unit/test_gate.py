"""The gate: who passes, what the operator reads, and that nobody else reads or causes more."""

import base64
import logging
from typing import Any

import pytest

from airweave_webhooks import Receiver, gate
from airweave_webhooks.errors import BodyTooLarge, MalformedRequest, Refused, SecretLookupFailed, Unauthorized
from airweave_webhooks.gate import Gate
from airweave_webhooks.keyring import Keyring, Secrets
from airweave_webhooks.signing import Envelope, raw_headers
from airweave_webhooks.telemetry import LogBudget, Observer
from airweave_webhooks.testing import Clock
from conftest import OTHER_SECRET, SECRET, sign

pytestmark = pytest.mark.anyio

MARKER = "wombat"
BODY = f'{{"event_type":"sync.completed","name":"{MARKER}"}}'.encode()
BUDGET = 60


class Recorder(Observer):
    """Remembers refusals."""

    def __init__(self) -> None:
        self.errors: list[Refused] = []

    def refused(self, error: Refused) -> None:
        self.errors.append(error)


class Broken(Observer):
    def refused(self, error: Refused) -> None:
        raise ValueError("the observer is broken")


def make_gate(
    clock: Clock,
    secrets: Secrets = SECRET,
    *,
    observer: Observer | None = None,
    retired: tuple[str, ...] = (),
    ticks: Clock | None = None,
) -> Gate:
    keyring = Keyring(secrets, retired, ticks or Clock())
    return Gate(keyring, tolerance=300, clock=clock, observer=observer, name="orders")


async def pass_through(made: Gate, headers: dict[str, str], body: bytes = BODY, tenant: str | None = None) -> Envelope:
    """Admit and verify; a refusal is reported, as the receiver does, and raised."""
    envelope: Envelope | None = None
    try:
        envelope = made.admit(raw_headers(headers))
        checking = made.verify(envelope, body, tenant)
        if checking is not None:
            await checking
    except Refused as error:
        made.report(error, envelope.id if envelope else None)
        raise
    return envelope


async def refusal(made: Gate, headers: dict[str, str], body: bytes = BODY, tenant: str | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await pass_through(made, headers, body, tenant)
    return caught.value


def forged(clock: Clock, message_id: str = "msg_1") -> dict[str, str]:
    """Fresh and well-formed, but signed with another's secret."""
    return sign(BODY, at=clock(), secret=OTHER_SECRET, message_id=message_id)


@pytest.mark.parametrize("family", ["svix", "webhook"])
async def test_what_is_signed_passes(family: str, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A fresh, signed request of either family gets its envelope, and no line in the log."""
    observer = Recorder()
    envelope = await pass_through(make_gate(clock, observer=observer), sign(BODY, at=clock(), family=family))
    assert (envelope.id, envelope.timestamp) == ("msg_1", int(clock()))
    assert (observer.errors, caplog.messages) == ([], [])


@pytest.mark.parametrize("secrets", [[OTHER_SECRET, SECRET], lambda: SECRET, lambda: [OTHER_SECRET, SECRET]])
async def test_every_source_of_secrets(secrets: Any, clock: Clock) -> None:
    """Lists and lookups verify as a single secret does, the first time and from the cache."""
    made = make_gate(clock, secrets)
    for _ in range(2):
        await pass_through(made, sign(BODY, at=clock()))
        assert (await refusal(made, sign(BODY + b" ", at=clock()))).status == 401


async def test_tenants(clock: Clock) -> None:
    """One tenant's signature is worth nothing at another's, and an unknown tenant is a 401."""
    made = make_gate(clock, {"acme": SECRET, "zeta": OTHER_SECRET}.get)
    await pass_through(made, sign(BODY, at=clock()), tenant="acme")
    await pass_through(made, forged(clock), tenant="zeta")
    assert isinstance(await refusal(made, sign(BODY, at=clock()), tenant="zeta"), Unauthorized)
    error = await refusal(made, sign(BODY, at=clock()), tenant="nobody")
    assert (error.status, error.diagnosis) == (401, "unknown tenant 'nobody'")


async def test_the_clock_decides_before_the_body(clock: Clock) -> None:
    """Staleness, and a set of headers that is unsound, are found without a body."""
    made = make_gate(clock)
    headers = raw_headers(sign(BODY, at=clock()))
    for offset, word in ((301, "stale"), (-602, "future")):
        clock.advance(offset)
        with pytest.raises(Unauthorized, match=f"{word}.*301 s"):
            made.admit(headers)
    with pytest.raises(MalformedRequest):
        made.admit(headers[:2])


async def test_a_rotation_takes_effect_at_once(clock: Clock) -> None:
    """Signed with a secret that the lookup has had for a moment only: it passes, and the old one is then retired."""
    current, ticks = [SECRET], Clock()
    made = make_gate(clock, lambda: current, ticks=ticks)
    await pass_through(made, sign(BODY, at=clock()))
    current[:] = [OTHER_SECRET]
    assert (await refusal(made, forged(clock))).status == 401  # within 5 s of the lookup, nobody looks again
    ticks.advance(5)
    await pass_through(made, forged(clock))
    assert "retired secret" in (await refusal(made, sign(BODY, at=clock()))).diagnosis
    ticks.advance(5)
    assert "retired secret" in (await refusal(made, sign(BODY, at=clock()))).diagnosis


async def test_the_newest_keys_explain(clock: Clock) -> None:
    """After a rotation the diagnosis is made with the secret that was just looked up."""
    current, ticks = [SECRET], Clock()
    made = make_gate(clock, lambda: current, ticks=ticks)
    await pass_through(made, sign(BODY, at=clock()))
    current[:] = [OTHER_SECRET]
    ticks.advance(5)
    assert "white space was added" in (await refusal(made, forged(clock), BODY + b"\n")).diagnosis


async def test_given_retired_secrets_explain_but_do_not_verify(clock: Clock) -> None:
    """`retired` is for the diagnosis only."""
    made = make_gate(clock, retired=(OTHER_SECRET,))
    assert "retired secret" in (await refusal(made, forged(clock))).diagnosis


async def test_a_failed_lookup_is_not_a_refusal(clock: Clock) -> None:
    """Nobody can say whether the signature is right: the sender is to come again."""

    def lookup() -> str:
        raise OSError("down")

    with pytest.raises(SecretLookupFailed):
        await pass_through(make_gate(clock, lookup), sign(BODY, at=clock()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"svix-id": ""}, "receiver orders refused a request with 400: missing or empty: svix-id"),
        ({"svix-timestamp": "1"}, "receiver orders refused a request with 401: stale"),
        ({"svix-signature": "v1,x"}, "receiver orders refused a request with 401: no signature is well-formed base64"),
    ],
)
async def test_a_refusal_is_one_warning(
    change: dict[str, str], says: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator gets the receiver's name, the status and the cause; the observer gets the error itself."""
    observer = Recorder()
    error = await refusal(make_gate(clock, observer=observer), {**sign(BODY, at=clock()), **change})
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "airweave_webhooks")
    assert record.getMessage().startswith(says)
    assert observer.errors == [error]


async def test_the_message_id_is_logged_as_unverified(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The id helps to find the message; it is cut to 64 characters, and marked as what anybody could have sent."""
    await refusal(make_gate(clock), forged(clock, "m" * 256))
    assert caplog.messages[0].endswith(f" (message id '{'m' * 64}', unverified)")
    caplog.clear()
    make_gate(clock).report(BodyTooLarge("the body has 5 bytes, 4 are allowed"))
    assert caplog.messages == ["receiver orders refused a request with 413: the body has 5 bytes, 4 are allowed"]


async def test_the_log_has_a_budget(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A flood of forgeries writes sixty lines; the observer, who counts, is told of every one."""
    observer, ticks = Recorder(), Clock()
    made = make_gate(clock, observer=observer)
    made._budget = LogBudget(clock=ticks)
    for _ in range(BUDGET + 40):
        await refusal(made, forged(clock))
    assert len(caplog.messages) == BUDGET
    assert len(observer.errors) == BUDGET + 40
    ticks.advance(60)
    await refusal(made, forged(clock))
    assert caplog.messages[BUDGET] == "40 more requests were refused in the last minute"
    assert len(caplog.messages) == BUDGET + 2


async def test_no_diagnosis_beyond_the_budget(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diagnosis costs several HMACs: a forger gets sixty a minute, and a plain 401 from then on."""
    asked = 0

    def counting(*_: object) -> str:
        nonlocal asked
        asked += 1
        return "looked into"

    monkeypatch.setattr(gate, "diagnose", counting)
    ticks = Clock()
    made = make_gate(clock)
    made._budget = LogBudget(clock=ticks)
    said = [(await refusal(made, forged(clock))).diagnosis for _ in range(BUDGET + 5)]
    assert asked == BUDGET
    assert said[:BUDGET] == ["looked into"] * BUDGET
    assert set(said[BUDGET:]) == {"no signature matches (not looked into: too many refusals in this minute)"}
    ticks.advance(60)
    assert (await refusal(made, forged(clock))).diagnosis == "looked into"


async def test_what_cannot_be_taken_is_within_the_same_budget(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Also a lookup that fails cannot fill the log, however often a stranger asks."""
    made = make_gate(clock)
    for _ in range(BUDGET + 40):
        made.report_unavailable(SecretLookupFailed("the vault is sealed"))
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert caplog.messages == ["receiver orders asks the sender to come again: the vault is sealed"] * BUDGET


async def test_an_observer_that_raises_changes_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The refusal is logged and raised all the same."""
    error = await refusal(make_gate(clock, observer=Broken()), forged(clock))
    assert error.status == 401
    assert caplog.messages[0] == "the observer's refused raised"
    assert caplog.messages[1].startswith("receiver orders refused a request with 401: no secret of ours signed this")


REFUSED_REQUESTS = {
    "forged": lambda at: sign(BODY, at=at, secret=OTHER_SECRET),
    "other body": lambda at: sign(b"{}", at=at),
    "re-encoded": lambda at: sign(BODY.replace(b":", b": "), at=at),
    "not decoded": lambda at: sign(
        BODY, at=at, secret="whsec_" + base64.b64encode(SECRET.removeprefix("whsec_").encode()).decode()
    ),
    "stale": lambda at: sign(BODY, at=at - 1000),
    "wrong version": lambda at: sign(BODY, at=at) | {"svix-signature": "v9,AAAA"},
    "malformed": lambda at: sign(BODY, at=at) | {"svix-timestamp": "soon"},
    "mixed": lambda at: sign(BODY, at=at) | sign(BODY, at=at, family="webhook"),
    "none": lambda at: {},
}


@pytest.mark.parametrize("make", REFUSED_REQUESTS.values(), ids=REFUSED_REQUESTS)
@pytest.mark.parametrize("observer", [None, Broken()], ids=["alone", "observed"])
async def test_nothing_of_body_or_secret_is_logged(
    make: Any, observer: Observer | None, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong: no body, secret or signature in any log line of the whole receiver, nor in the answer."""
    caplog.set_level(logging.DEBUG)
    headers = make(clock())
    receiver = Receiver(secrets=SECRET, retired_secrets=[OTHER_SECRET], observer=observer, clock=clock)
    reply = await receiver.handle(headers, BODY)
    assert reply.status in {400, 401}
    written = caplog.text + reply.body.decode() + repr(reply.headers)
    assert caplog.messages
    private = [MARKER, "sync.completed", SECRET[6:], OTHER_SECRET[6:], headers.get("svix-signature", "v1,nothing")[3:]]
    assert not [text for text in private if len(text) > 4 and text in written]


async def test_the_sender_is_not_told_why(clock: Clock) -> None:
    """All signature failures get the same answer: the diagnosis is for the operator."""
    receiver = Receiver(secrets=SECRET, retired_secrets=[OTHER_SECRET], clock=clock)
    replies = {
        await receiver.handle(headers, BODY)
        for headers in (
            forged(clock),
            sign(b"{}", at=clock()),
            sign(BODY, at=clock() - 1000),
            sign(BODY, at=clock()) | {"svix-signature": "v1,"},
        )
    }
    assert [(reply.status, reply.body) for reply in replies] == [(401, b'{"status":"unauthorized"}')]
