"""The pytest plugin, as a user's project meets it: in a pytest run of its own."""

import sys

import pytest

APP = """
from airweave_webhooks import Receiver, SyncCompleted

receiver = Receiver(store="sqlite:///airweave.db")
cache = {"docs": "old"}

@receiver.on("sync.completed")
async def refresh(event: SyncCompleted) -> None:
    del cache[event.collection_readable_id]
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with an application and the plugin's option."""
    pytester.makepyfile(app=APP)
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\nairweave_receiver = "app:receiver"\naddopts = "-p no:xdist"\n'
    )
    return pytester


def test_a_test_of_a_handler_is_three_lines(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import app
        from airweave_webhooks.testing import events

        def test_refresh(airweave_client):
            airweave_client.send(events.sync_completed(collection="docs"))
            assert app.cache == {}
        """
    )
    project.runpytest().assert_outcomes(passed=1)
    assert not (project.path / "airweave.db").exists()


def test_a_handlers_error_fails_the_test_where_it_happened(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from airweave_webhooks.testing import events

        def test_refresh(airweave_client):
            airweave_client.send(events.sync_completed(collection="missing"))
        """
    )
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*airweave_client.send(events.sync_completed(collection=*",
            ">*del cache[[]event.collection_readable_id[]]",
            "E*KeyError: 'missing'",
            "app.py:*: KeyError",
        ]
    )
    result.stdout.no_fnmatch_line("*execution.py:*")


def test_each_test_starts_anew(project: pytest.Pytester) -> None:
    """The store is empty and nothing of the last test's time is left."""
    project.makepyfile(
        """
        import pytest
        from airweave_webhooks.testing import events

        @pytest.mark.parametrize("_", [1, 2])
        def test_refresh(airweave_client, airweave_store, airweave_clock, airweave_receiver, _):
            assert airweave_store.records == []
            assert airweave_client.clock is airweave_clock
            assert airweave_client.store is airweave_store is airweave_receiver.store
            assert airweave_client.receiver is airweave_receiver
            airweave_client.raise_errors = False
            sent = airweave_client.send(events.sync_completed(), id="msg_1")
            assert sent.outcome == "failed"
            assert [record.message_id for record in airweave_store.records] == ["msg_1"]
            airweave_clock.advance(1e6)
        """
    )
    project.runpytest().assert_outcomes(passed=2)


def test_a_coroutine_gets_an_async_client(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import app
        import pytest
        from airweave_webhooks.testing import AsyncClient, events

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_refresh(airweave_client: AsyncClient):
            await airweave_client.send(events.sync_completed(collection="docs"))
            assert app.cache == {}
        """
    )
    project.runpytest().assert_outcomes(passed=1)


def test_the_receiver_alone_has_the_tests_secret_and_store(project: pytest.Pytester) -> None:
    """For those who send with tools of their own."""
    project.makepyfile(
        """
        import asyncio
        from airweave_webhooks.testing.scenarios import TEST_SECRET
        from standardwebhooks import Webhook

        def test_refresh(airweave_receiver, airweave_clock, airweave_store):
            body = '{"event_type":"a.b"}'
            moment = airweave_clock.now()
            signature = Webhook(TEST_SECRET).sign("msg_1", moment, body)
            headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(moment.timestamp()))}

            async def receive():
                async with airweave_receiver:
                    return await airweave_receiver.handle(headers | {"webhook-signature": signature}, body.encode())

            assert asyncio.run(receive()).outcome == "ignored"
            assert [record.message_id for record in airweave_store.records] == ["msg_1"]
        """
    )
    project.runpytest().assert_outcomes(passed=1)


def test_recorded_deliveries(project: pytest.Pytester) -> None:
    """Recorded in one run, and signed anew in another, beside the test that sends them."""
    project.makepyfile(
        """
        import json
        from pathlib import Path
        from airweave_webhooks.testing import events, write_recording

        def test_record(airweave_client):
            folder = Path(__file__).parent / "deliveries"
            for number in range(3):
                message = airweave_client.message(events.sync_completed(collection=str(number)), id=f"msg_{number}")
                airweave_client.clock.advance(1)
                write_recording(message, folder)
            (folder / "sub").mkdir()
            (folder / "sub" / "plain.json").write_text('{"event_type": "sync.completed", "later": 1}')

        def test_replay(airweave_client, airweave_recorded):
            airweave_client.clock.advance(1e6)
            airweave_client.raise_errors = False
            sent = [airweave_client.send(message) for message in airweave_recorded("deliveries")]
            assert [one.id for one in sent] == ["msg_0", "msg_1", "msg_2"]
            assert [json.loads(one.message.body)["collection_readable_id"] for one in sent] == ["0", "1", "2"]
            assert [one.outcome for one in sent] == ["failed"] * 3
            (plain,) = airweave_recorded("deliveries/sub/plain.json")
            assert airweave_client.send(plain).status == 200
        """
    )
    project.runpytest().assert_outcomes(passed=2)


def test_a_receiver_of_the_projects_own_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from airweave_webhooks import Receiver, SyncFailed
        from airweave_webhooks.testing import events

        seen = []

        @pytest.fixture
        def airweave_receiver():
            receiver = Receiver()

            @receiver.on("sync.failed")
            async def note(event: SyncFailed) -> None:
                seen.append(event)

            return receiver

        def test_it(airweave_client):
            airweave_client.send(events.sync_failed())
            assert len(seen) == 1
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("", "*which receiver is tested? Set airweave_receiver = *conftest.py*"),
        (
            'airweave_receiver = "app:reciever"',
            "*app:reciever: app has no 'reciever'; did you mean 'receiver'?*",
        ),
        ('airweave_receiver = "shop:receiver"', "*airweave_receiver = shop:receiver: there is no module 'shop' in */*"),
        ('airweave_receiver = "app"', "*airweave_receiver = app: 'app': write module:receiver, as in app:receiver*"),
    ],
)
def test_what_is_wrong_is_said(project: pytest.Pytester, option: str, message: str) -> None:
    project.makepyprojecttoml(f"[tool.pytest.ini_options]\n{option}\n")
    project.makepyfile("def test_refresh(airweave_client): pass")
    result = project.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_it_costs_nothing_until_it_is_used(project: pytest.Pytester) -> None:
    """A run that uses no fixture of ours imports nothing of ours."""
    project.makepyfile(
        """
        import sys

        def test_it():
            heavy = {"airweave_webhooks", "pydantic", "starlette", "httpx"}
            assert "pytest_airweave_webhooks" in sys.modules
            assert not heavy & sys.modules.keys()
        """
    )
    result = project.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:anyio")
    result.assert_outcomes(passed=1)


def test_the_fixtures_are_listed(project: pytest.Pytester) -> None:
    result = project.run(sys.executable, "-m", "pytest", "--fixtures", "-q")
    for name in ("airweave_receiver", "airweave_client", "airweave_clock", "airweave_store", "airweave_recorded"):
        result.stdout.fnmatch_lines([f"{name}*"])
