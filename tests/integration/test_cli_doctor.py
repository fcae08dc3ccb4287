"""`airweave-webhooks doctor URL`, as a process of its own, against servers that are sound and servers that are not."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

import doctor_gallery as gallery
from airweave_webhooks import Event, Inbox, Receiver
from airweave_webhooks.cli.local import announced
from airweave_webhooks.integrations.fastapi import receiver_router
from airweave_webhooks.signing import PrivateKey
from certificates import certificate
from databases import in_schema
from doctor_gallery import PATH, by_hand
from doctor_visits import SECRET, Visit, visit, visit_signed
from serving import serving

pytestmark = pytest.mark.anyio

OTHER = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy"
SIGNED = ["accepted", "each-secret", "rotation", "families", "tampered", "stale", "future", "duplicate"]


async def examined(folder: Path, app: Any, *arguments: str, path: str = PATH, **settings: Any) -> Visit:
    async with serving(app, **settings) as served:
        return await visit_signed(folder, f"{served.url}{path}", *arguments)


def starlette(receiver: Receiver) -> Any:
    return Starlette(routes=[receiver.route(PATH)], lifespan=receiver.lifespan)


def fastapi(receiver: Receiver) -> Any:
    app = FastAPI(lifespan=receiver.lifespan)
    app.include_router(receiver_router(receiver, PATH))
    return app


@pytest.mark.parametrize("framework", [starlette, fastapi])
async def test_a_sound_receiver(tmp_path: Path, framework: Any) -> None:
    """All is well, and said in the order in which it is looked at."""
    receiver = Receiver(store=f"sqlite:///{tmp_path}/app.db", secrets=SECRET)
    done = await examined(tmp_path, framework(receiver))
    assert done.code == 0, done.out
    assert done.levels() == {"tls": "skipped"}
    assert [one["name"] for one in done.findings][:4] == ["reachable", "tls", "probe", "post"]
    assert all(one["remedy"] is None for one in done.findings if one["level"] == "ok")
    done.saw("post", "ok", "a receiver of airweave-webhooks answers")
    done.saw("accepted", "ok", "no handler wants it")
    done.saw("duplicate", "ok", "recognised (duplicate)")
    done.saw("concurrent", "ok", "1 x 200 ignored, 7 x 200 duplicate")
    assert done.err == ""


@pytest.mark.parametrize("store", ["memory", "postgresql", "redis"])
async def test_stores(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    """On each store, with a handler that takes everything."""
    match store:
        case "memory":
            url = "memory:"
        case "postgresql":
            url = in_schema(request.getfixturevalue("postgres_url"), request.getfixturevalue("schema"))
        case _:
            url = request.getfixturevalue("redis_url")
    receiver = Receiver(name="all", store=url, secrets=SECRET)

    @receiver.on("*")
    async def everything(event: Event) -> None:
        await asyncio.sleep(0.05)

    done = await examined(tmp_path, starlette(receiver))
    assert (done.code, done.levels()) == (0, {"tls": "skipped"}), done.out
    done.saw("accepted", "ok", 'handlers of "*" or UnknownEvent have run')
    done.saw("concurrent", "ok", "1 x 200 processed")


async def test_an_inbox(tmp_path: Path) -> None:
    """Copies of what is stored are accepted, too."""
    receiver = Receiver(store=f"sqlite:///{tmp_path}/app.db", secrets=SECRET, mode=Inbox(poll=0.05))

    @receiver.on("*")
    async def everything(event: Event) -> None:
        await asyncio.sleep(0.1)

    done = await examined(tmp_path, starlette(receiver))
    assert (done.code, done.levels()) == (0, {"tls": "skipped"}), done.out
    done.saw("accepted", "ok", "it is stored for handlers")


async def test_tenants(tmp_path: Path) -> None:
    """A tenant is put into the URL, or asked for."""
    receiver = Receiver(secrets={"acme": SECRET}.get)
    app = Starlette(routes=[receiver.route("/hooks/{tenant}")], lifespan=receiver.lifespan)
    async with serving(app) as served:
        url = f"{served.url}/hooks/{{tenant}}"
        assert (await visit_signed(tmp_path, url, "--tenant", "acme")).code == 0
        assert "--tenant NAME" in (await visit_signed(tmp_path, url)).err
        done = await visit_signed(tmp_path, url, "--tenant", "nobody")
        done.saw("accepted", "problem", "is refused (401 unauthorized)", "compare the secret")


async def test_without_a_secret(tmp_path: Path) -> None:
    """What needs one is skipped, and says how to give it; the rest is looked at."""
    async with serving(starlette(Receiver(secrets=SECRET))) as served:
        done = await visit(tmp_path, f"{served.url}{PATH}")
        assert done.code == 0
        for name in SIGNED:
            done.saw(name, "skipped", "no secret is known here", "set AIRWEAVE_WEBHOOK_SECRET in the environment")
        assert "secret" in done.levels()
        done = await visit(tmp_path, f"{served.url}{PATH}", readable=True)
        assert done.out.count("no secret is known here") < 4


async def test_a_secret_of_a_local_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `dev` that runs here says what to sign with; and where it is, if nobody says."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    async with serving(Receiver(secrets=SECRET)) as served:
        with announced(served.url + PATH, SECRET):
            for arguments in [(f"{served.url}/anywhere",), ()]:
                done = await visit(tmp_path, *arguments)
                done.saw("secret", "ok", "from the local server")
                assert done.code == 0


async def test_several_secrets(tmp_path: Path) -> None:
    """Each has to be accepted on its own."""
    async with serving(starlette(Receiver(secrets=SECRET))) as served:
        done = await visit(tmp_path, served.url + PATH, AIRWEAVE_WEBHOOK_SECRET=f"{OTHER},{SECRET}")
        done.saw("each-secret", "warning", "it refuses number 1", "forget here")
        done.saw("secret", "ok", "signing with 2 secrets from AIRWEAVE_WEBHOOK_SECRET")
    async with serving(starlette(Receiver(secrets=[SECRET, OTHER]))) as served:
        done = await visit(tmp_path, served.url + PATH, AIRWEAVE_WEBHOOK_SECRET=f"{OTHER} {SECRET}")
        done.saw("each-secret", "ok", "each of the 2 secrets is accepted")


async def test_ed25519(tmp_path: Path) -> None:
    """A private key signs; a public one cannot."""
    key = PrivateKey.generate()
    async with serving(starlette(Receiver(secrets=key.public))) as served:
        done = await visit(tmp_path, served.url + PATH, AIRWEAVE_WEBHOOK_SECRET=key.text)
        assert done.code == 0, done.out
        done = await visit(tmp_path, served.url + PATH, AIRWEAVE_WEBHOOK_SECRET=key.public)
        done.saw("accepted", "skipped", "a public key", "private key")
        assert key.public not in done.out


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"catches": False}, [("malformed", "problem", "bad base64: 500; a signature without a comma", "binascii")]),
        (
            {"verifies": False},
            [
                ("unsigned", "problem", "anybody can send events", "verify the signature"),
                ("wrong-secret", "problem", "signed with another secret is accepted", "verify"),
                ("tampered", "problem", "changed after signing is accepted", "verify"),
            ],
        ),
        (
            {"fresh": False},
            [
                ("stale", "problem", "an hour ago got 200", "more than 5 minutes away"),
                ("future", "problem", "an hour ahead got 200", "in both directions"),
                ("conflict", "warning", "another body under the same id is accepted", "409"),
            ],
        ),
        (
            {"remembers": "never"},
            [
                ("duplicate", "problem", "is done again", "remember message ids"),
                ("concurrent", "problem", "8 were done", "in one atomic step"),
            ],
        ),
        (
            {"remembers": "never", "says": False},
            [
                ("duplicate", "warning", "cannot be seen", "remember message ids"),
                ("concurrent", "skipped", "how many were done cannot be seen", "count the effects"),
            ],
        ),
        (
            {"remembers": "first", "slow": 0.6},
            [
                ("duplicate", "ok", "", ""),
                ("concurrent", "problem", "s before the one that was", "409 while the first one"),
            ],
        ),
        (
            {"remembers": "first", "slow": 0.6, "says": False, "thanks": ("done", "already known")},
            [
                ("duplicate", "ok", "by what its answer says", ""),
                ("concurrent", "problem", "s before the one that was", "409 while the first one"),
            ],
        ),
        (
            {"copies": 500, "contradicted": 500, "first_only": True, "families": ("svix",)},
            [
                ("duplicate", "problem", "got 500 duplicate once", "answer 200"),
                ("conflict", "problem", "another body under the same id got 500", "409"),
                ("rotation", "problem", "the second is right, and it got 401", "split the signature"),
                ("families", "warning", "webhook-* headers got 400", "read both families"),
            ],
        ),
        (
            {"contradicted": 422, "clock": lambda: time.time() + 200},
            [
                ("conflict", "ok", "409 would say why", ""),
                ("tolerance", "warning", "signed 240 s ago got 401", "allow 300 s"),
            ],
        ),
        ({"undecoded": True}, [("accepted", "problem", "the text of the secret is the key", "decode the secret")]),
        ({"secret": OTHER}, [("accepted", "problem", "is refused (401)", "compare")]),
        ({"clock": lambda: time.time() + 600}, [("accepted", "problem", "600 s ahead: the clock", "NTP")]),
    ],
)
async def test_what_is_written_by_hand(
    tmp_path: Path, faults: dict[str, Any], expected: list[tuple[str, str, str, str]]
) -> None:
    """Each fault is found, and nothing is taken for a receiver of ours."""
    done = await examined(tmp_path, by_hand(**{"secret": SECRET, **faults}))
    for finding in expected:
        done.saw(*finding)
    done.saw("post", "ok", "not airweave-webhooks")
    assert done.code == (1 if "problem" in done.levels().values() else 0)


async def test_nothing_is_held_against_another_receiver(tmp_path: Path) -> None:
    """One that is right and not ours has no problem, and few warnings."""
    done = await examined(tmp_path, by_hand(SECRET, contradicted=409))
    assert (done.code, done.levels()) == (0, {"tls": "skipped"}), done.out


@pytest.mark.parametrize(
    ("app", "seen", "remedy"),
    [
        (gallery.with_a_slash(SECRET), "redirect (307)", "/hooks/, which has the other spelling"),
        (gallery.mounted(Receiver(secrets=SECRET)), "redirect (307)", "the bare prefix of a mount"),
        (gallery.page("<!DOCTYPE html><title>Shop</title>"), "200 and an HTML page ('Shop')", "host and path"),
        (gallery.page("<html>You are about to visit x.ngrok.io"), "ngrok's warning page", "another tunnel"),
        (FastAPI(), "404: FastAPI knows no such path", "check the path"),
    ],
)
async def test_what_is_no_receiver(tmp_path: Path, app: Any, seen: str, remedy: str) -> None:
    """It is recognised, and nothing more is asked of it."""
    done = await examined(tmp_path, app)
    done.saw("post", "problem", seen, remedy)
    assert done["accepted"]["level"] == "skipped"
    assert done.code == 1


async def test_one_spelling(tmp_path: Path) -> None:
    """It says which works, if the other one does not."""
    done = await examined(tmp_path, gallery.with_a_slash(SECRET), path=f"{PATH}/")
    done.saw("slash", "ok", "subscribe with this very spelling")


async def test_a_proxy_with_a_limit(tmp_path: Path) -> None:
    """The sender's largest bodies do not pass."""
    done = await examined(tmp_path, gallery.limited(by_hand(SECRET, contradicted=409)))
    assert done.levels() == {"tls": "skipped", "size": "problem"}
    done.saw("size", "problem", "too large", "client_max_body_size 4m")


