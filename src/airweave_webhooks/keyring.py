"""Whose keys verify a request: the receiver's own, or a tenant's, looked up and cached."""

import asyncio
import inspect
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import anyio.to_thread

from airweave_webhooks.errors import ConfigurationError, SecretError, SecretLookupFailed, Unauthorized
from airweave_webhooks.signing import VerificationKey, parse_key

SecretValue: TypeAlias = str | Sequence[str]
Secrets: TypeAlias = (
    SecretValue
    | Callable[[], SecretValue | Awaitable[SecretValue]]
    | Callable[[Any], SecretValue | Awaitable[SecretValue | None] | None]
)
Keys: TypeAlias = tuple[VerificationKey, ...]

SECRET_VARIABLE: Final = "AIRWEAVE_WEBHOOK_SECRET"  # noqa: S105 - the name of one

# Seconds for which a looked-up secret, or the absence of one, is believed.
FRESH_FOR: Final = 60.0
UNKNOWN_FOR: Final = 10.0
# Seconds before a signature that does not match makes us look again: a rotation takes effect at once, and a forger
# cannot make us look more often than this.
SETTLED_AFTER: Final = 5.0
MOST_TENANTS: Final = 10_000


@dataclass(slots=True)
class _Entry:
    texts: tuple[str, ...]
    keys: Keys
    retired: Keys
    looked_up: float
    last_asked: float

    def is_fresh(self, now: float) -> bool:
        return now - self.looked_up < (FRESH_FOR if self.keys else UNKNOWN_FOR)


