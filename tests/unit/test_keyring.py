"""Whose keys verify: fixed ones, the environment's, and those that are looked up, cached and rotated."""

import asyncio
import base64
import contextlib
import functools
import itertools
import threading
from typing import Any

import pytest

from airweave_webhooks import keyring as module
from airweave_webhooks.errors import ConfigurationError, SecretError, SecretLookupFailed, Unauthorized
from airweave_webhooks.keyring import Keyring, Keys
from airweave_webhooks.signing import SigningSecret
from airweave_webhooks.testing import Clock

pytestmark = pytest.mark.anyio

A, B, C = ("whsec_" + base64.b64encode(letter * 24).decode() for letter in (b"a", b"b", b"c"))
VARIABLE = "AIRWEAVE_WEBHOOK_SECRET"


def texts(keys: Keys | None) -> list[str] | None:
    """The secrets that keys were made of."""
    if keys is None:
        return None
    secrets = [key for key in keys if isinstance(key, SigningSecret)]
    assert len(secrets) == len(keys)
    return ["whsec_" + base64.b64encode(secret.key).decode() for secret in secrets]


class Lookup:
    """An async lookup by tenant that answers what it is told to, and counts."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def ask(self, tenant: str) -> Any:
        self.calls.append(tenant)
        await self.go_on.wait()
        answer = self.answers.get(tenant)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("secrets", "expected"), [(A, [A]), ([A], [A]), ([B, A], [B, A]), ((A, B), [A, B]), (f" {A}\n", [A])]
)
async def test_fixed_secrets(secrets: Any, expected: list[str]) -> None:
    """A string or a list is parsed at once, in its order, and never looked up."""
    keyring = Keyring(secrets)
    keyring.open()
    assert texts(keyring.cached(None)) == expected
    assert texts(await keyring.keys(None)) == expected
    assert await keyring.keys_after_mismatch(None) is None
    assert not keyring.serves_tenants


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ("", "the secret is empty"),
        ([], "the list of secrets is empty"),
        ((), "the list of secrets is empty"),
        ([A, ""], "the secret is empty"),
        ([A, "plain"], "does not begin with 'whsec_'"),
        ([A, None], "not NoneType"),
        (A.encode(), "a secret is a string"),
        (5, "a secret is a string"),
    ],
)
def test_secrets_that_cannot_be_used(secrets: Any, message: str) -> None:
    """A secret that is given in the program is judged when the receiver is made, not when a request comes."""
    with pytest.raises(SecretError, match=message):
        Keyring(secrets)


def test_retired_secrets_that_cannot_be_used() -> None:
    """Likewise for retired ones."""
    with pytest.raises(SecretError, match="too weak"):
        Keyring(A, ["whsec_AAAA"])


@pytest.mark.parametrize("text", [f"{A} {B}", f"{A},{B}", f" {A} , {B}\n", f"{A}\n{B}\n", f"{A}\t{B}"])
async def test_several_secrets_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a rotation the variable holds several, separated by white space or commas."""
    keyring = Keyring(None)
    monkeypatch.setenv(VARIABLE, text)
    keyring.open()
    assert texts(keyring.cached(None)) == [A, B]
    assert texts(await keyring.keys(None)) == [A, B]


async def test_the_environment_is_read_once_and_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read at opening, not at import; reopening keeps what was read; secrets that are given win."""
    monkeypatch.setenv(VARIABLE, "unusable")
    for secrets in (A, lambda: A):
        keyring = Keyring(secrets)
        keyring.open()
        assert texts(await keyring.keys(None)) == [A]
    keyring = Keyring(None)
    monkeypatch.setenv(VARIABLE, A)
    keyring.open()
    monkeypatch.setenv(VARIABLE, B)
    keyring.open()
    assert texts(keyring.cached(None)) == [A]


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_no_secret_anywhere(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening without a secret says which variable to set, and what else would do."""
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigurationError, match=rf"set {VARIABLE} .* or pass Receiver\(secrets=…\)"):
        Keyring(None).open()