@pytest.mark.parametrize(
    ("how", "seen"),
    [({}, "with spaces after commas"), ({"separators": (",", ":")}, "with other escapes")],
)
async def test_a_middleware_that_writes_bodies_anew(tmp_path: Path, how: dict[str, Any], seen: str) -> None:
    done = await examined(tmp_path, gallery.re_encoded(by_hand(SECRET), **how))
    done.saw("accepted", "problem", f"something writes the body anew ({seen}", "verify the raw bytes")


@pytest.mark.parametrize(
    ("offset", "level", "seen"),
    [(-600, "problem", "600 s behind"), (90, "warning", "90 s ahead")],
)
async def test_a_clock_that_is_off(tmp_path: Path, offset: float, level: str, seen: str) -> None:
    """By the header, and what signatures are checked with is found by it."""
    app = gallery.dated(by_hand(SECRET, clock=lambda: time.time() + offset), offset)
    done = await examined(tmp_path, app, date_header=False)
    found = done["clock"]
    assert found["level"] == level, found
    about = float(found["seen"].split(" s ")[0].rpartition(" ")[2])
    assert abs(about - abs(offset)) <= 2
    assert seen.split(" s ")[1] in found["seen"]
    if level == "problem":
        done.saw("accepted", "problem", "is about as much slow", "NTP")


