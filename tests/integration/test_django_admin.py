"""Deliveries in Django's admin: who may see and replay them, what is shown, and what a replay does."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from airweave_webhooks.stores.base import Origin
from airweave_webhooks.stores.history import notes_of
from airweave_webhooks.stores.inbox import Take
from django_admin_site import (
    LIST,
    REPLAY,
    Site,
    as_default,
    copied,
    empty_project,
    hidden,
    make_tables_and_people,
    texts,
)
from django_databases import known, migrate, postgres_database, sqlite_settings
from inbox_records import Filler

PICK = "_selected_action"


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_project(tmp_path_factory.mktemp("admin"))


@pytest.fixture
def site(empty_file: Path, tmp_path: Path) -> Iterator[Site]:
    """The project with no delivery."""
    with as_default(copied(empty_file, tmp_path)):
        yield Site()


@pytest.fixture
def filled(site: Site) -> Site:
    """The project with one delivery in each state."""
    site.fill(Filler.one_of_each)
    return site


def get(client: Client, url: str, code: int = 200) -> str:
    answer = client.get(url)
    assert answer.status_code == code
    return answer.content.decode()


def ask(client: Client, picked: list[str], *, across: bool = False, filters: str = "") -> str:
    """Choose the action in the list, and get the page that asks."""
    data = {"action": "replay", "index": "0", "select_across": str(int(across)), PICK: picked}
    answer = client.post(LIST + filters, data)
    assert answer.status_code == 200
    return answer.content.decode()


def confirm(client: Client, page: str, reason: str = "mended", filters: str = "") -> str:
    """Confirm on the page that asks, and get the page after it."""
    answer = client.post(REPLAY + filters, {**hidden(page), "reason": reason}, follow=True)
    assert answer.status_code == 200
    return texts(answer.content.decode())


def untouched(site: Site) -> bool:
    return all(row.generation == 0 for row in site.rows().values())


# Who may do what.


def test_who_is_not_allowed_sees_nothing(filled: Site) -> None:
    """Without a login there is a login page, without `view_delivery` nothing but 403."""
    dead = filled.rows()["msg_dead"].pk
    for url in (LIST, filled.page_of("msg_dead"), f"{REPLAY}?{PICK}={dead}"):
        assert Client().get(url).status_code == 302
        get(filled.client("nobody"), url, 403)
        get(filled.client("blind"), url, 403)
    for name in ("nobody", "blind"):
        answer = filled.client(name).post(REPLAY, {PICK: dead, "reason": "x", "upto": "9e9"})
        assert answer.status_code == 403
    assert untouched(filled)


def test_who_may_only_see_cannot_replay(filled: Site) -> None:
    """There is neither action nor button, and what is sent all the same is refused."""
    reader, dead = filled.client("reader"), filled.rows()["msg_dead"].pk
    assert "Replay" not in get(reader, LIST)
    assert "Replay…" not in get(reader, filled.page_of("msg_dead"))
    get(reader, f"{REPLAY}?{PICK}={dead}", 403)
    assert reader.post(REPLAY, {PICK: dead, "reason": "x", "upto": "9e9"}).status_code == 403
    reader.post(LIST, {"action": "replay", "index": "0", "select_across": "0", PICK: [dead]})
    assert untouched(filled)
    assert "Replay" in get(filled.client("operator"), LIST)
    assert "Replay…" in get(filled.client("operator"), filled.page_of("msg_dead"))


def test_a_forged_request_is_refused(filled: Site) -> None:
    """Another site cannot make an operator's browser replay."""
    client = Client(enforce_csrf_checks=True)
    client.cookies = filled.client("operator").cookies
    data = {PICK: filled.rows()["msg_dead"].pk, "reason": "x", "upto": "9e9"}
    assert client.post(REPLAY, data).status_code == 403
    assert untouched(filled)