@pytest.mark.parametrize("text", ["whsec_AAAA", f"{A} plain", ","])
def test_an_unusable_secret_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad secret in the variable is an error, though others are good."""
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(SecretError):
        Keyring(None).open()


async def of_none() -> str:
    return A


async def of_tenant(tenant: str) -> list[str]:
    assert tenant == "acme"
    return [A, B]


def awaitable_of_tenant(tenant: str) -> Any:
    return of_tenant(tenant)


class CallableObject:
    async def __call__(self, tenant: str) -> list[str]:
        return await of_tenant(tenant)

    def method(self, tenant: str) -> list[str]:
        return {"acme": [A, B]}[tenant]


@pytest.mark.parametrize(
    ("lookup", "tenant", "expected"),
    [
        pytest.param(lambda: A, None, [A], id="sync"),
        pytest.param(lambda: [A, B], None, [A, B], id="sync, several"),
        pytest.param(of_none, None, [A], id="async"),
        pytest.param(lambda tenant: {"acme": [A, B]}[tenant], "acme", [A, B], id="sync of tenant"),
        pytest.param({"acme": [A, B]}.get, "acme", [A, B], id="a dictionary's get"),
        pytest.param(of_tenant, "acme", [A, B], id="async of tenant"),
        pytest.param(functools.partial(of_tenant), "acme", [A, B], id="partial"),
        pytest.param(functools.partial(of_tenant, "acme"), None, [A, B], id="partial with the tenant filled in"),
        pytest.param(awaitable_of_tenant, "acme", [A, B], id="sync that returns an awaitable"),
        pytest.param(CallableObject(), "acme", [A, B], id="object"),
        pytest.param(CallableObject().method, "acme", [A, B], id="method"),
    ],
)
async def test_every_form_of_lookup(lookup: Any, tenant: str | None, expected: list[str]) -> None:
    """Sync or async, with or without a tenant: the signature decides what it is called with."""
    keyring = Keyring(lookup)
    keyring.open()
    assert keyring.serves_tenants == (tenant is not None)
    assert keyring.cached(tenant) is None
    assert texts(await keyring.keys(tenant)) == expected
    assert texts(keyring.cached(tenant)) == expected


async def test_a_sync_lookup_does_not_block_the_loop() -> None:
    """It runs in a thread: it may ask a database."""
    threads: list[int] = []

    def lookup() -> str:
        threads.append(threading.get_ident())
        return A

    assert texts(await Keyring(lookup).keys(None)) == [A]
    assert threads != [threading.get_ident()]


async def test_a_looked_up_secret_is_believed_for_a_minute(clock: Clock) -> None:
    """Within 60 s nothing is looked up again; after that, what is new counts."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, clock=clock)
    await keyring.keys("acme")
    lookup.answers["acme"] = B
    clock.advance(59.9)
    assert texts(keyring.cached("acme")) == texts(await keyring.keys("acme")) == [A]
    clock.advance(0.1)
    assert keyring.cached("acme") is None
    assert texts(await keyring.keys("acme")) == texts(keyring.cached("acme")) == [B]
    assert lookup.calls == ["acme"] * 2


@pytest.mark.parametrize("nothing", [None, "", [], ()])
async def test_an_unknown_tenant_is_remembered_for_ten_seconds(nothing: Any, clock: Clock) -> None:
    """A stranger's made-up tenant is a 401 that costs one lookup in 10 s; a new tenant waits no longer than that."""
    lookup = Lookup(acme=nothing)
    keyring = Keyring(lookup.ask, clock=clock)
    for _ in range(3):
        with pytest.raises(Unauthorized, match="unknown tenant 'acme'") as caught:
            await keyring.keys("acme")
        assert caught.value.status == 401
        assert keyring.cached("acme") is None
        clock.advance(3)
    assert lookup.calls == ["acme"]
    lookup.answers["acme"] = A
    clock.advance(1)
    assert texts(await keyring.keys("acme")) == [A]


async def test_tenants_have_keys_of_their_own(clock: Clock) -> None:
    """One tenant's secret is never another's."""
    keyring = Keyring(Lookup(acme=A, zeta=B).ask, clock=clock)
    assert texts(await keyring.keys("acme")) == [A]
    assert texts(await keyring.keys("zeta")) == [B]
    assert (texts(keyring.cached("acme")), texts(keyring.cached("zeta"))) == ([A], [B])


