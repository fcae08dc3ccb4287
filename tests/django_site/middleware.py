"""What middleware does to bodies, as the first part of the path says."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest


def touch(request: Any) -> None:
    match request.path.split("/")[1]:
        case "consumed":
            request.read()
        case "closed":
            request.read()
            request._stream.close()
        case "re-encoded":
            body = json.dumps(json.loads(request.read())).encode()
            request._stream = BytesIO(body)
            request.META["CONTENT_LENGTH"] = str(len(body))
        case "longer":
            request._stream = BytesIO(json.dumps(json.loads(request.read())).encode())
        case "posted":
            assert len(request.POST) == 0
        case _:
            return


class Touching:
    """Sync or async, as what follows it is."""

    sync_capable = async_capable = True

    def __init__(self, following: Callable[[HttpRequest], Any]) -> None:
        self._following = following
        if iscoroutinefunction(following):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        touch(request)
        return self._following(request)


touching = Touching