def test_nothing_can_be_edited(filled: Site) -> None:
    """Not even by a superuser: nothing is added, changed or deleted, by no address and no action."""
    root, before = filled.client("root"), filled.rows()
    page = filled.page_of("msg_dead")
    get(root, f"{LIST}add/", 403)
    assert root.post(f"{LIST}add/", {"key": "x"}).status_code == 403
    assert root.post(page, {"state": "done", "attempts": "0"}).status_code == 403
    assert root.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "index": "0", "post": "yes", PICK: [before["msg_dead"].pk]}
    root.post(LIST, data)
    root.post(LIST, {"_save": "1", "form-TOTAL_FORMS": "1", "form-0-state": "done"})
    shown = get(root, page)
    assert "<textarea" not in shown
    assert 'type="text"' not in shown
    assert 'name="_save"' not in shown
    after = filled.rows()
    assert {name: vars(row) | {"_state": 0} for name, row in after.items()} == {
        name: vars(row) | {"_state": 0} for name, row in before.items()
    }


# What is shown.


def test_the_list(filled: Site) -> None:
    """The latest first, with what tells one from another, in the project's time zone; above it, who is behind."""
    page = get(filled.client("reader"), LIST)
    assert filled.listed(page) == ["msg_leased", "msg_pending", "msg_inline", "msg_done", "msg_dead"]
    assert "dead exhausted sync.failed crm notion 1 ValueError: no" in texts(page)
    local = time.strftime("%Y-%m-%d %H:", time.gmtime(filled.rows()["msg_dead"].received_at + (5 * 60 + 45) * 60))
    assert f">{local}" in page
    assert "shop : 1 pending; 1 dead; no worker was ever seen" in texts(page)


def test_the_list_says_who_is_behind(site: Site) -> None:
    """How long the oldest has waited; the line stands out when no worker is seen; each receiver has one."""
    from airweave_webhooks.integrations.django.models import Delivery

    site.fill(lambda filler: filler.pending("msg_1"))
    site.fill(lambda filler: Filler(filler.store, "other").pending("msg_2"))
    Delivery.objects.filter(receiver="shop").update(due_at=time.time() - 7300)
    page = get(site.client("reader"), LIST)
    assert "shop : 1 pending, the oldest due for 2h; 0 dead; no worker was ever seen" in texts(page)
    assert "other : 1 pending" in texts(page)
    assert page.count('class="airweave-gone"') == 1
    site.fill(lambda filler: filler.store.beat("shop", "worker-1:7"))
    page = get(site.client("reader"), LIST)
    assert "a worker was seen 0s ago" in texts(page)
    assert 'class="airweave-gone"' not in page
    receiver = Delivery.objects.get(receiver="other").receiver_hash
    assert site.listed(get(site.client("reader"), f"{LIST}?receiver_hash={receiver}")) == ["msg_2"]


def test_the_list_costs_the_same_with_more_deliveries(filled: Site) -> None:
    """As many queries for a full page as for a short one, and none of them reads a body."""
    reader = filled.client("reader")
    get(reader, LIST)
    with CaptureQueriesContext(connections["default"]) as few:
        get(reader, LIST)
    filled.fill(lambda filler: filler.many(60))
    with CaptureQueriesContext(connections["default"]) as many:
        page = get(reader, LIST)
    assert len(filled.listed(page)) == 50
    assert len(many) == len(few) < 20
    large = ("body", "headers", "history", "results")
    assert [q["sql"] for q in many.captured_queries for name in large if f'"{name}"' in q["sql"]] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=dead", ["msg_dead"]),
        ("event_type=sync.running", ["msg_leased"]),
        ("event_type=(others)", []),
        ("source_type=notion", ["msg_dead"]),
        ("collection=crm", ["msg_dead"]),
        ("received=1h&state=done", ["msg_inline", "msg_done"]),
        ("received=older", []),
        ("q=msg_le", ["msg_leased"]),
        ("q=crm", ["msg_dead"]),
        ("q=%00", None),
        ("state=nonsense", []),
    ],
)
def test_filters(filled: Site, query: str, found: list[str] | None) -> None:
    """Each finds what it says; nonsense finds nothing, and breaks nothing."""
    page = get(filled.client("reader"), f"{LIST}?{query}")
    assert found is None or filled.listed(page) == found