@pytest.mark.parametrize("secrets", [A, [A, B], None, lambda: A])
async def test_a_tenant_where_the_secrets_are_the_same_for_all(secrets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with the remedy, and never served: any tenant could sign for another."""
    monkeypatch.setenv(VARIABLE, A)
    keyring = Keyring(secrets)
    keyring.open()
    assert keyring.cached("acme") is None
    with pytest.raises(SecretLookupFailed, match=r"Pass Receiver\(secrets=lookup\)"):
        await keyring.keys("acme")
    assert keyring.cached("acme") is None


async def test_a_lookup_that_fails(clock: Clock) -> None:
    """It is a 503 that names the tenant and the cause; what is not found out is not cached."""
    lookup = Lookup(acme=OSError("the vault is sealed"))
    keyring = Keyring(lookup.ask, clock=clock)
    with pytest.raises(SecretLookupFailed, match=r"'acme'.*the vault is sealed") as caught:
        await keyring.keys("acme")
    assert caught.value.status == 503
    assert isinstance(caught.value.__cause__, OSError)
    lookup.answers["acme"] = A
    assert texts(await keyring.keys("acme")) == [A]


@pytest.mark.parametrize("answer", [5, True, b"whsec_", [A, None], [A, "plain"], "whsec_AAAA", object()])
async def test_a_lookup_that_returns_what_is_no_secret(answer: Any) -> None:
    """It is a failed lookup, not an unknown tenant and not a crash; the secret is not quoted."""
    with pytest.raises(SecretLookupFailed) as caught:
        await Keyring(Lookup(acme=answer).ask).keys("acme")
    assert A.removeprefix("whsec_") not in str(caught.value)


async def test_a_burst_looks_up_once() -> None:
    """All who ask while a lookup is under way share it; each tenant has its own."""
    lookup = Lookup(acme=A, zeta=B)
    lookup.go_on.clear()
    keyring = Keyring(lookup.ask)
    asking = [asyncio.ensure_future(keyring.keys(tenant)) for tenant in ("acme", "zeta") * 25]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    lookup.go_on.set()
    assert [texts(keys) for keys in await asyncio.gather(*asking)] == [[A], [B]] * 25
    assert sorted(lookup.calls) == ["acme", "zeta"]


async def test_a_burst_shares_a_failure() -> None:
    """Everybody is told, and the next one looks again."""
    lookup = Lookup(acme=OSError("down"))
    lookup.go_on.clear()
    keyring = Keyring(lookup.ask)
    asking = [asyncio.ensure_future(keyring.keys("acme")) for _ in range(5)]
    await asyncio.sleep(0)
    lookup.go_on.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in told] == [SecretLookupFailed] * 5
    assert lookup.calls == ["acme"]
    lookup.answers["acme"] = A
    assert texts(await keyring.keys("acme")) == [A]


@pytest.mark.parametrize("answer", [A, OSError("down")])
async def test_a_caller_that_goes_away_ends_nobody_elses_lookup(answer: Any) -> None:
    """The first one to ask hangs up: the others still get the answer. If all do, the lookup ends all the same."""
    lookup = Lookup(acme=answer)
    lookup.go_on.clear()
    keyring = Keyring(lookup.ask)
    first, second = (asyncio.ensure_future(keyring.keys("acme")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    if isinstance(answer, Exception):
        second.cancel()
    await asyncio.sleep(0)
    lookup.go_on.set()
    told = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    if isinstance(answer, str):
        assert not isinstance(told[1], BaseException)
        assert texts(told[1]) == [A]
    while keyring._under_way:
        await asyncio.sleep(0)
    assert lookup.calls == ["acme"]


def test_a_lookup_under_way_on_another_loop_is_not_waited_for() -> None:
    """Two event loops that share a receiver do not touch each other's futures."""
    waiting: list[asyncio.Future[None]] = []

    async def lookup() -> str:
        if not waiting:
            waiting.append(asyncio.get_running_loop().create_future())
            await waiting[0]
        return A

    async def start() -> "asyncio.Task[Keys]":
        task = asyncio.create_task(keyring.keys(None))
        await asyncio.sleep(0.01)
        return task

    keyring = Keyring(lookup)
    with asyncio.Runner() as here, asyncio.Runner() as there:
        stuck = here.run(start())
        assert texts(there.run(asyncio.wait_for(keyring.keys(None), 5))) == [A]
        waiting[0].set_result(None)
        assert texts(here.run(asyncio.wait_for(stuck, 5))) == [A]


def test_a_loop_that_ends_during_a_lookup_leaves_nothing_behind() -> None:
    """The next event loop is not made to wait for a lookup that was cancelled with the last one."""
    calls = itertools.count()

    async def lookup() -> str:
        if next(calls) == 0:
            await asyncio.sleep(3600)
        return A

    async def ask_and_leave() -> None:
        asyncio.ensure_future(keyring.keys(None))  # noqa: RUF006
        await asyncio.sleep(0.01)

    keyring = Keyring(lookup)
    asyncio.run(ask_and_leave())
    assert keyring._under_way == {}
    assert texts(asyncio.run(keyring.keys(None))) == [A]


async def test_a_rotation_is_noticed_at_the_next_mismatch(clock: Clock) -> None:
    """Five seconds after a lookup, a signature that does not match is reason enough to look again."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, clock=clock)
    assert await keyring.keys_after_mismatch("acme") is None  # nothing was looked up: nothing can have changed
    await keyring.keys("acme")
    lookup.answers["acme"] = [B, A]
    clock.advance(4.9)
    assert await keyring.keys_after_mismatch("acme") is None
    clock.advance(0.1)
    assert texts(await keyring.keys_after_mismatch("acme")) == texts(keyring.cached("acme")) == [B, A]
    assert len(lookup.calls) == 2


async def test_a_burst_after_a_rotation_is_not_refused(clock: Clock) -> None:
    """All whose signature does not match while somebody already looks again wait for what is found."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, clock=clock)
    await keyring.keys("acme")
    lookup.answers["acme"] = B
    clock.advance(5)
    lookup.go_on.clear()
    asking = [asyncio.ensure_future(keyring.keys_after_mismatch("acme")) for _ in range(5)]
    await asyncio.sleep(0)
    lookup.go_on.set()
    assert [texts(keys) for keys in await asyncio.gather(*asking)] == [[B]] * 5
    assert len(lookup.calls) == 2


async def test_a_forger_cannot_make_us_look_more_often(clock: Clock) -> None:
    """A thousand mismatches in ten seconds cost two lookups."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, clock=clock)
    await keyring.keys("acme")
    for _ in range(1000):
        clock.advance(0.01)
        await keyring.keys_after_mismatch("acme")
    assert len(lookup.calls) <= 3


async def test_a_forger_cannot_make_us_look_more_often_while_the_lookup_fails(clock: Clock) -> None:
    """Also where the lookup fails, a thousand mismatches in ten seconds cost two lookups."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, clock=clock)
    await keyring.keys("acme")
    lookup.answers["acme"] = OSError("down")
    for _ in range(1000):
        clock.advance(0.01)
        with contextlib.suppress(SecretLookupFailed):
            await keyring.keys_after_mismatch("acme")
    assert len(lookup.calls) <= 3


async def test_a_tenant_that_is_gone_after_a_mismatch(clock: Clock) -> None:
    """A tenant whose secret was taken away has no newer keys, and is unknown from then on."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, clock=clock)
    await keyring.keys("acme")
    del lookup.answers["acme"]
    clock.advance(5)
    assert await keyring.keys_after_mismatch("acme") is None
    with pytest.raises(Unauthorized):
        await keyring.keys("acme")
    assert texts(keyring.retired("acme")) == [A]


@pytest.mark.parametrize("unknown", [True, False])
async def test_the_cache_is_bounded(unknown: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenants that strangers make up cannot fill the memory: the one looked up longest ago goes."""
    monkeypatch.setattr(module, "MOST_TENANTS", 3)
    lookup = Lookup(**({} if unknown else dict.fromkeys("abcde", A)))
    keyring = Keyring(lookup.ask, clock=clock)

    async def ask(tenants: str) -> None:
        for tenant in tenants:
            with contextlib.suppress(Unauthorized):
                await keyring.keys(tenant)

    await ask("abc" + "abc")
    assert lookup.calls == [*"abc"]
    clock.advance(60)
    await ask("a" + "de")  # looked up anew, `a` is the youngest; `b` and `c` go
    assert lookup.calls == [*"abc", *"ade"]
    await ask("ade" + "b")
    assert lookup.calls == [*"abc", *"ade", "b"]
    assert len(keyring._cache) == 3


async def test_retired_keys(clock: Clock) -> None:
    """The given ones, and what a rotation has just replaced: known for the diagnosis until the next rotation."""
    lookup = Lookup(acme=A)
    keyring = Keyring(lookup.ask, [C], clock)
    assert texts(keyring.retired("acme")) == [C]
    answers: list[tuple[Any, list[str]]] = [  # and what is known to be retired then
        (A, [C]),
        ([A, B], [C]),  # B is added: nothing is retired
        (B, [C, A]),
        (B, [C, A]),  # and stays known
        (C, [C, B]),
    ]
    for answer, known in answers:
        lookup.answers["acme"] = answer
        await keyring.keys("acme")
        clock.advance(60)
        assert texts(keyring.retired("acme")) == known
    assert texts(Keyring(A, [B, C]).retired(None)) == [B, C]
