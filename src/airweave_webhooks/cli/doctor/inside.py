"""The checks of a receiver, from inside of its program. Nothing is served, and no delivery is made."""

from collections.abc import Sequence
from typing import Final

from airweave_webhooks.cli.doctor import handling, limits, secrecy, storing
from airweave_webhooks.cli.doctor.findings import Check
from airweave_webhooks.cli.doctor.program import Program

_SECRET: Final = "Secret"  # noqa: S105 - a heading
_STORE: Final = "Store"
_HANDLERS: Final = "Handlers"
_LIMITS: Final = "Limits"

CHECKS: Final[Sequence[Check[Program]]] = (
    Check(_SECRET, "secret", secrecy.secrets),
    Check(_STORE, "store", storing.reachable),
    Check(_STORE, "keeps", storing.says, after=("store",)),
    Check(_STORE, "durable", storing.durable),
    Check(_STORE, "shared", storing.shared),
    Check(_STORE, "worker", storing.worker, after=("store",)),
    Check(_STORE, "health", storing.health, after=("store",)),
    Check(_HANDLERS, "opens", handling.opens),
    Check(_HANDLERS, "handlers", handling.handlers, after=("opens",)),
    Check(_HANDLERS, "unhandled", handling.unhandled, after=("opens",)),
    Check(_HANDLERS, "never", handling.never, after=("opens",)),
    Check(_HANDLERS, "options", handling.options, after=("opens",)),
    Check(_HANDLERS, "threads", handling.threads, after=("opens",)),
    Check(_LIMITS, "limits", limits.limits),
)
