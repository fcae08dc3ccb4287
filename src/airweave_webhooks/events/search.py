"""Searches, step by step: `search.*`. Not in Airweave's documentation; some hold users' queries and content."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime

from airweave_webhooks.events.base import Event


class SearchEvent(Event):
    """A step of one search, `request_id`."""

    domain: ClassVar[str] = "search"

    timestamp: AwareDatetime
    request_id: str
    """The search: the same in all of its steps."""


class _OncePerRequest(SearchEvent):
    @property
    def natural_key(self) -> str:
        """`<event_type>:<request_id>`."""
        return self._key(self.request_id)


class _ManyPerRequest(SearchEvent):
    duration_ms: int | float
    """Milliseconds."""
    diagnostics: Any = None

    @property
    def natural_key(self) -> str:
        """`<event_type>:<request_id>:<timestamp>`: a search takes this step many times."""
        return self._key_at_time(self.request_id)


class SearchStarted(_OncePerRequest):
    """A search began; `query` is what the user asked."""

    event_type: Literal["search.started"]
    tier: str
    collection_readable_id: str
    query: str
    """What the user asked: it can be confidential."""
    plan: Any = None
    retrieval_strategy: Any = None
    thinking: Any = None
    filter: Any = None
    limit: int | None = None
    offset: int | None = None


class SearchCompleted(_OncePerRequest):
    """A search is done; `results` holds the full content that was found. Large, and sensitive."""

    event_type: Literal["search.completed"]
    tier: str
    plan: Any = None
    results: list[Any]
    """What was found, as a whole: large, and confidential."""
    duration_ms: int | float
    """Milliseconds."""
    diagnostics: Any = None
    billable: bool
    collection_id: UUID | None = None


class SearchFailed(_OncePerRequest):
    """A search failed; `message` says why."""

    event_type: Literal["search.failed"]
    tier: str
    plan: Any = None
    message: str
    """Why it failed."""
    duration_ms: int | float
    """Milliseconds."""
    diagnostics: Any = None


class SearchReranking(_ManyPerRequest):
    """Results were put in order."""

    event_type: Literal["search.reranking"]


class SearchThinking(_ManyPerRequest):
    """The agent took a step of reasoning."""

    event_type: Literal["search.thinking"]
    thinking: Any = None
    text: Any = None


class SearchToolCalled(_ManyPerRequest):
    """The agent called a tool."""

    event_type: Literal["search.tool_called"]
    tool_name: str
