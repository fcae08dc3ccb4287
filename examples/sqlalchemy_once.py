"""One effect per delivery, whatever crashes: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn sqlalchemy_once:app."""

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from starlette.applications import Starlette

from airweave_webhooks import Delivery, Receiver, SyncCompleted
from airweave_webhooks.integrations.sqlalchemy import once, once_table


class Base(DeclarativeBase):
    pass


class Collection(Base):
    __tablename__ = "collections"
    name: Mapped[str] = mapped_column(primary_key=True)
    syncs: Mapped[int]


once_table(Base.metadata)
engine = create_engine("sqlite:///collections.db")
Base.metadata.create_all(engine)
sessions = sessionmaker(engine)
receiver = Receiver(store="sqlite:///airweave.db")


@receiver.on("sync.completed")
def count(event: SyncCompleted, delivery: Delivery) -> None:
    with sessions() as session, session.begin():
        if once(delivery, session):  # in the same transaction as the count
            name = event.collection_readable_id
            collection = session.get(Collection, name) or Collection(name=name, syncs=0)
            collection.syncs += 1
            session.add(collection)


app = Starlette(lifespan=receiver.lifespan, routes=[receiver.route("/webhooks/airweave")])
