"""Authors of methods import from one module, which says what each name is for; the built-in methods do so too."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from foundry_bench import authoring

ROOT = Path(__file__).parents[1]
AUTHORS = (*sorted((ROOT / "methods").glob("[!_]*.py")), ROOT / "tests" / "plugin" / "keep_first.py")


def imported(file: Path) -> set[str]:
    """The modules of the package that ``file`` imports from, those of other methods left out."""
    nodes = ast.walk(ast.parse(file.read_text()))
    found = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name for name in found if name.split(".")[0] == "foundry_bench" and ".methods." not in name}


@pytest.mark.parametrize("file", AUTHORS, ids=lambda file: file.stem)
def test_methods_import_from_one_module(file: Path) -> None:
    assert imported(file) <= {"foundry_bench.authoring"}


def test_every_name_is_there_and_told_in_one_line() -> None:
    told = re.findall(r"^- ``(\w+)``: ", authoring.__doc__ or "", re.MULTILINE)
    assert sorted(told) == sorted(authoring.__all__)
    assert all(hasattr(authoring, name) for name in told)
