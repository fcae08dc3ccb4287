"""`Receiver`, what users configure, decorate and mount."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final, Self

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airweave_webhooks import asgi, openings
from airweave_webhooks.bodies import BodyLimits
from airweave_webhooks.delivery import FAILED, Delivery, Reply
from airweave_webhooks.errors import (
    BodyTooLarge,
    ConfigurationError,
    Refused,
    SecretLookupFailed,
    Unavailable,
)
from airweave_webhooks.events import UnknownEvent, parse
from airweave_webhooks.gate import Gate
from airweave_webhooks.health import Health, health_of
from airweave_webhooks.housekeeping import SHORTEST_RETENTION_DAYS
from airweave_webhooks.keyring import Keyring, Secrets, SecretValue
from airweave_webhooks.modes import Inline, Mode, inbox_like
from airweave_webhooks.operations import Deliveries
from airweave_webhooks.pipeline import Admission, Pipeline, unavailable
from airweave_webhooks.routing import Router
from airweave_webhooks.signing import Headers, RawHeaders, raw_headers
from airweave_webhooks.stores import Store, store_from_url
from airweave_webhooks.telemetry import Observer, Observers, logger, tell

DAY: Final = 86_400.0


class Receiver(Router):
    """Receives Airweave's webhooks: verified, parsed, deduplicated, given to the handlers registered with `on()`.

    It is an ASGI application, and can be mounted as a whole (`app.mount`), as a route (`route()`), or by an
    integration. Without any framework, `await receiver.handle(headers, body)` is all of it.

    Args:
        name: part of every record's key, so that receivers can share a store. Changing it forgets what was done.
        secrets: `whsec_…` or `whpk_…`; a list of them during a rotation; or a sync or async callable, cached for a
            minute, that returns either. A callable with a parameter gets the tenant (the path's `{tenant}`) and
            returns None for an unknown one. Without it `AIRWEAVE_WEBHOOK_SECRET` is read when the receiver opens.
        retired_secrets: secrets from before a rotation. They verify nothing; the log says when one is still used.
        store: where deliveries are remembered: a URL (`memory:`, `sqlite:///path`) or a `Store`.
        mode: when a delivery is acknowledged.
        key: what a delivery is deduplicated by, instead of its message id; see `natural_key`.
        tolerance: seconds that a signature's timestamp may lie in the past or in the future.
        retention_days: days for which finished deliveries are remembered, at least 16.
        body_limits: bounds on what strangers may send.
        observer: is told what happens.
        clock: seconds since the epoch, for the tolerance.

    Raises:
        ConfigurationError: an argument cannot work; the message says which and why.
    """

    def __init__(
        self,
        *,
        name: str = "default",
        secrets: Secrets | None = None,
        retired_secrets: SecretValue = (),
        store: str | Store = "memory:",
        mode: Mode | None = None,
        key: Callable[[Delivery], str] | None = None,
        tolerance: float = 300.0,
        retention_days: float = 30,
        body_limits: BodyLimits | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        if not name or len(name) > 100 or not name.isprintable():
            raise ConfigurationError(f"Receiver(name={name!r}): takes 1 to 100 printable characters")
        if not tolerance > 0:
            raise ConfigurationError(f"Receiver(tolerance={tolerance!r}): takes a positive number of seconds")
        if retention_days < SHORTEST_RETENTION_DAYS:
            raise ConfigurationError(
                f"Receiver(retention_days={retention_days!r}): the sender can replay what is 14 days old, so records"
                f" are kept for at least {SHORTEST_RETENTION_DAYS} days"
            )
        self.name = name
        self.store: Store = store_from_url(store) if isinstance(store, str) else store
        self.mode: Mode = mode or Inline()
        self._key = key
        self._retention = retention_days * DAY
        self._limits = body_limits or BodyLimits()
        self._observer = observer
        self._tolerance = tolerance
        self._clock: Callable[[], float] = clock
        self._keyring = Keyring(secrets, retired_secrets)
        self._gate: Gate = self._make_gate()
        self._pipelines: dict[asyncio.AbstractEventLoop, Pipeline] = {}
        self._references: dict[Pipeline, int] = {}
        self._inherited: object = None

    def __repr__(self) -> str:
        return f"<Receiver {self.name!r} on {self.store!r}>"

    @property
    def is_open(self) -> bool:
        """Whether it is open on any event loop of this process."""
        return any(not loop.is_closed() for loop in self._pipelines)

    @property
    def keyring(self) -> Keyring:
        """Whose keys verify a request."""
        return self._keyring

    @property
    def tolerance(self) -> float:
        """Seconds that a signature's timestamp may lie in the past or in the future."""
        return self._tolerance

    @property
    def retention(self) -> float:
        """Seconds for which finished deliveries are remembered."""
        return self._retention

    @property
    def body_limits(self) -> BodyLimits:
        """Bounds on what strangers may send."""
        return self._limits

    @property
    def deliveries(self) -> Deliveries:
        """What operators do with the deliveries in the store: search, replay, purge, count.

        Raises:
            ConfigurationError: the store does not hold deliveries.
        """
        return Deliveries(self.store, self.name)

    def _make_gate(self) -> Gate:
        return Gate(
            self._keyring, tolerance=self._tolerance, clock=self._clock, observer=self._observer, name=self.name
        )

    @contextlib.contextmanager
    def overridden(
        self,
        *,
        secrets: SecretValue | None = None,
        store: Store | None = None,
        mode: Mode | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Generator[None]:
        """Replace parts inside a `with` block, on a receiver that is closed: for tests, and to serve it locally.

        Args:
            secrets: instead of its own; of a receiver that serves tenants, those of every tenant.
            store: instead of its own.
            mode: instead of its own.
            observer: is told besides its own.
            clock: instead of its own.

        Raises:
            ConfigurationError: it is open.
            SecretError: a secret cannot be used.
        """
        if self.is_open:
            raise ConfigurationError(f"{self!r} is open: its parts can be replaced only before it is opened")
        before = (self.store, self.mode, self._observer, self._clock, self._keyring, self._gate)
        if secrets is not None:
            fixed = secrets
            self._keyring = Keyring((lambda _tenant: fixed) if self._keyring.serves_tenants else fixed)
        self.store = store or self.store
        self.mode = mode or self.mode
        self._clock = clock or self._clock
        if observer is not None:
            self._observer = observer if self._observer is None else Observers(self._observer, observer)
        self._gate = self._make_gate()
        try:
            yield
        finally:
            self.store, self.mode, self._observer, self._clock, self._keyring, self._gate = before

    async def handle(self, headers: Headers, body: bytes, tenant: str | None = None) -> Reply:
        """Receive one request: the whole receiver, without any framework.

        Args:
            headers: all of the request's, as a mapping or as pairs (which show repeated ones).
            body: the raw bytes, untouched by any middleware.
            tenant: whose secrets to verify with, on a receiver that serves tenants.

        Returns:
            The answer; requests that are refused, and handlers that fail, get one too.
        """
        if not isinstance(body, bytes):
            raise TypeError(f"handle() needs the raw bytes of the body, not {type(body).__name__}")
        try:
            admission = self.admit(raw_headers(headers))
            if len(body) > self._limits.most_bytes:
                raise BodyTooLarge(f"the body has {len(body)} bytes, {self._limits.most_bytes} are allowed")
        except (Refused, Unavailable) as error:
            return self.refuse(error)
        return await self.receive(admission, body, tenant)

    def admit(self, headers: RawHeaders) -> Admission:
        """Check the headers before the body is read: the first half of `handle`, for integrations.

        Raises:
            Refused: they are malformed, stale or from the future.
            Unavailable: nothing can be verified, because no secret is configured.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        envelope = self._gate.admit(headers)
        try:
            pipeline = self._pipelines.get(loop) or self._make_pipeline(loop)
        except ConfigurationError as error:
            raise SecretLookupFailed(str(error)) from error
        return Admission(envelope, headers, pipeline, started)

    def check_headers(self, headers: RawHeaders) -> None:
        """Check what `admit` checks again: for integrations that read the body where no event loop is.

        Raises:
            Refused: they are malformed, stale or from the future.
        """
        self._gate.admit(headers)

    def refuse(self, error: Refused | Unavailable | ConfigurationError, admission: Admission | None = None) -> Reply:
        """Tell the log and the observer why a request is not processed, and make its answer, which does not say."""
        if not isinstance(error, Refused):
            self._gate.report_unavailable(error)
            return unavailable(error)
        self._gate.report(error, admission.envelope.id if admission else None)
        return Reply(error.status, error.outcome)

    async def verify(self, admission: Admission, body: bytes, tenant: str | None = None) -> Delivery:
        """Verify and parse a request whose headers were admitted, and nothing more: for integrations.

        Args:
            admission: from `admit`.
            body: the raw bytes.
            tenant: as for `handle`.

        Raises:
            Refused: nothing of ours signed it, the tenant is unknown, or it is no JSON object.
            Unavailable: the lookup of the secrets failed.
        """
        checking = self._gate.verify(admission.envelope, body, tenant)
        if checking is not None:
            await checking
        return self._parsed(admission, body, tenant)

    def _parsed(self, admission: Admission, body: bytes, tenant: str | None) -> Delivery:
        envelope, headers, _, _ = admission
        return Delivery(envelope.id, envelope.timestamp, tenant, headers, body, parse(body), self.name, envelope.id)

    async def receive(self, admission: Admission, body: bytes, tenant: str | None = None) -> Reply:
        """Verify and process a request whose headers were admitted: the second half of `handle`.

        Args:
            admission: from `admit`.
            body: the raw bytes.
            tenant: as for `handle`.
        """
        envelope, _, pipeline, started = admission
        try:
            checking = self._gate.verify(envelope, body, tenant)
            if checking is not None:  # not by `verify`: a coroutine less for each request
                await checking
            delivery = self._parsed(admission, body, tenant)
        except (Refused, Unavailable) as error:
            return self.refuse(error, admission)
        observed = None if self._observer is None else delivery
        try:
            if self._key is not None:
                delivery.key = self._key(delivery)
            answer = pipeline.process(delivery, self.table.match(delivery.event), started)
            del delivery  # whoever works on it has it
            reply = await answer
        except (Unavailable, ConfigurationError) as error:
            reply = self.refuse(error)
        except Exception:
            logger.exception("delivery %s failed before it was claimed", envelope.id)
            reply = FAILED
        if self._observer is not None and observed is not None:
            if isinstance(observed.event, UnknownEvent):
                tell(self._observer.drifted, observed)
            tell(self._observer.replied, observed, reply, pipeline.loop.time() - started)
        return reply

    def _make_pipeline(self, loop: asyncio.AbstractEventLoop) -> Pipeline:
        self._keyring.open()
        for other in [other for other in self._pipelines if other.is_closed()]:
            self._references.pop(self._pipelines.pop(other), None)
        openings.refuse_a_twin(self)
        pipeline = Pipeline(
            name=self.name,
            store=self.store,
            mode=self.mode,
            retention=self._retention,
            limits=self._limits,
            observer=self._observer,
            table=lambda: self.table,
        )
        self._pipelines[loop] = pipeline
        openings.note(self)
        return pipeline

    def forget_what_a_fork_inherited(self) -> None:
        """Be closed, in the child of a fork: what the parent opened is not ours to use, and not ours to destroy."""
        self._inherited = (self._pipelines, self._references)
        self._pipelines, self._references = {}, {}

    async def __aenter__(self) -> Self:
        """Open: check the handlers, read the secret, connect to the store. Entering twice counts references.

        Raises:
            ConfigurationError: something is missing or wrong; the message says what to do.
            StoreUnavailable: the store cannot be reached.
        """
        _ = self.table
        loop = asyncio.get_running_loop()
        pipeline = self._pipelines.get(loop) or self._make_pipeline(loop)
        self._references[pipeline] = self._references.get(pipeline, 0) + 1
        try:
            await pipeline.open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close, when everybody who opened has: finish what runs within the grace period."""
        pipeline = self._pipelines.get(asyncio.get_running_loop())
        if pipeline is None or pipeline not in self._references:
            return  # a fork that leaves its parent's block
        self._references[pipeline] -= 1
        if self._references[pipeline]:
            return
        await pipeline.close()
        del self._references[pipeline], self._pipelines[pipeline.loop]

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncGenerator[None]:
        """Open and close with the application: `FastAPI(lifespan=receiver.lifespan)`, likewise for Starlette."""
        async with self:
            yield

    async def work(self, *, concurrency: int | None = None, stop: asyncio.Event) -> None:
        """Work on what is pending until `stop` is set, in a process that does nothing else.

        Then handlers get the mode's `shutdown_grace` to finish; what can be given back is. On a receiver whose mode is
        `Inline()` it runs what an operator replayed.

        Args:
            concurrency: deliveries at once, if not as many as the mode says.
            stop: ends it.

        Raises:
            ConfigurationError: the store holds no inbox, or something is missing or wrong.
            StoreUnavailable: the store cannot be reached.
        """
        if self.is_open:
            raise ConfigurationError("work() opens the receiver itself, and this one is open: Inbox(worker=True) works")
        with self.overridden(mode=inbox_like(self.mode, concurrency)):
            async with self:
                await stop.wait()

    async def drain(self) -> None:
        """Work on what is due until nothing is: for tests, and for jobs that a scheduler starts. Opens what is closed.

        Raises:
            ConfigurationError: the store holds no inbox, or something is missing or wrong.
            StoreUnavailable: the store cannot be reached.
        """
        async with self:
            await self._pipelines[asyncio.get_running_loop()].drain()

    async def health(self) -> Health:
        """Say whether deliveries are worked on. Opens the store for the moment, if it is not open."""
        try:
            await self.store.open()
        except (Unavailable, ConfigurationError) as error:
            return Health(healthy=False, problems=(f"the store cannot be opened: {error}",))
        try:
            return await health_of(self.store, self.name, self.mode)
        finally:
            await self.store.close()

    def health_route(self, path: str) -> Route:
        """Make a Starlette route that answers with `health()` as JSON: 200, or 503 if it is not healthy.

        It shows numbers to whoever asks, and nothing of the events; it looks at the store once a second at most.
        """
        return asgi.health_route(self.health, path, f"airweave-webhooks-{self.name}-health")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application, alone or mounted."""
        await asgi.serve(self, scope, receive, send)

    def route(self, path: str) -> Route:
        """Make a Starlette route for `path`, with or without a trailing slash; `{tenant}` in it names the tenant.

        Raises:
            ConfigurationError: a tenant in the path, but the same secrets for all.
        """
        self.check_path(path)
        return asgi.route(self, path, f"airweave-webhooks-{self.name}")

    def check_path(self, path: str) -> None:
        """Refuse a path that cannot work with this receiver's secrets.

        Raises:
            ConfigurationError: a tenant in the path, but the same secrets for all.
        """
        if "{tenant" in path and not self._keyring.serves_tenants:
            raise ConfigurationError(
                f"{path} names a tenant, but the secrets are the same for all, so any tenant could sign for another:"
                " pass Receiver(secrets=lookup) with a callable that takes the tenant"
            )