class Keyring:
    """The keys of one receiver.

    Args:
        secrets: a secret, a list of them (rotation: every one is tried), a callable that returns either, or None for
            the environment. A callable with a parameter gets the tenant, and returns None for an unknown one.
        retired: secrets from before a rotation, known only to say so in a diagnosis.
        clock: seconds, monotonic.

    Raises:
        SecretError: a secret that is given here and cannot be used.
    """

    def __init__(
        self,
        secrets: Secrets | None,
        retired: SecretValue = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._retired = tuple(map(parse_key, _texts(retired)))
        self._lookup: Callable[..., Any] | None = None
        self._by_tenant = False
        self._fixed: Keys = ()
        self._cache: OrderedDict[str | None, _Entry] = OrderedDict()
        self._under_way: dict[str | None, asyncio.Task[_Entry]] = {}
        if callable(secrets):
            self._lookup = secrets
            self._by_tenant = bool(inspect.signature(secrets).parameters)
        elif secrets is not None:
            self._fixed = _parse(secrets)

    @property
    def serves_tenants(self) -> bool:
        """Whether each tenant has secrets of its own."""
        return self._by_tenant

    def open(self) -> None:
        """Read the environment where no secrets were given.

        Raises:
            ConfigurationError: there is no secret.
            SecretError: it cannot be used.
        """
        if self._lookup is None and not self._fixed:
            text = os.environ.get(SECRET_VARIABLE, "")
            if not text.strip():
                raise ConfigurationError(
                    f"no webhook secret: set {SECRET_VARIABLE} (several, during a rotation, separated by spaces),"
                    " or pass Receiver(secrets=…)"
                )
            self._fixed = _parse(text.replace(",", " ").split())

    def cached(self, tenant: str | None) -> Keys | None:
        """The keys of `tenant` if they are known without a lookup."""
        if tenant is not None and not self._by_tenant:
            return None
        if self._lookup is None:
            return self._fixed
        entry = self._cache.get(tenant)
        return entry.keys if entry is not None and entry.keys and entry.is_fresh(self._clock()) else None

    async def keys(self, tenant: str | None) -> Keys:
        """The keys of `tenant`, looked up if need be.

        Raises:
            Unauthorized: an unknown tenant.
            SecretLookupFailed: the lookup raised, or returned what is no secret.
        """
        if tenant is not None and not self._by_tenant:
            raise SecretLookupFailed(
                "a request for a tenant, but the secrets are the same for all: any tenant could sign for another."
                " Pass Receiver(secrets=lookup) with a callable that takes the tenant"
            )
        if self._lookup is None:
            return self._fixed
        entry = self._cache.get(tenant)
        if entry is None or not entry.is_fresh(self._clock()):
            entry = await self._look_up(tenant)
        if not entry.keys:
            if not self._by_tenant:
                raise SecretLookupFailed("the callable that was passed as secrets returned none")
            raise Unauthorized(f"unknown tenant {_short(tenant)}")
        return entry.keys

    async def keys_after_mismatch(self, tenant: str | None) -> Keys | None:
        """The keys of `tenant` if a new lookup finds others: the secret may have been rotated a moment ago."""
        entry = self._cache.get(tenant)
        if self._lookup is None or entry is None:
            return None
        if tenant not in self._under_way:  # else: all who find a mismatch meanwhile wait for what is found
            now = self._clock()
            if now - entry.last_asked < SETTLED_AFTER:
                return None
            entry.last_asked = now
        return (await self._look_up(tenant)).keys or None

    def retired(self, tenant: str | None) -> Keys:
        """The keys that were in use before."""
        entry = self._cache.get(tenant)
        return self._retired if entry is None else self._retired + entry.retired

    async def _look_up(self, tenant: str | None) -> _Entry:
        """Look up once for all who ask at the same time; a caller that goes away ends nobody else's lookup."""
        task = self._under_way.get(tenant)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.create_task(self._fetch(tenant))
            self._under_way[tenant] = task
            task.add_done_callback(lambda done: self._fetched(tenant, done))
        return await asyncio.shield(task)

    def _fetched(self, tenant: str | None, task: "asyncio.Task[_Entry]") -> None:
        if self._under_way.get(tenant) is task:
            del self._under_way[tenant]
        if not task.cancelled():
            task.exception()  # seen, also when every caller has gone

    async def _fetch(self, tenant: str | None) -> _Entry:
        assert self._lookup is not None, "without a lookup the keys are fixed"  # noqa: S101
        arguments = (tenant,) if self._by_tenant else ()
        try:
            if inspect.iscoroutinefunction(self._lookup):
                found = await self._lookup(*arguments)
            else:
                found = await anyio.to_thread.run_sync(self._lookup, *arguments)
                if inspect.isawaitable(found):
                    found = await found
            texts = _texts(found) if found else ()
            keys = tuple(map(parse_key, texts))
        except Exception as error:
            raise SecretLookupFailed(
                f"the secrets of tenant {_short(tenant)} could not be looked up: {error!r}"
            ) from error
        now = self._clock()
        entry = _Entry(texts, keys, self._retired_by(texts, self._cache.get(tenant)), now, now)
        self._cache[tenant] = entry
        self._cache.move_to_end(tenant)
        if len(self._cache) > MOST_TENANTS:
            self._cache.popitem(last=False)
        return entry

    @staticmethod
    def _retired_by(texts: tuple[str, ...], before: _Entry | None) -> Keys:
        if before is None:
            return ()
        gone = tuple(key for text, key in zip(before.texts, before.keys, strict=True) if text not in texts)
        return gone or before.retired


def _parse(secrets: SecretValue) -> Keys:
    texts = _texts(secrets)
    if not texts:
        raise SecretError("the list of secrets is empty: pass at least one")
    return tuple(map(parse_key, texts))


def _texts(secrets: SecretValue) -> tuple[str, ...]:
    if isinstance(secrets, str):
        return (secrets,)
    try:
        return tuple(secrets)
    except TypeError:
        raise SecretError(f"a secret is a string, or a list of them, not {type(secrets).__name__}") from None


def _short(tenant: str | None) -> str:
    """What of a tenant's name, which strangers choose, is fit for a log."""
    return repr(tenant if tenant is None else tenant[:64])
