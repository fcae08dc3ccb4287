"""The worked example of a store of one's own is right, and serves a receiver."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from airweave_webhooks import Delivery, Receiver
from airweave_webhooks.errors import ConfigurationError, StoreUnavailable
from airweave_webhooks.testing.contracts import DurableStoreContract, a_claim, opened
from airweave_webhooks.testing.model import QUICK, THOROUGH, prove
from conftest import SECRET, sign

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from lmdb_store import LMDBStore  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.mark.one_case_each
class TestLMDBStore(DurableStoreContract):
    """As docs/own-store.md shows it."""

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        self.file = tmp_path / "store.lmdb"

    def make_store(self) -> LMDBStore:
        return LMDBStore(self.file)


@pytest.mark.timeout(1800)
def test_the_model(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Likewise."""
    how: settings = THOROUGH if request.config.getoption("--long") else QUICK
    prove(lambda name: LMDBStore(tmp_path / name), how)


async def test_a_receiver_on_it(tmp_path: Path, completed: bytes) -> None:
    """A delivery is done once, also by the next receiver on the file."""
    seen: list[str] = []

    async def handle() -> str:
        receiver = Receiver(secrets=SECRET, store=LMDBStore(tmp_path / "a.lmdb"))

        @receiver.on("sync.completed")
        async def note(delivery: Delivery) -> None:
            seen.append(delivery.id)

        async with receiver:
            reply = await receiver.handle(sign(completed), completed)
        return reply.outcome

    assert [await handle() for _ in range(3)] == ["processed", "duplicate", "duplicate"]
    assert seen == ["msg_1"]


async def test_another_process_sees_what_this_one_did(tmp_path: Path) -> None:
    """One file, two processes, both of them with the file open."""
    program = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lmdb_store import LMDBStore
from airweave_webhooks.testing.contracts import a_claim, opened

async def main():
    async with opened(lambda: LMDBStore(Path(sys.argv[2]))) as store:
        print(*(answer.verdict for answer in await store.claim([a_claim("mine"), a_claim("yours")])))

asyncio.run(main())
"""
    path = tmp_path / "a.lmdb"
    async with opened(lambda: LMDBStore(path)) as store:
        await store.claim([a_claim("mine")])
        done = subprocess.run(
            [sys.executable, "-c", program, str(EXAMPLES), str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.split() == ["held", "claimed"]
        (answer,) = await store.claim([a_claim("yours")])
        assert answer.verdict == "held"


async def test_a_full_file_is_an_outage(tmp_path: Path) -> None:
    """What does not fit is refused with 503, and what is there stays."""
    async with opened(lambda: LMDBStore(tmp_path / "a.lmdb", most_bytes=100_000)) as store:
        await store.claim([a_claim()])
        with pytest.raises(StoreUnavailable, match="100000 bytes"):
            await store.claim([a_claim("large")._replace(into="dead", body=bytes(200_000))])
        found = await store.get([a_claim().key, a_claim("large").key])
        assert [record and record.state for record in found] == ["leased", None]


async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A directory that is missing; and the store can be opened once it is there."""
    store = LMDBStore(tmp_path / "no" / "a.lmdb")
    with pytest.raises(ConfigurationError, match=r"no/a\.lmdb"):
        await store.open()
    (tmp_path / "no").mkdir()
    async with opened(lambda: store):
        assert [answer.verdict for answer in await store.claim([a_claim()])] == ["claimed"]
