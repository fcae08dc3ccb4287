"""The options of `on()`: what is refused where it is written, and what they mean for an event."""

from typing import Any

import pytest

from airweave_webhooks import Router, SyncCompleted, SyncRunning
from airweave_webhooks.errors import RoutingError
from airweave_webhooks.events import parse
from airweave_webhooks.routing.options import HandlerOptions
from inboxes import body


def handler() -> None: ...


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        ("sync.*", {"timeout": 0}, r"timeout=0\): takes a positive number of seconds"),
        ("sync.*", {"timeout": float("inf")}, "takes a positive number of seconds"),
        ("sync.*", {"timeout": "5"}, "takes a positive number of seconds"),
        ("sync.*", {"max_attempts": 0}, "takes a whole number from 1"),
        ("sync.*", {"max_attempts": True}, "takes a whole number from 1"),
        ("sync.*", {"concurrency": 1.5}, "takes a whole number from 1"),
        ("sync.*", {"order_by": "sync_jobid"}, "did you mean 'sync_job_id'"),
        ("sync.*", {"order_by": "error"}, "no field to order by"),
        ("collection.*", {"order_by": "sync_job_id"}, "CollectionCreated, CollectionDeleted, CollectionUpdated has no"),
        ("*", {"order_by": "organization_id", "stale": "keep"}, "takes 'run' or 'drop'"),
        ("sync.*", {"stale": "drop"}, "needs order_by"),
        ("sync.*", {"timout": 5}, "no such filter"),
    ],
)
def test_options_that_cannot_work(events: Any, options: dict[str, Any], message: str) -> None:
    """At import, with the nearest that could."""
    with pytest.raises(RoutingError, match=message):
        Router().on(events, **options)(handler)


def test_options_stand_beside_filters() -> None:
    """And reach the handler."""
    router = Router()
    router.on(
        "sync.*",
        source_type="github",
        timeout=5,
        max_attempts=2,
        concurrency=3,
        order_by="sync_job_id",
        stale="drop",
    )(handler)
    (found,) = router.table.handlers
    assert found.options == HandlerOptions(5, 2, 3, "sync_job_id", "drop")
    assert found.filters == (("source_type", ("github",)),)


def test_handlers_of_one_event_agree_on_its_order() -> None:
    """It waits in one line; which one, two handlers cannot both say."""
    router = Router()
    router.on(SyncCompleted, order_by="sync_job_id", id="one")(handler)
    router.on(SyncRunning, order_by="collection_id", id="two")(handler)
    assert len(router.table.handlers) == 2
    router.on("sync.*", order_by="collection_id", id="three")(handler)
    message = r"one \(order_by='sync_job_id'\) and three \(order_by='collection_id'\)"
    with pytest.raises(RoutingError, match=message):
        _ = router.table


def test_the_order_of_an_event() -> None:
    """The field and its value; that of the handlers that match, and none if the event lacks it."""
    router = Router()
    router.on("sync.*", order_by="sync_job_id", source_type="github", id="ordered")(handler)
    router.on("sync.*", id="unordered")(handler)
    event = parse(body(source_type="github"))
    assert router.table.match(event).order(event) == f"sync_job_id={event.sync_job_id}"  # type: ignore[union-attr]
    event = parse(body(source_type="notion"))
    assert router.table.match(event).order(event) == ""


def test_the_limited_handlers_of_a_type() -> None:
    """What a worker asks before it takes more of it."""
    router = Router()
    router.on("sync.completed", concurrency=1, id="limited")(handler)
    router.on("sync.*", id="free")(handler)
    assert {name: [one.id for one in many] for name, many in router.table.limited.items()} == {
        "sync.completed": ["limited"]
    }
