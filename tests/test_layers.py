"""Dependencies point one way, typing-only and lazy imports included, and CONTRIBUTING tells the same order."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "foundry_bench"
FLOORS = (
    "errors, variants, storage",
    "registry, points, parameters",
    "datasets, descriptions",
    "context, encoder, progress",
    "method, task, stack",
    "selectors",
    "teachers",
    "students",
    "training",
    "heads",
    "cost",
    "methods, tasks",
    "testing, sweep",
    "display, report, trackers",
    "api",
    "cli",
)
"""From the ground up: a module imports from its own floor and from those below."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, ``methods/`` and ``tasks/`` where they are mapped to."""
    found = {}
    for folder, prefix in ((PACKAGE, ()), ("methods", (PACKAGE,)), ("tasks", (PACKAGE,))):
        for file in (ROOT / folder).rglob("*.py"):
            parts = (*prefix, *file.relative_to(ROOT).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that ``file`` imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return {name for name in found if name and known[name] != file}


def room(module: str) -> str:
    """The folder or flat module directly below the package; the package itself is its front door, ``api``."""
    return module.split(".")[1] if "." in module else "api"


KNOWN = modules()
GRAPH = {module: imports(file, KNOWN) for module, file in KNOWN.items()}
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split(", ")}


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in KNOWN} == set(FLOOR)


def test_no_module_imports_from_a_floor_above() -> None:
    upwards = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if FLOOR[room(other)] > FLOOR[room(module)]
    ]
    assert not upwards


def test_imports_run_in_no_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_few_modules_stand_flat() -> None:
    flat = [file.name for file in (ROOT / PACKAGE).glob("*.py")]
    assert len(flat) <= 16, sorted(flat)


def test_every_room_is_packaged() -> None:
    packages = (ROOT / "pyproject.toml").read_text().split("packages = [")[1].split("]")[0]
    rooms = [module for module, file in KNOWN.items() if file.name == "__init__.py"]
    assert not [module for module in rooms if f'"{module}"' not in packages]


def test_contributing_tells_the_same() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert " -> ".join(f"`{floor}`" for floor in FLOORS) in " ".join(text.split())
    for name in sorted(FLOOR.keys() - {"methods", "tasks"}):
        folder = (ROOT / PACKAGE / name).is_dir()
        assert f"\n  {name}/ " in text if folder else f"{name}.py" in text, name
