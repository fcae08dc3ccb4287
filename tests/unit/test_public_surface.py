"""What users can rely on: names, documentation, types, and what an import costs. And who may know whom."""

import ast
import graphlib
import importlib
import importlib.resources
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import airweave_webhooks
from airweave_webhooks import Event
from airweave_webhooks.events import EVENT_TYPES

PACKAGE: Final = "airweave_webhooks"
SOURCE: Final = Path(airweave_webhooks.__file__).parent

# The rooms, and who may know whom: a room imports only rooms that stand above it, not even its neighbours in a line.
# "face" is what users import from, the package's own __init__.
ROOMS: Final = [
    "errors, threads",
    "events, signing",
    "delivery",
    "keyring, telemetry",
    "routing, stores, modes, deadlines, gate",
    "backlog, bodies, claiming, execution, grace, health, housekeeping, leases, selection, standstill",
    "holder, openings, operations",
    "worker",
    "pipeline",
    "asgi",
    "receiver",
    "face",
    "integrations, testing",
    "cli",
]
LEVELS: Final = {room: level for level, line in enumerate(ROOMS) for room in line.split(", ")}

# What `import airweave_webhooks` leaves alone: drivers, frameworks, and everything that an extra brings.
LEFT_ALONE: Final = {
    *("aiosqlite", "asyncpg", "psycopg", "psycopg2", "psycopg_pool", "redis", "sqlalchemy"),
    *("a2wsgi", "flask", "litestar", "mangum", "quart"),
    *("django", "fastapi", "httpcore", "httpx", "opentelemetry", "requests", "svix", "uvicorn"),
    *("click", "cryptography", "pytest", "rich", "typer"),
}


def modules() -> dict[str, Path]:
    """Every module of the package: its dotted name, and its file."""
    files = {path.relative_to(SOURCE.parent).with_suffix("").parts: path for path in SOURCE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for parts, path in files.items()}


MODULES: Final = modules()
FACES: Final = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


def imports(name: str) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in its text."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import, which is harder to read"
            origin = str(node.module)
            if origin.partition(".")[0] == PACKAGE:
                named = {f"{origin}.{alias.name}" for alias in node.names}
                yield from named & set(MODULES) or {origin}


def room_of(module: str) -> str:
    """The room that a module is in."""
    return module.removeprefix(PACKAGE).removeprefix(".").split(".")[0] or "face"


def test_every_room_has_a_place() -> None:
    """A new room is written into the order above, and one that is gone is taken out."""
    assert set(LEVELS) == {room_of(name) for name in MODULES}


@pytest.mark.parametrize("room", LEVELS)
def test_a_room_imports_only_rooms_above_it(room: str) -> None:
    """No import points downwards or sideways, also not inside of functions or for type checkers only."""
    wrong = [
        f"{name} imports {imported}"
        for name in MODULES
        if room_of(name) == room
        for imported in imports(name)
        if room_of(imported) != room and LEVELS[room_of(imported)] >= LEVELS[room]
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """Inside a room, too, there is an order in which its modules can be read."""
    order = list(graphlib.TopologicalSorter({name: set(imports(name)) for name in MODULES}).static_order())
    assert order.index(f"{PACKAGE}.errors") < order.index(f"{PACKAGE}.receiver")


def own_names(face: str) -> set[str]:
    """What a package's `__init__` defines, or takes from its own modules, under a public name."""
    names: set[str] = set()
    body = ast.parse(MODULES[face].read_text()).body
    if any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in body):
        # What it imports when it is asked for, it shows to type checkers.
        body += [inner for node in body if isinstance(node, ast.If) for inner in node.body]
    for node in body:
        match node:
            case ast.ImportFrom(module=str(origin)) if origin.partition(".")[0] == PACKAGE:
                if origin == face or origin.startswith(f"{face}."):
                    names |= {alias.asname or alias.name for alias in node.names}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def in_order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as the linter has it."""
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("face", FACES)
def test_all_is_complete(face: str) -> None:
    """`__all__` names what a package gives to others, all of it and nothing else."""
    assert set(getattr(importlib.import_module(face), "__all__", [])) == own_names(face)


@pytest.mark.parametrize("face", FACES)
def test_all_is_sorted_and_exists(face: str) -> None:
    """`__all__` has each name once, in order, and each can be had."""
    importlib.import_module("django_databases")  # sets up a project: without one there are no models
    module = importlib.import_module(face)
    names: list[str] = getattr(module, "__all__", [])
    assert names == sorted(set(names), key=in_order)
    assert [name for name in names if not hasattr(module, name)] == []


def test_every_event_class_is_in_the_face() -> None:
    """Each type's class and its bases, `UnknownEvent` and `Event` can be imported from the package."""
    classes = {base.__name__ for cls in EVENT_TYPES.values() for base in cls.__mro__ if issubclass(base, Event)}
    public = {name for name in classes if not name.startswith("_")} | {"UnknownEvent"}
    assert len(public) > len(EVENT_TYPES)
    assert public - set(airweave_webhooks.__all__) == set()


def test_promised_names_are_in_the_face() -> None:
    """These names stay where they are from the first release on."""
    promised = (
        "Delivery Event Inline MemoryStore PostgresStore Receiver RedisStore Reject Reply Retry Router SQLiteStore"
        " UnknownEvent natural_key"
    )
    assert set(promised.split()) - set(airweave_webhooks.__all__) == set()


def undocumented(node: ast.AST, path: str) -> Iterator[str]:
    """Public classes, functions and methods below `node` that say nothing about themselves."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        is_overload = any(isinstance(one, ast.Name) and one.id == "overload" for one in child.decorator_list)
        if child.name.startswith("_") or is_overload:
            continue
        if not ast.get_docstring(child):
            yield f"{path}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, f"{path}.{child.name}")


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_documented(name: str) -> None:
    """Each module, class, function and method without an underscore has a docstring."""
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree), f"{name} does not say what it is"
    assert list(undocumented(tree, name)) == []


def test_types_are_shipped() -> None:
    """Type checkers believe our annotations: the marker is there, and the wheel takes the whole package."""
    assert importlib.resources.files(PACKAGE).joinpath("py.typed").is_file()
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == [f"src/{PACKAGE}", "src/pytest_airweave_webhooks.py"]
    assert wheel.keys() == {"only-include", "sources"}  # nothing is left out


def test_an_import_loads_nothing_that_is_optional() -> None:
    """`import airweave_webhooks` in a fresh process loads no driver, no framework and nothing of an extra."""
    program = f"import sys, {PACKAGE}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert PACKAGE in loaded
    assert loaded & LEFT_ALONE == set()
