"""The command `airweave-webhooks doctor` as a process, beside servers in the test's own event loop."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("airweave-webhooks")
SECRET = "whsec_c2l4dGVlbiBwbHVzIGVpZ2h0IGJ5dGVzLCBhbGwgbWl4ZWQgdXAh"
"""Not one of an example, and with enough different bytes."""


@dataclass(frozen=True)
class Visit:
    """What the doctor said."""

    code: int
    out: str
    err: str

    @property
    def findings(self) -> list[dict[str, Any]]:
        """All of them, in order."""
        return [json.loads(line) for line in self.out.splitlines()]

    def __getitem__(self, name: Any) -> Any:
        """The worst of a name."""
        order = ("ok", "skipped", "warning", "problem")
        return max((one for one in self.findings if one["name"] == name), key=lambda one: order.index(one["level"]))

    def levels(self) -> dict[str, str]:
        """Of each name that is not ok."""
        return {one["name"]: one["level"] for one in self.findings if one["level"] != "ok"}

    def saw(self, name: str, level: str, seen: str, remedy: str = "") -> None:
        """Check one finding."""
        found = self[name]
        assert found["level"] == level, found
        assert seen in found["seen"], found
        assert remedy in (found["remedy"] or ""), found


async def visit(folder: Path, *arguments: str, readable: bool = False, **environment: Any) -> Visit:
    """Run the doctor in a folder of its own, with nothing set but what is given."""
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    (folder / "pyproject.toml").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRWEAVE_")}
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "doctor",
        *arguments,
        *["--json"] * (not readable),
        cwd=folder,
        env={**kept, "XDG_RUNTIME_DIR": str(runtime), "TERM": "dumb", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 90)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    done = Visit(process.returncode or 0, out.decode(), err.decode())
    assert SECRET not in done.out + done.err
    assert "Traceback" not in done.err, done.err
    return done


async def visit_signed(folder: Path, *arguments: str, **environment: Any) -> Visit:
    """Likewise, with the secret in the environment."""
    return await visit(folder, *arguments, AIRWEAVE_WEBHOOK_SECRET=SECRET, **environment)
