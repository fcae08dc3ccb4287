"""The application on a host whose clock is wrong: `python -m failure.skewed`.

`CLOCK` says by how many seconds. From the moment on that the file `STEP` exists, it is right.
"""

import os
import runpy
import time
from pathlib import Path

_real = time.time
_offset = float(os.environ["CLOCK"])
_step = Path(os.environ["STEP"])


def _wrong() -> float:
    return _real() + (0.0 if _step.exists() else _offset)


time.time = _wrong
time.time_ns = lambda: int(_wrong() * 1e9)

if __name__ == "__main__":
    runpy.run_module("failure.app", run_name="__main__")
