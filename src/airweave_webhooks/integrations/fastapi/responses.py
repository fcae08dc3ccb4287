"""What a sender can get, as OpenAPI has it."""

from typing import Any, Final

from pydantic import BaseModel


class Answer(BaseModel):
    """What the sender gets."""

    status: str


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {
        "model": Answer,
        "description": "Malformed signature headers, or a signed body that is not a JSON object",
    },
    401: {"model": Answer, "description": "Not signed by Airweave, or too long ago"},
    408: {"model": Answer, "description": "The body came too slowly"},
    413: {"model": Answer, "description": "The body is too large"},
    503: {
        "model": Answer,
        "description": "Not now; come again after `Retry-After` seconds",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    },
}
"""For a route with `Depends(verified(receiver))`: `@app.post(path, responses=REFUSALS)`."""

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    **REFUSALS,
    409: {
        "model": Answer,
        "description": "Another attempt is in progress, or the message id came with another body",
    },
    500: {"model": Answer, "description": "A handler failed; come again"},
}
