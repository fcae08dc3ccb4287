"""Django under real servers: the answers of the table, by both views under WSGI and ASGI; touched bodies are named."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from conftest import OTHER_SECRET, SECRET, sign
from django_servers import Project, Served
from http_cases import BODY, cases

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parents[1]
VIEWS = ["sync", "async"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(TESTS, "django_site.settings", tmp_path)


@pytest.fixture(params=["gunicorn", "uvicorn", "runserver"])
def served(request: pytest.FixtureRequest, project: Project) -> Iterator[Served]:
    options = ["--threads=2"] if request.param == "gunicorn" else []
    with project.served(request.param, *options) as served:
        yield served


async def test_answers(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> None:
    """Whichever view, under whichever server: the table, tenants by the URL, and a word for each touched body."""
    async with served.client() as client:
        for view in VIEWS:
            await assert_table(client, view)
            await assert_tenants(client, view)
            await assert_touched(client, view)
            await assert_junk(served, view)
            if "runserver" in request.node.name:
                await assert_not_chunked(served, view)
            else:
                await assert_chunked(client, view)
    ids = ["msg_good", "msg_slash", "msg_other", "msg_old", "msg_both", "msg_last"]
    last = ["msg_posted"] if "runserver" in request.node.name else ["msg_posted", "msg_chunked"]
    wanted = [
        line
        for view in VIEWS
        for line in [
            *[f"{view} None {name} {len(BODY)}" for name in ids],
            f"tenants acme msg_{view} {len(BODY)}",
            *[f"{view} None {name} {len(BODY)}" for name in last],
        ]
    ]
    assert (tmp_path / "seen").read_text().splitlines() == wanted
    for word, least in {"something before the receiver has consumed it": 4, "its JSON was written anew": 2}.items():
        assert served.log.count(word) >= least, served.log
    assert "that its Content-Length says: a middleware or proxy re-encoded it" in served.log
    assert "/airweave_webhooks/" not in served.log, "a traceback of ours"
    assert "Internal Server Error" not in served.log


async def assert_table(client: httpx.AsyncClient, view: str) -> None:
    wanted = {case.name: case for case in cases()}
    answers = {name: await case.sent_to(client, f"/{view}") for name, case in wanted.items()}
    assert answers == {name: case.expected() for name, case in wanted.items()}


async def assert_tenants(client: httpx.AsyncClient, view: str) -> None:
    statuses = []
    for tenant, secret in [("acme", SECRET), ("umbrella", SECRET), ("nobody", SECRET), ("acme", OTHER_SECRET)]:
        headers = sign(BODY, message_id=f"msg_{view}", secret=secret)
        statuses.append((await client.post(f"/tenants/{tenant}/{view}", content=BODY, headers=headers)).status_code)
    assert statuses == [200, 401, 401, 401]


async def assert_touched(client: httpx.AsyncClient, view: str) -> None:
    answers = {}
    for how in ("consumed", "closed", "re-encoded", "longer", "posted"):
        headers = sign(BODY, message_id=f"msg_{how}")
        answers[how] = (await client.post(f"/{how}/{view}", content=BODY, headers=headers)).status_code
    assert answers == {"consumed": 400, "closed": 400, "re-encoded": 401, "longer": 413, "posted": 200}


async def assert_junk(served: Served, view: str) -> None:
    """What strangers send is refused, by the server or by us, and never answered with 5xx."""
    good = "".join(f"{name}: {value}\r\n" for name, value in sign(BODY, message_id="msg_junk").items())
    for fields in (
        "content-length: -1\r\n",
        f"content-length: {'9' * 5000}\r\n",
        "content-length: 1e3\r\n",
        "content-length: \u0661\r\n",
        "content-length: 999999999999\r\n",
        good + f"content-length: {'9' * 17}\r\n",
        good.replace("v1,", "\xff\xfe,") + "content-length: 0\r\n",
        good + "transfer-encoding: chunked\r\n",  # and no chunk follows
        good + "transfer-encoding: chunked\r\n\r\nzz",  # what is not the length of one
        good + "transfer-encoding: chunked\r\n\r\n3\r\nabcdef",  # longer than it says
        good + "transfer-encoding: chunked\r\n\r\n0\r\nno trailer",
        good + "transfer-encoding: chunked\r\n\r\n5;x=" + "y" * 10_000,
        "content-type: application/json; charset=\xff\r\ncontent-length: 2\r\n",
        "content-type: multipart/form-data; boundary=x\r\ncontent-length: 2\r\n",
        "content-encoding: gzip\r\nte: trailers\r\ncontent-length: 0\r\n",
        f"cookie: {'x=y;' * 500}\r\nx-forwarded-host: \xff\r\ncontent-length: 0\r\n",
    ):
        request = f"POST /{view}?x=%ff HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}\r\n{{}}"
        answer = await raw(served, request.encode("latin-1", "replace"))
        assert not answer or answer.split()[1].startswith(b"4"), (fields[:80], answer)


async def assert_chunked(client: httpx.AsyncClient, view: str) -> None:
    """A body without a length is read to its end."""

    async def pieces() -> AsyncIterator[bytes]:
        yield BODY[:100]
        yield BODY[100:]

    answer = await client.post(f"/{view}", content=pieces(), headers=sign(BODY, message_id="msg_chunked"))
    assert answer.json() == {"status": "processed"}


async def assert_not_chunked(served: Served, view: str) -> None:
    """Where the server reads no chunks there is no body.

    None is sent: the server would take it for the next request, and hang up before its answer is read.
    """
    fields = "".join(f"{name}: {value}\r\n" for name, value in sign(BODY, message_id="msg_chunked").items())
    head = f"POST /{view} HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}transfer-encoding: chunked\r\n\r\n"
    assert (await raw(served, head.encode())).split()[1] == b"401"


async def raw(served: Served, request: bytes) -> bytes:
    """The first line of the answer; nothing where the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(request)
        with contextlib.suppress(ConnectionError):
            answer = asyncio.ensure_future(reader.readline())
            await asyncio.wait([answer], timeout=0.3)
            # Whoever waits for a body that was promised sees that none comes. Not sooner: uvicorn would not answer.
            if not answer.done():
                writer.write_eof()
            return await asyncio.wait_for(answer, 20)
        return b""
    finally:
        writer.close()
