"""Whether it accepts what it must, with the secret that is known here."""

from typing import Final

from airweave_webhooks.cli.doctor.deliveries import EVENT_TYPE, harmless, signed, stranger
from airweave_webhooks.cli.doctor.endpoint import Answer, Endpoint
from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, skipped, warning
from airweave_webhooks.cli.doctor.refused import why_refused

SENDER_WAITS: Final = 15.0
"""Seconds until Svix gives up on an answer."""
SLOW: Final = 5.0
WINDOW: Final = 240
"""Seconds before and after now, within which a timestamp has to be taken: a minute less than the usual tolerance."""


async def secret(endpoint: Endpoint) -> Verdict:
    """Whether there is one to sign with."""
    if not endpoint.signers:
        return skipped(*endpoint.no_secret)
    number = f"{len(endpoint.signers)} secrets" if len(endpoint.signers) > 1 else "the secret"
    return ok(f"signing with {number} from {endpoint.source}")


async def accepted(endpoint: Endpoint) -> Verdict:
    """A delivery that is signed as the sender signs."""
    delivery = harmless()
    answer = endpoint.second = await endpoint.post(signed(delivery, endpoint.signers), delivery.body)
    if answer.accepted:
        who = {
            "ignored": "no handler wants it",
            "processed": 'handlers of "*" or UnknownEvent have run',
            "accepted": 'it is stored for handlers of "*" or UnknownEvent',
        }.get(answer.outcome, "what it did with it cannot be seen")
        return ok(f"a signed delivery of type {EVENT_TYPE} is accepted ({answer}): {who}")
    if answer.refused:
        return await why_refused(endpoint, answer)
    return problem(f"a signed delivery of type {EVENT_TYPE} got {answer}", _remedy(answer))


async def each_secret(endpoint: Endpoint) -> Verdict:
    """Whether each of several secrets is accepted on its own."""
    if len(endpoint.signers) == 1:
        return ok("there is one secret")
    refused: list[str] = []
    for place, signer in enumerate(endpoint.signers, 1):
        delivery = harmless()
        if not (await endpoint.post(signed(delivery, [signer]), delivery.body)).accepted:
            refused.append(str(place))
    if not refused:
        return ok(f"each of the {len(endpoint.signers)} secrets is accepted on its own")
    return warning(
        f"of the {len(endpoint.signers)} secrets it refuses number {' and '.join(refused)}",
        "give the receiver all secrets that are still in use, or forget here what is not",
    )


async def rotation(endpoint: Endpoint) -> Verdict:
    """Two signatures, as during a rotation; ours the first, and ours the last."""
    for what, signers in (
        ("the second", [stranger(), *endpoint.signers]),
        ("the first", [*endpoint.signers, stranger()]),
    ):
        delivery = harmless()
        answer = await endpoint.post(signed(delivery, signers), delivery.body)
        if not answer.accepted:
            return problem(
                f"of two signatures, as a rotation has them, {what} is right, and it got {answer}",
                "split the signature header at spaces, and accept if any of the signatures matches",
            )
    return ok("of two signatures, as a rotation has them, one that is right is enough, whichever")


async def families(endpoint: Endpoint) -> Verdict:
    """The other family of headers, which whitelabelled servers use."""
    delivery = harmless()
    answer = await endpoint.post(signed(delivery, endpoint.signers, family="webhook"), delivery.body)
    if answer.accepted:
        return ok("svix-* and webhook-* headers are both accepted")
    return warning(
        f"svix-* headers are accepted, webhook-* headers got {answer}",
        "read both families, each as one consistent set: self-hosted servers send webhook-*",
    )


async def window(endpoint: Endpoint) -> Verdict:
    """Timestamps within the usual tolerance."""
    refused: list[str] = []
    for what, later in (("ago", -WINDOW), ("ahead", WINDOW)):
        delivery = harmless()
        answer = await endpoint.post(signed(delivery, endpoint.signers, later=later), delivery.body)
        if not answer.accepted:
            refused.append(f"{WINDOW} s {what} got {answer}")
    if not refused:
        return ok(f"timestamps {WINDOW} s ago and {WINDOW} s ahead are accepted")
    return warning(
        f"signed {'; signed '.join(refused)}",
        "allow 300 s, and synchronise both clocks (NTP): one of them is off, or the tolerance is narrow",
    )


async def latency(endpoint: Endpoint) -> Verdict:
    """How long an answer takes, against what the sender waits."""
    seconds = endpoint.second.seconds
    seen = f"the answer to a signed delivery took {seconds:.2g} s; the sender waits {SENDER_WAITS:g} s"
    remedy = "acknowledge first and work later (mode=Inbox()), or make the handlers quicker"
    if seconds >= SENDER_WAITS:
        return problem(seen, remedy)
    return warning(seen, remedy) if seconds > SLOW else ok(seen)


def _remedy(answer: Answer) -> str:
    match answer.outcome:
        case "unavailable":
            return "see the receiver's log: its store is away, full or closed, or its secret cannot be looked up"
        case "failed" | "retry":
            return 'see the receiver\'s log: a handler of "*" or UnknownEvent fails for types that it does not know'
        case "still_running":
            return "make its handlers quicker, or use mode=Inbox()"
        case _ if not answer.status:
            return "see its log: it answers what it refuses, and gets stuck on what it accepts"
        case _ if answer.status >= 500:
            return "see its log: what is signed rightly makes it fail; types that it does not know are to be accepted"
        case _:
            return "let signed requests through to the receiver"
