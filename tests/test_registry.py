"""Discovery."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from foundry_bench import registry
from foundry_bench.errors import UserError


def test_two_plugins_with_one_name_and_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    group = "foundry_bench.methods"
    points = [EntryPoint("twin", "a:A", group), EntryPoint("twin", "b:B", group)]
    monkeypatch.setattr(registry, "_installed", lambda places: registry.Installed(tuple(points), {}))
    with pytest.raises(UserError, match="two plugins are called 'twin'"):
        registry.load("methods", "twin")
    assert list(registry.entries("methods")) == ["twin"], "a clash breaks no other command"
    points = [EntryPoint("broken", "no_such_module:A", group)]
    assert list(registry.entries("methods")) == ["broken"]
    with pytest.raises(UserError, match=r"'broken'.*cannot be imported"):
        registry.load("methods", "broken")
