"""A receiver's handlers, as `dev` shows them."""

from airweave_webhooks import Receiver, SyncEvent, UnknownEvent
from airweave_webhooks.cli.serve.handlers import by_event, example, summary


def test_a_summary() -> None:
    receiver = Receiver()

    @receiver.on("sync.*", id="all of a domain")
    def _(event: SyncEvent) -> None: ...

    @receiver.on("collection.created", "sync.failed", id="two")
    def _() -> None: ...

    @receiver.on("sync.completed", source_type=["github", "notion"], when=lambda event: True, id="some")
    def _() -> None: ...

    @receiver.on("*", id="all")
    def _() -> None: ...

    @receiver.on(UnknownEvent, id="unknown")
    def _() -> None: ...

    assert summary(receiver.table.handlers) == [
        ("sync.*", "all of a domain"),
        ("sync.failed, collection.created", "two"),
        ("sync.completed", "some (source_type=github|notion, when=…)"),
        ("*", "all"),
        ("types that are not known", "unknown"),
    ]
    found = by_event(receiver.table.handlers)
    assert [handler.id for handler in found["collection.created"]] == ["two", "all"]


def test_an_example() -> None:
    receiver = Receiver()
    assert example(receiver.table.handlers) == "sync.completed"

    @receiver.on("search.failed", "collection.deleted")
    def _() -> None: ...

    assert example(receiver.table.handlers) == "collection.deleted"
