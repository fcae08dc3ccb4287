"""A receiver in Flask: AIRWEAVE_WEBHOOK_SECRET=whsec_… gunicorn --workers 2 --threads 8 flask_app:app.

Each worker process opens the receiver with its first delivery, and closes it when it ends.
"""

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from airweave_webhooks import Receiver, SyncCompleted, SyncFailed
from airweave_webhooks.integrations.wsgi import WSGIReceiver

receiver = Receiver(store="sqlite:///airweave.db")  # shared by all processes of this machine


@receiver.on("sync.completed")
def refresh(event: SyncCompleted) -> None:  # a plain function runs in a thread, so it may block
    print(f"refreshing the cache of {event.collection_readable_id}")


@receiver.on("sync.failed")
async def alert(event: SyncFailed) -> None:  # all coroutines of a process share one event loop
    print(f"paging somebody: {event.collection_name} failed with {event.error}")


app = Flask(__name__)
# Before Flask: nothing of it can touch the body, and both spellings of the path are the endpoint.
app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, {"/webhooks/airweave": WSGIReceiver(receiver)}
)


@app.get("/")
def index() -> str:
    return "the rest of the application"
