"""Selectors and discovery."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.selectors import (
    Part,
    Selector,
    build_method,
    expand,
    parse_selector,
    selector_text,
    split_selectors,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tome", Selector((Part("tome"),))),
        ("tome+fmd", Selector((Part("tome"),), "fmd")),
        ("tome[r=1,2]", Selector((Part("tome", {"r": (1, 2)}),))),
        (
            "a[x=1,2.5,y=auto,z=true]+off-the-shelf",
            Selector((Part("a", {"x": (1, 2.5), "y": ("auto",), "z": (True,)}),), "off-the-shelf"),
        ),
        ("a[x=1]+b+c[y=2]+fmd", Selector((Part("a", {"x": (1,)}), Part("b"), Part("c", {"y": (2,)})), "fmd")),
    ],
)
def test_selectors(text: str, expected: Selector) -> None:
    assert parse_selector(text) == expected


@pytest.mark.parametrize("text", ["tome[r=1", "tome[1,2]", "tome[r=1]x", ""])
def test_unreadable_selectors_say_how_to_write_them(text: str) -> None:
    with pytest.raises(UserError, match="cannot read selector"):
        parse_selector(text)


def test_commas_inside_brackets_do_not_split() -> None:
    assert split_selectors("a[x=1,2],b, c+fmd") == ["a[x=1,2]", "b", "c+fmd"]


def test_expansion_fills_the_grid_and_the_variants() -> None:
    assert [m.supertokens for m, _ in expand(parse_selector("foundry"))] == [0, 1, 4, 9, 16, 27]
    pairs = expand(parse_selector("tome[r=2,proportional=false]"))
    assert [(m.r, variant) for m, variant in pairs] == [(2, "off-the-shelf"), (2, "fmd")]


@pytest.mark.parametrize(
    "text", ["foundry[supertokens=4]+truncate+fmd", "tome[r=8]+off-the-shelf", "foundry+kd[depth=3]+fmd"]
)
def test_a_row_is_named_as_it_is_selected_and_rebuilt_from_its_parameters(text: str) -> None:
    ((method, variant),) = expand(parse_selector(text), use_grid=False)
    shown = method.shown(method.params())
    assert expand(parse_selector(selector_text(method.name, shown, variant)), use_grid=False) == [
        (method, variant)
    ]
    assert build_method(method.name, json.loads(json.dumps(method.params()))) == method


def test_in_a_stack_parameters_that_are_not_asked_for_keep_their_defaults() -> None:
    methods = [method for method, _ in expand(parse_selector("foundry[supertokens=1,4]+kd"))]
    assert [m.params()["supertokens"] for m in methods] == [1, 4]
    assert {m.params()["kd.depth"] for m in methods} == {2}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("fundry", "did you mean 'foundry'"),
        ("foundry[supertoken=1]", "did you mean 'supertokens'"),
        ("foundry+fmt", "did you mean 'fmd'"),
        ("foundry[supertokens=-1]", "must be >= 0"),
    ],
)
def test_mistakes_get_the_nearest_name(text: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        expand(parse_selector(text))


def test_two_plugins_with_one_name_and_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    group = "foundry_bench.methods"
    points = [EntryPoint("twin", "a:A", group), EntryPoint("twin", "b:B", group)]
    monkeypatch.setattr(registry, "_installed", lambda group, places: EntryPoints(points))
    with pytest.raises(UserError, match="two plugins are called 'twin'"):
        registry.entries("methods")
    points = [EntryPoint("broken", "no_such_module:A", group)]
    assert list(registry.entries("methods")) == ["broken"]
    with pytest.raises(UserError, match=r"'broken'.*cannot be imported"):
        registry.load("methods", "broken")
