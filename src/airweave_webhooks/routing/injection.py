"""Arguments by annotation: the event, the `Delivery`, and what `provide()` knows how to make."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from airweave_webhooks.delivery import Delivery
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.routing.parameters import Kind, Parameter, kind_of, read_parameters
from airweave_webhooks.routing.table import Call, RunInThread
from airweave_webhooks.threads import LeftRunning

Factory: TypeAlias = Callable[..., Any]
Values: TypeAlias = Mapping[str, Any]

_EVENT: Final = "event"
_DELIVERY: Final = "delivery"

# The event loop holds its tasks weakly.
_closing: Final[set[asyncio.Task[None]]] = set()


@dataclass(frozen=True, slots=True)
class Provider:
    """How to make one dependency."""

    factory: Factory
    parameters: tuple[Parameter, ...]
    kind: Kind

    @classmethod
    def of(cls, factory: Factory, what: str) -> "Provider":
        """Read a factory's parameters and how it wants to be called."""
        return cls(factory, read_parameters(factory, what), kind_of(factory))


class _Target:
    """A function and the slots that its parameters are filled from."""

    def __init__(self, function: Callable[..., Any], parameters: Iterable[Parameter], slots: Mapping[str, str]) -> None:
        filled = [parameter for parameter in parameters if parameter.name in slots]
        self._function = function
        self._positional = [slots[one.name] for one in filled if one.positional_only]
        self._keywords = [(one.name, slots[one.name]) for one in filled if not one.positional_only]
        self.needs = frozenset(slots.values())

    def __call__(self, values: Values) -> Any:
        return self._function(
            *[values[slot] for slot in self._positional],
            **{name: values[slot] for name, slot in self._keywords},
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """One dependency of one handler: where it goes, how it is made, and how it is called."""

    slot: str
    make: _Target
    kind: Kind


class _Plan:
    """Works out, once, in which order a handler's dependencies are made."""

    def __init__(self, providers: Mapping[Any, Provider], what: str) -> None:
        self._providers = providers
        self._what = what
        self._steps: dict[Any, _Step] = {}

    @property
    def steps(self) -> list[_Step]:
        """Every dependency, each after those that it needs itself."""
        return list(self._steps.values())

    def target(
        self, function: Callable[..., Any], parameters: Iterable[Parameter], path: tuple[Any, ...] = ()
    ) -> _Target:
        """Bind a function's parameters to slots, adding the steps that fill them."""
        slots: dict[str, str] = {}
        parameters = tuple(parameters)
        for parameter in parameters:
            if parameter.annotation is Delivery:
                slots[parameter.name] = _DELIVERY
            elif parameter.is_event:
                slots[parameter.name] = _EVENT
            elif parameter.annotation in self._providers:
                slots[parameter.name] = self._slot(parameter.annotation, path)
            elif not parameter.optional:
                kind = _spell(parameter.annotation)
                raise RoutingError(
                    f"{self._what}: nothing provides the parameter {parameter.name!r} of type {kind};"
                    f" register how to make one with provide({kind}, factory)"
                )
        return _Target(function, parameters, slots)

    def _slot(self, annotation: Any, path: tuple[Any, ...]) -> str:
        if annotation in path:
            circle = " -> ".join(_spell(link) for link in (*path, annotation))
            raise RoutingError(f"{self._what}: its dependencies form a circle: {circle}")
        step = self._steps.get(annotation)
        if step is None:
            provider = self._providers[annotation]
            make = self.target(provider.factory, provider.parameters, (*path, annotation))
            step = self._steps[annotation] = _Step(f"dependency {len(self._steps)}", make, provider.kind)
        return step.slot


def compile_call(
    function: Callable[..., Any],
    parameters: Sequence[Parameter],
    providers: Mapping[Any, Provider],
    what: str,
) -> Call:
    """Build the one coroutine function that runs a handler with its arguments.

    A sync factory runs where its handler runs: in the thread of a sync handler, on the event loop for an async one.

    Raises:
        RoutingError: a parameter that nothing fills, or dependencies in a circle.
    """
    plan = _Plan(providers, what)
    invoke = plan.target(function, parameters)
    if kind_of(function) == "async":
        if not plan.steps and len(parameters) == 1 and parameters[0].is_event:
            return _call_with_event(function, parameters[0])
        return _call_on_loop(invoke, plan.steps)
    on_loop = _needed_on_loop(plan.steps)
    return _call_in_thread(
        invoke,
        [step for step in plan.steps if step.slot in on_loop],
        [step for step in plan.steps if step.slot not in on_loop],
    )


def _needed_on_loop(steps: Sequence[_Step]) -> set[str]:
    """The slots of async factories, and of all that those need."""
    needed: set[str] = set()
    for step in reversed(steps):  # whoever needs a step comes after it
        if step.kind.startswith("async") or step.slot in needed:
            needed |= {step.slot, *step.make.needs}
    return needed


def _call_with_event(function: Callable[..., Any], parameter: Parameter) -> Call:
    """Serve the common case without a detour: an async handler that takes the event alone."""
    if parameter.positional:
        return lambda delivery, _: function(delivery.event)
    return lambda delivery, _: function(**{parameter.name: delivery.event})


def _call_on_loop(invoke: _Target, steps: Sequence[_Step]) -> Call:
    async def call(delivery: Delivery, _: RunInThread) -> object:
        values: dict[str, Any] = {_DELIVERY: delivery, _EVENT: delivery.event}
        failure: BaseException | None = None
        async with contextlib.AsyncExitStack() as stack:
            for step in steps:
                values[step.slot] = await _enter(stack, step, values)
            try:
                return await invoke(values)
            except BaseException as error:
                failure = error
                raise
        # A dependency may see the handler's error, roll back, and even swallow it: it stays a failure all the same.
        raise failure

    return call


def _call_in_thread(invoke: _Target, on_loop: Sequence[_Step], in_thread: Sequence[_Step]) -> Call:
    async def call(delivery: Delivery, run_in_thread: RunInThread) -> object:
        values: dict[str, Any] = {_DELIVERY: delivery, _EVENT: delivery.event}
        failure: BaseException | None = None
        loop = asyncio.get_running_loop()

        def work() -> Any:
            failure: BaseException | None = None
            with contextlib.ExitStack() as stack:
                for step in in_thread:
                    made = step.make(values)
                    generates = step.kind == "sync generator"
                    values[step.slot] = stack.enter_context(_context(made)) if generates else made
                try:
                    result = invoke(values)
                    if inspect.isawaitable(result):
                        # A plain function that hands back a coroutine (a lambda, a decorator's wrapper) means it to
                        # be run; on the loop, while this thread keeps the dependencies.
                        result = asyncio.run_coroutine_threadsafe(_await(result), loop).result()
                except BaseException as error:
                    failure = error
                    raise
                return result
            raise failure

        async with contextlib.AsyncExitStack() as stack:
            for step in on_loop:
                values[step.slot] = await _enter(stack, step, values)
            try:
                return await run_in_thread(work)
            except LeftRunning as left:
                _close_later(stack.pop_all(), left)
                raise
            except BaseException as error:
                failure = error
                raise
        raise failure

    return call


async def _await(result: Awaitable[Any]) -> Any:
    return await result


def _close_later(stack: contextlib.AsyncExitStack, left: LeftRunning) -> None:
    """End a thread's dependencies when the thread ends, and not under its hands."""

    async def close() -> None:
        await left.ended.wait()
        await stack.aclose()

    task = asyncio.get_running_loop().create_task(close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _enter(stack: contextlib.AsyncExitStack, step: _Step, values: Values) -> Any:
    made = step.make(values)
    match step.kind:
        case "async":
            return await made
        case "async generator":
            return await stack.enter_async_context(_async_context(made))
        case "sync generator":
            return stack.enter_context(_context(made))
        case _:
            return made


def _async_context(generator: AsyncGenerator[Any]) -> contextlib.AbstractAsyncContextManager[Any]:
    return contextlib.asynccontextmanager(lambda: generator)()


def _context(generator: Generator[Any]) -> contextlib.AbstractContextManager[Any]:
    return contextlib.contextmanager(lambda: generator)()


def _spell(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