def test_columns_cannot_be_sorted(filled: Site) -> None:
    """No index has them in order: sorting would read everything."""
    page = get(filled.client("reader"), LIST)
    assert "?o=" not in page


def test_the_page_of_a_delivery(filled: Site) -> None:
    """All that is known: facts, states, each handler's result, what happened, headers and the body."""
    shown = texts(get(filled.client("reader"), filled.page_of("msg_dead")))
    for part in (
        "dead exhausted",
        "Key: the message id",
        "shop.audit rejected shop.refresh processed",
        "When Attempt What Who Why",
        "1 exhausted worker-2:4711 ValueError: no",
        "content-type application/json",
        "JSON, ",
        '"event_type": "sync.failed",',
        filled.rows()["msg_dead"].digest.hex(),
    ):
        assert part in shown
    assert "not held: only the sender has it" in get(filled.client("reader"), filled.page_of("msg_inline"))


EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (json.dumps({"a": EVIL}).encode(), "&lt;script&gt;alert(1)&lt;/script&gt;"),
        (EVIL.encode(), "not JSON, but text, 25 bytes"),
        (b"\xff\xfe<script>", "\\xff\\xfe&lt;script&gt;"),
        (b'{"a": "\\ud800 \\u202e \\u0000"}', "\\ud800 \\u202e \\u0000"),
        (b"[" * 100_000, "not JSON, but text"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON, but text"),
        (b'"' + b"x" * 200_000 + b'"', "the first 100,000 of 200,002 characters"),
        ('{"a": "é日"}'.encode(), "é日"),
        (b"", "0 bytes"),
    ],
    ids=["script", "text", "binary", "controls", "deep", "digits", "huge", "words", "empty"],
)
def test_any_body_is_shown_as_text(site: Site, body: bytes, shown: str) -> None:
    """Scripts, bytes that are no text, and what no parser takes: escaped, on a page of bounded size."""
    site.fill(lambda filler: filler.pending("msg_1", body=body))
    page = get(site.client("reader"), site.page_of("msg_1"))
    assert shown in page
    assert "<script>alert" not in page
    assert len(page) < 150_000


def test_everything_from_outside_is_escaped(site: Site) -> None:
    """Ids, facts, errors, headers and operators' reasons, on all pages; secrets in errors are taken out."""
    facts = {"collection": EVIL, "source_type": EVIL, "tenant": EVIL, "key": f"{EVIL}k"}
    origin = Origin(1, {"x-evil": EVIL}, EVIL)
    error = f"{EVIL} postgres://anna:secret@db"
    site.fill(lambda filler: filler.dead(EVIL, error=error, event_type="new.thing", origin=origin, **facts))
    operator, row = site.client("operator"), site.rows()[EVIL]
    pages = [get(operator, LIST), get(operator, site.page_of(EVIL)), ask(operator, [row.pk])]
    confirm(operator, pages[-1], reason=EVIL)
    pages += [get(operator, site.page_of(EVIL)), get(operator, f"{LIST}{row.pk}/history/"), get(operator, LIST)]
    for page in pages:
        assert "<script>alert" not in page
        assert "anna:secret" not in page
    assert pages[3].count("&lt;script&gt;") >= 8


# Replaying.


