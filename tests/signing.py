"""One receiver's secret, and a signer that is not ours. Processes of the tests' own import it: it needs little."""

import time
from datetime import UTC, datetime

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy"


def sign(
    body: bytes,
    *,
    message_id: str = "msg_1",
    secret: str = SECRET,
    at: float | None = None,
    family: str = "svix",
) -> dict[str, str]:
    """Signature headers, made by the `standardwebhooks` library."""
    timestamp = int(time.time() if at is None else at)
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body.decode())
    return {
        f"{family}-id": message_id,
        f"{family}-timestamp": str(timestamp),
        f"{family}-signature": signature,
        "content-type": "application/json",
    }
