"""When a delivery is acknowledged."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Inline:
    """Acknowledge when the handlers are done: the sender's retries are the queue. For quick handlers.

    Args:
        answer_within: seconds from the request's first header to an answer. Hosted Svix waits 15 s: a handler that
            takes longer goes on under its lease while the sender is told to come again, and the retry collects the
            result.
        lease: seconds for which a crashed process keeps others from its deliveries. Live ones are renewed.
        shutdown_grace: seconds that running handlers get to finish when the receiver closes.
        most_in_flight: deliveries that are worked on at once; more are asked to come again.
        most_threads: sync handlers that run at once; more wait.
    """

    answer_within: float = 12.0
    lease: float = 60.0
    shutdown_grace: float = 10.0
    most_in_flight: int = 256
    most_threads: int = 40

    def __post_init__(self) -> None:
        for name in ("answer_within", "lease", "most_in_flight", "most_threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Inline({name}=…) takes a positive number, not {getattr(self, name)!r}")
        if self.shutdown_grace < 0:
            raise ValueError("Inline(shutdown_grace=…) takes no negative number of seconds")