def test_a_replay_asks_and_says_why_not(filled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page counts what can be replayed, and says why the others cannot; asking changes nothing."""
    operator = filled.client("operator")
    page = ask(operator, [row.pk for row in filled.rows().values()])
    assert "2 deliveries can be replayed" in texts(page)
    assert "1 pending: a worker will run it anyway" in texts(page)
    assert "1 leased: a worker is at it" in texts(page)
    assert "1 without a body: only the sender has it" in texts(page)
    for reason in ("", "   ", "x" * 1001):
        answer = operator.post(REPLAY, {**hidden(page), "reason": reason})
        assert "errorlist" in answer.content.decode()
    assert untouched(filled)
    monkeypatch.setattr("airweave_webhooks.integrations.django.admin_replay.MANY", 1)
    page = ask(operator, [row.pk for row in filled.rows().values()])
    assert "manage.py airweave_webhooks deliveries replay" in texts(page)
    nothing = ask(operator, [filled.rows()["msg_inline"].pk])
    assert "0 deliveries can be replayed" in texts(nothing)
    assert "<form" not in nothing[nothing.index('id="content"') :]


def test_a_replay(filled: Site) -> None:
    """What was picked, and can be, is pending in a new generation; who did it and why is in its history and the log."""
    from django.contrib.admin.models import LogEntry

    operator, rows = filled.client("operator"), filled.rows()
    after = confirm(operator, ask(operator, [rows["msg_dead"].pk, rows["msg_inline"].pk]), "mended & tested")
    assert "1 delivery replayed." in after
    assert "1 delivery not replayed: without a body" in after
    dead = filled.rows()["msg_dead"]
    assert (dead.state, dead.generation, dead.attempts) == ("pending", 1, 0)
    note = notes_of(dead.history)[-1]
    assert (note.who, note.what, note.text) == ("operator", "replayed", "mended & tested")
    assert json.loads(dead.results) == {"shop.refresh": "processed"}
    (entry,) = LogEntry.objects.all()
    assert (str(entry.user), entry.object_id) == ("operator", dead.pk)
    assert entry.get_change_message() == "Replayed: mended & tested"
    assert {name for name, row in filled.rows().items() if row.generation} == {"msg_dead"}


def test_the_button_on_a_delivery(filled: Site) -> None:
    """It asks, too, and leads back to the delivery."""
    operator, page = filled.client("operator"), filled.page_of("msg_done")
    (url,) = {part.split('"')[0] for part in get(operator, page).split('href="') if part.startswith(REPLAY)}
    asked = get(operator, url)
    assert "1 delivery can be replayed" in texts(asked)
    answer = operator.post(REPLAY, {**hidden(asked), "reason": "again"}, follow=True)
    assert answer.redirect_chain == [(page, 302)]
    assert filled.rows()["msg_done"].generation == 1


def test_all_across_pages(site: Site) -> None:
    """All that a filter finds, on all pages, and no other; not what came while the page was read."""
    site.fill(lambda filler: filler.many(620, collection="crm"))
    site.fill(lambda filler: filler.dead("msg_docs"))
    operator, first = site.client("operator"), site.rows()["msg_00003"].pk
    filters = "?collection=crm&state=dead&p=2"
    page = ask(operator, [first], across=True, filters=filters)
    assert "620 deliveries can be replayed" in texts(page)
    assert "That is many for one request" not in page
    site.fill(lambda filler: filler.dead("msg_late", collection="crm"))
    (url,) = {part.split('"')[0].replace("&amp;", "&") for part in page.split('action="') if part.startswith(REPLAY)}
    assert url == REPLAY + filters
    assert "620 deliveries replayed." in confirm(operator, page, filters=filters)
    assert {name for name, row in site.rows().items() if not row.generation} == {"msg_docs", "msg_late"}


def test_a_replay_without_a_selection(filled: Site) -> None:
    """Nothing is meant unless it is said: no selection, and a filter that means nothing, replay nothing."""
    operator = filled.client("operator")
    data = {"reason": "x", "upto": "9e9"}
    assert "0 deliveries replayed." in texts(operator.post(REPLAY, data, follow=True).content.decode())
    data |= {"select_across": "1"}
    assert operator.post(f"{REPLAY}?received_at=x", data).status_code == 302
    assert operator.post(f"{REPLAY}?nonsense__x=1", data).status_code in {302, 400}
    assert operator.post(REPLAY, {**data, "upto": "inf"}).status_code == 200
    assert untouched(filled)


def test_what_changes_meanwhile_is_left_alone(filled: Site) -> None:
    """What a worker took, or somebody else replayed, after the page was shown is not counted as replayed."""
    operator, dead = filled.client("operator"), filled.rows()["msg_dead"].pk
    page = ask(operator, [dead])
    assert "1 delivery replayed." in confirm(operator, page)
    after = confirm(operator, page)
    assert "0 deliveries replayed." in after
    assert "1 delivery not replayed: pending" in after
    filled.fill(lambda filler: filler.store.take(Take("shop", 1, b"t" * 24, 60, "worker-1:1")))
    assert "1 delivery not replayed: leased" in confirm(operator, page)
    assert filled.rows()["msg_dead"].generation == 1


def test_a_project_whose_requests_are_transactions(empty_file: Path, tmp_path: Path) -> None:
    """A replay does not wait for the transaction of its own request."""
    options = {"transaction_mode": "IMMEDIATE", "timeout": 1}
    with as_default(copied(empty_file, tmp_path, ATOMIC_REQUESTS=True, OPTIONS=options)):
        site = Site()
        site.fill(Filler.one_of_each)
        operator = site.client("operator")
        page = get(operator, f"{REPLAY}?{PICK}={site.rows()['msg_dead'].pk}")
        assert "1 delivery replayed." in confirm(operator, page)
        assert site.rows()["msg_dead"].generation == 1


def test_a_store_that_is_away(filled: Site) -> None:
    """The operator is told that the replay has stopped, and how many were replayed until then."""
    operator = filled.client("operator")
    page = ask(operator, [filled.rows()["msg_dead"].pk])
    name = connections["default"].settings_dict["NAME"]
    with contextlib.closing(sqlite3.connect(str(name), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        after = confirm(operator, page)
    assert "The replay has stopped: " in after
    assert "0 deliveries replayed." in after
    assert untouched(filled)
    assert "1 delivery replayed." in confirm(operator, page)


# Where the deliveries are.


def test_another_database(site: Site, tmp_path: Path) -> None:
    """The admin shows, and replays in, the database that the setting names; people and log stay in the project's."""
    other: dict[str, Any] = {"NAME": "shop", "STORE": "django:other", "SECRETS": "whsec_" + "QUFB" * 8}
    with known("other", sqlite_settings(str(tmp_path / "other.sqlite"))):
        migrate("other")
        there = Site("other")
        there.fill(lambda filler: filler.dead("msg_there"))
        with override_settings(AIRWEAVE_WEBHOOKS=other):
            operator = site.client("operator")
            assert there.listed(get(operator, LIST)) == ["msg_there"]
            assert "1 delivery replayed." in confirm(operator, ask(operator, [there.rows()["msg_there"].pk]))
        assert there.rows()["msg_there"].generation == 1


def test_another_store(filled: Site) -> None:
    """A receiver that has its deliveries elsewhere: the list says where, and how to look at them."""
    with override_settings(AIRWEAVE_WEBHOOKS={"STORE": "sqlite:///elsewhere.db"}):
        shown = texts(get(filled.client("reader"), LIST))
    assert "elsewhere.db" in shown
    assert "manage.py airweave_webhooks deliveries" in shown
    with override_settings(AIRWEAVE_WEBHOOKS={"STROE": "x"}):  # what is wrong is said by the checks
        assert len(filled.listed(get(filled.client("reader"), LIST))) == 5


def test_on_postgres(postgres_url: str) -> None:
    """The same on PostgreSQL: the list, its filters, a search for what it refuses, and a replay of all pages."""
    with postgres_database(postgres_url) as settings, as_default(settings):
        make_tables_and_people()
        site = Site()
        site.fill(lambda filler: filler.many(60))
        operator, pk = site.client("operator"), site.rows()["msg_00003"].pk
        assert len(site.listed(get(operator, f"{LIST}?state=dead&source_type=github&received=1h"))) == 50
        for nonsense in ("?q=%00", "?collection=%00", "a%00b/change/"):
            assert operator.get(LIST + nonsense).status_code < 500
        assert operator.get(f"{REPLAY}?{PICK}=%00").status_code == 200
        assert "msg_00003" in get(operator, site.page_of("msg_00003"))
        page = ask(operator, [pk], across=True, filters="?state=dead")
        assert "60 deliveries replayed." in confirm(operator, page, filters="?state=dead")
        assert {row.generation for row in site.rows().values()} == {1}
