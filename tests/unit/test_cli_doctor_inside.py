"""What the doctor makes of a receiver, in this process."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from airweave_webhooks import Inbox, Inline, Receiver
from airweave_webhooks.bodies import BodyLimits
from airweave_webhooks.cli.doctor import inside, outside
from airweave_webhooks.cli.doctor.command import _is_host
from airweave_webhooks.cli.doctor.findings import Verdict
from airweave_webhooks.cli.doctor.limits import limits
from airweave_webhooks.cli.doctor.program import Program
from airweave_webhooks.cli.doctor.report import NAME_WIDTH
from airweave_webhooks.cli.doctor.secrecy import secrets
from airweave_webhooks.cli.doctor.storing import health, shared
from airweave_webhooks.signing import PrivateKey
from doctor_visits import SECRET

pytestmark = pytest.mark.anyio


def program(tenant: str | None = None, **settings: Any) -> Program:
    return Program(Receiver(**{"secrets": SECRET, **settings}), "app:receiver", None, tenant, 0.2)


def is_(verdict: Verdict, level: str, seen: str, remedy: str = "") -> None:
    assert verdict.level == level, verdict
    assert seen in verdict.seen
    assert remedy in verdict.remedy


def by_tenant(tenant: str) -> str | None:
    return {"acme": SECRET}.get(tenant)


def broken() -> str:
    raise ZeroDivisionError


async def stuck() -> str:
    await asyncio.sleep(60)
    return SECRET


@pytest.mark.parametrize(
    ("given", "level", "seen", "remedy"),
    [
        (SECRET, "ok", "there is one secret: 1 of HMAC (312 bits)", ""),
        ("whsec_" + "QUFB" * 8, "problem", "not random", "generate_secret()"),
        ([SECRET] * 12, "warning", "12 secrets", "no longer in use"),
        ([SECRET, PrivateKey.generate().public], "ok", "2 secrets, as during a rotation: 1 of HMAC", ""),
        (broken, "problem", "ZeroDivisionError", "return 'whsec_"),
        (stuck, "problem", "did not answer within 0.2 s", "quicker"),
        (by_tenant, "skipped", "no tenant is named", "--tenant NAME"),
    ],
)
async def test_secrets(given: Any, level: str, seen: str, remedy: str) -> None:
    is_(await secrets(program(secrets=given)), level, seen, remedy)


async def test_a_tenants_secrets() -> None:
    is_(await secrets(program("acme", secrets=by_tenant)), "ok", "one secret")
    is_(await secrets(program("other", secrets=by_tenant)), "problem", "knows no tenant 'other'", "check the name")


async def test_a_secret_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is is not shown."""
    is_(await secrets(program(secrets=None)), "problem", "no webhook secret", "set AIRWEAVE_WEBHOOK_SECRET")
    monkeypatch.setenv("AIRWEAVE_WEBHOOK_SECRET", "hunter2")
    verdict = await secrets(program(secrets=None))
    is_(verdict, "problem", "does not begin with 'whsec_'", "copy the endpoint's secret")
    assert "hunter2" not in str(verdict)


@pytest.mark.parametrize(
    ("settings", "level", "seen", "remedy"),
    [
        ({}, "ok", "answers within 12 s, bodies of up to 4,194,304 bytes, timestamps within 300 s", ""),
        ({"tolerance": 5}, "warning", "may be 5 s off", "leave it at 300 s"),
        ({"mode": Inline(answer_within=20)}, "problem", "gives up after 15 s", "12 s"),
        ({"body_limits": BodyLimits(most_bytes=1000)}, "problem", "more than 1,000 bytes get 413", "4 MiB"),
        (
            {"retention_days": 16, "mode": Inbox(keep_bodies_days=20)},
            *("warning", "kept for 20 days, and their records, which take them along, for 16", "retention_days="),
        ),
    ],
)
async def test_limits(settings: dict[str, Any], level: str, seen: str, remedy: str) -> None:
    (verdict,) = await limits(program(**settings))
    is_(verdict, level, seen, remedy)


async def test_a_store_that_gets_stuck() -> None:
    """Also after it had opened before."""

    class Stuck:
        round_trip = durable = True

        async def open(self) -> None:
            await asyncio.sleep(60)

    patient = program(store=Stuck())
    (verdict,) = await health(patient)
    is_(verdict, "problem", "did not answer within 0.2 s", "start it")
    is_(await shared(patient), "skipped", "Stuck is shared by one process (assumed", "contracts")


@pytest.mark.parametrize(
    ("target", "is_host"),
    [
        ("localhost:8000", True),
        ("shop.example/hooks", True),
        ("127.0.0.1:80/x", True),
        ("app:receiver", False),
        ("pack.app:web.receiver", False),
        ("app.py", False),
    ],
)
def test_a_url_without_its_beginning(target: str, is_host: bool) -> None:
    assert _is_host(target) is is_host


def test_each_finding_is_on_the_page() -> None:
    """With what is looked at, and why; and no other one."""
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    _, endpoint, receiver = re.split(r"^## An endpoint$|^## A receiver$", page, flags=re.MULTILINE)
    names = ([check.name for check in outside.CHECKS], [check.name for check in inside.CHECKS])
    for text, expected in zip((endpoint, receiver), names, strict=True):
        rows = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
        assert [name for row in rows for name in re.findall(r"`([^`]+)`", row)] == expected


def test_names_fit_their_column() -> None:
    names = [check.name for check in outside.CHECKS] + [check.name for check in inside.CHECKS]
    assert max(map(len, names)) == NAME_WIDTH