async def nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def leaving(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readline()


async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await reader.read()


@pytest.mark.parametrize(
    ("server", "timeout", "seen"),
    [(nothing, "0.5", "no answer in 0.5 s"), (leaving, "30", "closed without an answer"), (babbling, "30", "not HTTP")],
)
async def test_a_server_without_answers(tmp_path: Path, server: Any, timeout: str, seen: str) -> None:
    async with gallery.raw(server) as url:
        done = await visit_signed(tmp_path, url, "--timeout", timeout)
    done.saw("reachable", "ok", "takes connections")
    done.saw("probe", "problem", seen, "any HTTP answer within 5 s")
    done.saw("post", "problem", seen)
    assert done.code == 5


@pytest.mark.parametrize(
    ("url", "seen", "remedy"),
    [
        ("http://127.0.0.1:9/hooks", "refuses connections", "start the server"),
        ("http://nowhere.invalid/hooks", "DNS", "check"),
    ],
)
async def test_nobody_there(tmp_path: Path, url: str, seen: str, remedy: str) -> None:
    done = await visit_signed(tmp_path, url, "--timeout", "5")
    done.saw("reachable", "problem", seen, remedy)
    assert done.code == 5
    assert {one["level"] for one in done.findings[1:]} == {"skipped"}


async def test_tls(tmp_path: Path) -> None:
    """A certificate that nobody trusts, one that ends soon, a good one, none."""
    cert, key = certificate(tmp_path, days=5)
    settings = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
    async with serving(by_hand(SECRET, contradicted=409), **settings) as served:
        url = f"https://127.0.0.1:{served.port}{PATH}"
        done = await visit_signed(tmp_path, url)
        done.saw("tls", "problem", "not trusted: self-signed certificate", "public authority")
        assert done.levels() == {"tls": "problem"}, done.out
        done = await visit_signed(tmp_path, url, SSL_CERT_FILE=str(cert))
        done.saw("tls", "warning", "ends in 5 days", "renew")
        assert done.code == 0
        done = await visit_signed(tmp_path, f"http://127.0.0.1:{served.port}{PATH}")
        assert done.code == 5
    cert, key = certificate(tmp_path, days=50)
    async with serving(by_hand(SECRET), **settings) as served:
        done = await visit(tmp_path, f"https://127.0.0.1:{served.port}{PATH}", SSL_CERT_FILE=str(cert))
        done.saw("tls", "ok", "for 50 more days")
    async with serving(by_hand(SECRET)) as served:
        done = await visit_signed(tmp_path, f"https://127.0.0.1:{served.port}{PATH}")
        done.saw("tls", "problem", "no TLS is spoken", "check the port")
        assert done.code == 5
