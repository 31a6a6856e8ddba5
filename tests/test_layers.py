"""Dependencies point one way, typing-only and lazy imports included, and CONTRIBUTING tells the same order."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "foundry_bench"
FLOORS = (
    "errors, border, variants, storage, beforehand",
    "registry, points, parameters",
    "datasets, descriptions",
    "context, encoder, progress",
    "method, task, stack",
    "selectors",
    "teachers",
    "students",
    "training",
    "heads",
    "exports",
    "authoring",
    "runtimes",
    "cost",
    "methods, tasks",
    "testing, sweep",
    "display, figures, report, trackers",
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


def named(node: ast.AST, module: str) -> list[str]:
    """The dotted names that one statement of ``module`` imports; those of a relative import too, and of
    ``importlib.import_module("...")``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = [*module.split(".")[: -node.level]] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{source}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        return [
            arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
    return []


def imports(module: str, known: dict[str, Path], text: str | None = None) -> set[str]:
    """The modules of the package that ``module`` imports anywhere in its ``text``, by default that of its file."""
    file = known[module]
    inside = f"{module}.__init__" if file.name == "__init__.py" else module
    found = set()
    for node in ast.walk(ast.parse(file.read_text() if text is None else text)):
        for name in named(node, inside):
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return found - {"", module}


def room(module: str) -> str:
    """The folder or flat module directly below the package; the package itself is its front door, ``api``, and ``python -m``
    another way into ``cli``."""
    below = module.split(".")[1] if "." in module else "api"
    return "cli" if below == "__main__" else below


def upwards(module: str, others: set[str]) -> list[str]:
    """Those of the imports of ``module`` that stand on a floor above its own."""
    return sorted(other for other in others if FLOOR[room(other)] > FLOOR[room(module)])


KNOWN = modules()
GRAPH = {module: imports(module, KNOWN) for module in KNOWN}
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split(", ")}


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in KNOWN} == set(FLOOR)


def test_no_module_imports_from_a_floor_above() -> None:
    assert not [
        f"{module} imports {other}" for module, others in GRAPH.items() for other in upwards(module, others)
    ]


@pytest.mark.parametrize("module", ["foundry_bench.methods.tome", "foundry_bench.tasks.fewshot"])
@pytest.mark.parametrize(
    "statement",
    [
        "import foundry_bench.sweep.record",
        "import foundry_bench.report as report",
        "from foundry_bench import sweep",
        "from foundry_bench import run_sweep",
        "from foundry_bench.sweep.record import Record",
        "from foundry_bench.trackers.base import Tracker",
        "from .. import sweep",
        "from ..cli import main",
        "from ..sweep.record import Record",
        "if TYPE_CHECKING:\n    from foundry_bench.sweep.record import Record",
        "def late():\n    from foundry_bench.sweep import record",
        "importlib.import_module('foundry_bench.sweep.record')",
    ],
)
def test_an_import_of_what_lies_above_is_seen_however_it_is_written(module: str, statement: str) -> None:
    assert upwards(module, imports(module, KNOWN, statement))


def test_an_import_of_a_neighbour_is_seen_however_it_is_written() -> None:
    tome, engines = "foundry_bench.methods.tome", "foundry_bench.sweep.engines"
    for text in (
        "from .fps import SubsetStudent",
        "from . import fps",
        "from foundry_bench.methods import fps",
    ):
        assert "foundry_bench.methods.fps" in imports(tome, KNOWN, text)
        assert not upwards(tome, imports(tome, KNOWN, text))
    assert imports(engines, KNOWN, "from .base import Engine") == {f"{engines}.base"}


def test_imports_run_in_no_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_few_modules_stand_flat() -> None:
    flat = [file.name for file in (ROOT / PACKAGE).glob("*.py") if not file.name.startswith("__")]
    assert len(flat) <= 15, sorted(flat)


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
