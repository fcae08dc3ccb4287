"""`airweave-webhooks doctor`: the command."""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from airweave_webhooks.cli import sources
from airweave_webhooks.cli.destinations import url_of
from airweave_webhooks.cli.exits import FAILED, UNREACHABLE, endings
from airweave_webhooks.cli.local import known_servers
from airweave_webhooks.cli.options import AppDir, AsJson, receiver_of, settings
from airweave_webhooks.cli.settings import variable
from airweave_webhooks.errors import OperatorError

if TYPE_CHECKING:
    from airweave_webhooks.cli.doctor.endpoint import Endpoint
    from airweave_webhooks.cli.doctor.findings import Check
    from airweave_webhooks.cli.doctor.program import Program
    from airweave_webhooks.cli.doctor.report import Report

P = TypeVar("P")

SENDER_WAITS: Final = 15.0
"""Seconds."""


def doctor(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL|MODULE:RECEIVER]",
            help="An endpoint that is served, or a receiver in a program. Can be set.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes that will serve it; 1 is assumed.", show_default=False),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose secrets, or for {tenant} in URL.", show_default=False),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=300, metavar="SECONDS", help="For each answer.")
    ] = SENDER_WAITS,
    app_dir: AppDir = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong: with an endpoint, from outside, or with a receiver, from inside.

    Of an endpoint, deliveries of the type doctor.check are sent to it, which nobody handles by name.
    """
    with endings():
        named = sources.current().named
        target = target or (settings().get("receiver") if named else None)
        if named if target is None else "://" in target:
            code = _examine_url(target, workers, tenant, timeout, as_json=as_json)
        elif target is not None and _is_host(target):
            raise OperatorError(f"{target!r}: did you mean http://{target}?")
        else:
            from airweave_webhooks.cli.doctor.program import Program

            program = Program(receiver_of(target, app_dir), target, workers, tenant, timeout)
            code = _examine_program(program, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _examine_url(target: str | None, workers: int | None, tenant: str | None, timeout: float, *, as_json: bool) -> int:
    from airweave_webhooks.cli.doctor.outside import CHECKS

    if workers is not None:
        raise OperatorError("--workers is for module:receiver; from outside, processes cannot be told apart")
    endpoint = _endpoint(target, tenant, timeout)
    report = _go_through(CHECKS, endpoint, as_json=as_json)
    return _code(report, unanswered=not endpoint.answered)


def _endpoint(target: str | None, tenant: str | None, timeout: float) -> "Endpoint":
    import httpx

    from airweave_webhooks.cli.doctor.endpoint import Endpoint
    from airweave_webhooks.cli.doctor.signers import signers_for

    text = _where(target)
    if "{tenant}" in text:
        if tenant is None:
            raise OperatorError(f"{text}: whose? Name a tenant: --tenant NAME")
        text = text.replace("{tenant}", tenant)
    try:
        url = httpx.URL(text)
        _ = url.port
    except httpx.InvalidURL as error:
        raise OperatorError(f"{text!r} is not a URL: {error}") from None
    signers, source, no_secret = signers_for(settings(), text)
    return Endpoint(url, signers, source, no_secret, timeout)


def _where(target: str | None) -> str:
    """The endpoint that is named, or set, or served on this machine."""
    if target is None and settings().get("url") is None and not known_servers():
        raise OperatorError(
            "what is to be looked at? Write a URL, or module:receiver as in app:receiver; or set"
            f" {variable('receiver')} or {variable('url')}"
        )
    return url_of(settings(), target)


def _examine_program(program: "Program", *, as_json: bool) -> int:
    from airweave_webhooks.cli.doctor.inside import CHECKS

    report = _go_through(CHECKS, program, as_json=as_json)
    urls = [url] if (url := settings().get("url")) else [server.url for server in known_servers()]
    for url in urls:
        report.hint(f"from outside: {sources.typed('doctor', url)}")
    code = _code(report, unanswered=program.unanswered)
    if report.stuck:  # in a thread, such as a lookup of secrets that never answers: it would be waited for
        sys.stdout.flush()
        os._exit(code)
    return code


def _go_through(checks: "Sequence[Check[P]]", patient: P, *, as_json: bool) -> "Report":
    from airweave_webhooks.cli.doctor.findings import examine
    from airweave_webhooks.cli.doctor.report import Report

    report = Report(as_json=as_json)

    async def run() -> None:
        async for finding in examine(checks, patient, report.showing):
            report.add(finding)

    runner = asyncio.Runner()
    try:
        runner.run(run())
    except BaseException:
        runner.close()
        raise
    report.end()
    report.stuck = bool(asyncio.all_tasks(runner.get_loop()))
    if not report.stuck:
        runner.close()
    return report


def _code(report: "Report", *, unanswered: bool) -> int:
    if unanswered:
        return UNREACHABLE
    return FAILED if report.levels["problem"] else 0


def _is_host(target: str) -> bool:
    """Whether somebody left out `http://`."""
    return re.fullmatch(r"[\w.-]+:\d+(/.*)?|[\w-]+(\.[\w-]+)+/.*", target) is not None
