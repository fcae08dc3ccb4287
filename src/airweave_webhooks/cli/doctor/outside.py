"""The checks of an endpoint, from outside."""

import statistics
from collections.abc import Sequence
from typing import Final

from airweave_webhooks.cli.doctor import accepting, reaching, refusing, repeating
from airweave_webhooks.cli.doctor.endpoint import Endpoint
from airweave_webhooks.cli.doctor.findings import Check, Verdict, ok, problem, skipped, warning

USUAL_TOLERANCE: Final = 300.0
"""Seconds."""
NOTICEABLE: Final = 30.0
"""Seconds."""


async def clock(endpoint: Endpoint) -> Verdict:
    """How far its clock, by the `Date` header, is from ours."""
    if not endpoint.samples:
        return skipped(
            "its answers have no Date header, so its clock cannot be seen", "compare it with this machine's by hand"
        )
    ahead = statistics.median(sample.ahead for sample in endpoint.samples)
    uncertain = statistics.median(sample.uncertainty for sample in endpoint.samples)
    seen = (
        f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's, give or take"
        f" {uncertain:.1g} s"
    )
    remedy = "synchronise both clocks (NTP), the receiver's and this machine's: either may be wrong"
    if abs(ahead) - uncertain > USUAL_TOLERANCE:
        return problem(f"{seen}: beyond the {USUAL_TOLERANCE:g} s within which signatures are accepted", remedy)
    if abs(ahead) - uncertain > NOTICEABLE:
        return warning(seen, remedy)
    if abs(ahead) <= uncertain:
        return ok(f"its clock and this machine's agree to {uncertain:.1g} s, by {len(endpoint.samples)} answers")
    return ok(seen)


_REACHING: Final = "The way to it"
_WITHOUT: Final = "Without the secret"
_WITH: Final = "With the secret"
_REPEATING: Final = "What comes twice"
_TIME: Final = "Time"

CHECKS: Final[Sequence[Check[Endpoint]]] = (
    Check(_REACHING, "reachable", reaching.reachable),
    Check(_REACHING, "tls", reaching.tls, after=("reachable",)),
    Check(_REACHING, "probe", reaching.probe, after=("reachable",)),
    Check(_REACHING, "post", reaching.post, after=("reachable",)),
    Check(_REACHING, "slash", reaching.slash, after=("post",)),
    Check(_WITHOUT, "unsigned", refusing.unsigned, after=("post",)),
    Check(_WITHOUT, "wrong-secret", refusing.wrong_secret, after=("post",)),
    Check(_WITHOUT, "malformed", refusing.malformed, after=("post",)),
    Check(_WITHOUT, "size", refusing.size, after=("post",)),
    Check(_WITH, "secret", accepting.secret, after=("post",)),
    Check(_WITH, "accepted", accepting.accepted, after=("secret",)),
    Check(_WITH, "each-secret", accepting.each_secret, after=("accepted",)),
    Check(_WITH, "rotation", accepting.rotation, after=("accepted",)),
    Check(_WITH, "families", accepting.families, after=("accepted",)),
    Check(_WITH, "tampered", refusing.tampered, after=("accepted",)),
    Check(_WITH, "stale", refusing.stale, after=("accepted",)),
    Check(_WITH, "future", refusing.future, after=("accepted",)),
    Check(_REPEATING, "duplicate", repeating.again, after=("accepted",)),
    Check(_REPEATING, "concurrent", repeating.at_once, after=("accepted",)),
    Check(_REPEATING, "conflict", repeating.conflict, after=("accepted",)),
    Check(_TIME, "clock", clock, after=("post",)),
    Check(_TIME, "tolerance", accepting.window, after=("accepted",)),
    Check(_TIME, "latency", accepting.latency, after=("accepted",)),
)
