"""A receiver as an AWS Lambda function, behind a function URL or an HTTP API: the handler is `lambda_app.handler`.

It needs DATABASE_URL=postgresql://… and AIRWEAVE_WEBHOOK_SECRET=whsec_…, and a time-out of 20 s or more: Lambda's own
is 3 s. The disk of a function, and its memory, are gone with the instance, so neither remembers what was done.
"""

import os

from mangum import Mangum

from airweave_webhooks import Inline, Receiver, SyncCompleted

receiver = Receiver(
    store=os.environ["DATABASE_URL"],
    # A function stands still when it has answered: what is not done by then is ended, and comes again.
    mode=Inline(answer_within=10, shutdown_grace=2),
)


@receiver.on("sync.completed")
async def refresh(event: SyncCompleted) -> None:
    print(f"refreshing the cache of {event.collection_readable_id}")


# Opens and closes the receiver with each invocation, so that nothing of it is left half done in between.
handler = Mangum(receiver, lifespan="on")
