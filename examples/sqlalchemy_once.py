"""One effect per delivery, whatever crashes: AIRWEAVE_WEBHOOK_SECRET=whsec_… uvicorn sqlalchemy_once:app."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
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
engine = create_async_engine("sqlite+aiosqlite:///collections.db")
sessions = async_sessionmaker(engine)
receiver = Receiver(store="sqlite:///airweave.db")


@receiver.on("sync.completed")
async def count(event: SyncCompleted, delivery: Delivery) -> None:
    async with sessions() as session, session.begin():
        if await once(delivery, session):  # in the same transaction as the count
            collection = await session.get(Collection, event.collection_readable_id)
            collection = collection or Collection(name=event.collection_readable_id, syncs=0)
            collection.syncs += 1
            session.add(collection)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with receiver:
        yield
    await engine.dispose()


app = Starlette(lifespan=lifespan, routes=[receiver.route("/webhooks/airweave")])
