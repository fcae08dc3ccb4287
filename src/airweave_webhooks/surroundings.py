"""What an integration does around handlers, such as taking care of the database connections that they use."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol


class Surroundings(Protocol):
    """Something of a framework's that handlers rely on, whoever runs them: a request, or a worker."""

    def around_handlers(self) -> AbstractAsyncContextManager[None]:
        """Enter before the handlers of a delivery run, in their task and context; leave when they have returned."""
        ...

    def after_thread(self) -> None:
        """Be told, in the thread of a sync handler, that it has returned: the thread ends now."""
        ...


registered: Final[list[Surroundings]] = []
"""Of this process, in the order of entering."""
