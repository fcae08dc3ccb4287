"""Servers that are not asynchronous: WSGI's reference server, and a stand-in for AWS Lambda's function URLs."""

import asyncio
import base64
import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

Invoke = Callable[[dict[str, Any], Any], dict[str, Any]]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


class _Threading(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


@contextlib.contextmanager
def serving_wsgi(app: Any) -> Iterator[str]:
    """Serve a WSGI application with `wsgiref`, a thread for each request, and give its URL."""
    with make_server("127.0.0.1", 0, app, _Threading, _Quiet) as server, _in_thread(server) as url:
        yield url


@contextlib.contextmanager
def serving_lambda(make: Callable[[], Invoke], *, base64_bodies: bool = False) -> Iterator[str]:
    """Serve a Lambda function as its URL does: one request at a time, each an event of payload format 2.0."""
    functions: list[Invoke] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def answer(self) -> None:
            if not functions:
                functions.append(make())  # in the thread that invokes it, as Lambda imports it
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = functions[0](function_url_event(self.command, self.path, headers, body, base64_bodies), None)
            self.send_response(answer["statusCode"])
            for name, value in answer["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer["body"].encode())

        do_POST = do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server, _in_thread(server) as url:
        yield url


def function_url_event(
    method: str, path: str, headers: dict[str, str], body: bytes, as_base64: bool = False
) -> dict[str, Any]:
    """What AWS Lambda hands to a function for one request to its URL, or to an HTTP API of API Gateway.

    See "Request payload format" in AWS's documentation of function URLs.
    """
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "url-id",
            "domainName": "url-id.lambda-url.eu-central-1.on.aws",
            "domainPrefix": "url-id",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "x"},
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Apr/2026:12:00:00 +0000",
            "timeEpoch": 1775044800000,
        },
        "isBase64Encoded": as_base64,
    }
    if body:
        event["body"] = base64.b64encode(body).decode() if as_base64 else body.decode()
    return event


@contextlib.contextmanager
def _in_thread(server: HTTPServer) -> Iterator[str]:
    def serve() -> None:
        with asyncio.Runner() as runner:  # mangum takes the thread's event loop, and never closes it
            asyncio.set_event_loop(runner.get_loop())
            server.serve_forever(poll_interval=0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
