"""Whether there is a way to the endpoint: name, port, TLS, the probe, the path."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from typing import Final

import httpx

from airweave_webhooks.cli.doctor.deliveries import harmless
from airweave_webhooks.cli.doctor.endpoint import Endpoint
from airweave_webhooks.cli.doctor.findings import Verdict, ok, problem, skipped, warning
from airweave_webhooks.cli.doctor.places import place
from airweave_webhooks.cli.words import one_line

DAY: Final = 86_400.0
ENDS_SOON: Final = 14
"""Days."""
PROBE_WITHIN: Final = 5.0
"""Seconds that Airweave waits for an answer to its probe."""


async def reachable(endpoint: Endpoint) -> Verdict:
    """Whether its name is known, and something listens."""
    host, port = endpoint.url.host, _port(endpoint.url)
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    try:
        async with asyncio.timeout(endpoint.timeout):
            await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return problem(
            f"DNS knows no {host}", "check the spelling of the host, and whether its DNS record has been published"
        )
    except TimeoutError:
        return problem(f"DNS did not answer for {host}", "check this machine's network, and try again")
    try:
        async with asyncio.timeout(endpoint.timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return problem(
            f"{host}:{port} did not answer within {endpoint.timeout:g} s",
            "open the port in the firewall or security group, and check that the address is the server's",
        )
    except ConnectionRefusedError:
        return problem(
            f"{host}:{port} refuses connections",
            "start the server, and check its port, and that it listens on this address and not on 127.0.0.1 alone",
        )
    except OSError as error:
        return problem(
            f"{host}:{port} cannot be reached: {one_line(error.strerror or str(error))}", "check the network"
        )
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ok(f"{host}:{port} takes connections ({(time.monotonic() - started) * 1000:.0f} ms)")


async def tls(endpoint: Endpoint) -> Verdict:
    """Whether the certificate is one that the sender trusts, and for how long."""
    host = endpoint.url.host
    if endpoint.url.scheme == "http":
        if _is_loopback(host):
            return skipped("http, on this machine only", "give Airweave an https URL that it can reach from outside")
        return problem(
            "http: everybody on the way can read the events", "put TLS in front, and subscribe with the https URL"
        )
    try:
        async with asyncio.timeout(endpoint.timeout):
            _, writer = await asyncio.open_connection(host, _port(endpoint.url), ssl=endpoint.tls())
    except ssl.SSLCertVerificationError as error:
        endpoint.distrust()
        return problem(
            f"the certificate is not trusted: {one_line(error.verify_message)}; the rest is asked without checking it",
            "serve a certificate of a public authority for this host, with its intermediate certificates",
        )
    except (OSError, TimeoutError, ssl.SSLError) as error:
        return problem(
            f"no TLS is spoken at {host}:{_port(endpoint.url)}: {one_line(str(error)) or 'no answer'}",
            "check the port, or put TLS in front of the server",
        )
    certificate = writer.get_extra_info("peercert")
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / DAY
    if days < ENDS_SOON:
        return warning(
            f"the certificate is trusted, and ends in {days:.0f} days",
            "renew it now, and see why that does not happen by itself",
        )
    return ok(f"the certificate is trusted, for {days:.0f} more days")


async def probe(endpoint: Endpoint) -> Verdict:
    """Whether the `HEAD` is answered by which Airweave tries a new subscription's URL."""
    before, endpoint.timeout = endpoint.timeout, min(endpoint.timeout, PROBE_WITHIN)
    try:
        answer = await endpoint.head()
    finally:
        endpoint.timeout = before
    if answer.status:
        return ok(f"HEAD, with which Airweave tries a new URL, got {answer.status} in {answer.seconds * 1000:.0f} ms")
    return problem(
        f"HEAD, with which Airweave tries a new URL, got {answer.failure}",
        f"any HTTP answer within {PROBE_WITHIN:g} s will do; without one Airweave refuses the subscription",
    )


async def post(endpoint: Endpoint) -> Verdict:
    """Whether it is a receiver that answers to `POST` on this path, and not a redirect or a page."""
    endpoint.first = await endpoint.post([], harmless().body)
    return place(endpoint.first, endpoint)


async def slash(endpoint: Endpoint) -> Verdict:
    """Which spelling works: with a slash at the end, or without."""
    url = endpoint.url
    if url.path in {"", "/"}:
        return ok("the path is the root, which has one spelling")
    other = url.copy_with(path=url.path[:-1] if url.path.endswith("/") else url.path + "/")
    answer = await endpoint.post([], harmless().body, other)
    if answer.status == endpoint.first.status:
        return ok("with and without a slash at the end it answers alike")
    return ok(f"only {url} works; {other} gets {answer}, so subscribe with this very spelling")


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
