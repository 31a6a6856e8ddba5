"""What the source of a built-in plugin tells is what its import tells."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from foundry_bench import registry
from foundry_bench.descriptions import reading
from foundry_bench.descriptions.description import description_of
from foundry_bench.descriptions.facts import Facts, facts_of
from foundry_bench.descriptions.reading import UnreadableError, read_facts

OWN = [
    (kind, name)
    for kind in registry.KINDS
    for name, entry in registry.entries(kind).items()
    if registry.distribution(entry) == registry.OWN
]


def shown(facts: Facts) -> dict[str, object]:
    """Facts in a form in which those of a stand-in are equal to those of its class."""
    metrics = [vars(metric) for metric in facts.attributes.get("metrics", ())]
    return {**vars(facts), "attributes": {**facts.attributes, "metrics": metrics}}


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_the_source_tells_what_the_import_tells(kind: str, name: str) -> None:
    read, imported = read_facts(registry.entries(kind)[name]), facts_of(registry.load(kind, name))
    assert shown(read) == shown(imported)
    assert list(read.parameters) == list(imported.parameters), "in the same order"
    assert description_of(read) == description_of(imported)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Facts]]:
    """Reads class ``It`` of a module with the given source."""

    def facts(text: str) -> Facts:
        (tmp_path / "source.py").write_text(text)
        monkeypatch.setattr(reading, "file_of", lambda module: tmp_path / "source.py")
        reading._names.cache_clear()
        reading._named.cache_clear()
        return read_facts(EntryPoint("it", "source:It", "foundry_bench.methods"))

    yield facts
    reading._names.cache_clear()
    reading._named.cache_clear()


@pytest.mark.parametrize(
    "body",
    [
        "class It:\n    abstract = 'no docstring'",
        "class It:\n    'x'\n    grid = make()",
        "from torch import nn\nclass It:\n    'x'\n    grid = {'act': (nn.ReLU(),)}",
        "class It:\n    'x'\n    abstract = 1 / 0",
        "@dataclass\nclass It:\n    'x'\n    needed: int",
        "class Other: pass",
        "It = 3",
        "class It(",
    ],
)
def test_what_only_an_import_tells_is_not_guessed(read: Callable[[str], Facts], body: str) -> None:
    with pytest.raises(UnreadableError):
        read(f"{body}\n")


def test_reading_all_needs_neither_torch_nor_numpy() -> None:
    code = """
import sys
from foundry_bench import registry
from foundry_bench.descriptions.reading import read_facts
for kind in registry.KINDS:
    for entry in registry.entries(kind).values():
        registry.distribution(entry) == registry.OWN and read_facts(entry)
sys.exit(str({"torch", "numpy"} & set(sys.modules)) if {"torch", "numpy"} & set(sys.modules) else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
