"""Where in the user's program an error comes from, in a few lines."""

import importlib
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SHOWN_FRAMES: Final = 3

# Frames in which a user can do nothing about it: ours, those of the import, and those of packages.
_OURS: Final = (str(Path(__file__).parents[1]), importlib.__file__, "<frozen importlib")
_PACKAGES: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def users_frames(error: BaseException, *, most: int = SHOWN_FRAMES) -> Sequence[traceback.FrameSummary]:
    """The last frames of an error that are the user's; where none are, those of the package that raised it."""
    every = [
        traceback.FrameSummary(frame.filename, frame.lineno, frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OURS)
    ]
    users = [frame for frame in every if not frame.filename.startswith(_PACKAGES)]
    return (users or every)[-most:]


def what_it_says(error: BaseException) -> str:
    """The error's type and message, whatever its `__str__` does."""
    return "".join(traceback.format_exception_only(error)).rstrip()
