"""Selectors: their grammar, what their values may be, and that what is shown can be selected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import pytest
import yaml

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.method import Method
from foundry_bench.parameters.text import as_text, read_text
from foundry_bench.parameters.types import Bounds, WrongValueError, hints, hold, known
from foundry_bench.selectors import (
    Part,
    Selector,
    build_method,
    expand,
    expand_task,
    instance,
    parse_selector,
    read_values,
    record_selector,
    selector_text,
    shown_fields,
    split_selectors,
    values_text,
)
from foundry_bench.stack import Stack
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.engines.base import Engine
from foundry_bench.sweep.identity import identity
from foundry_bench.sweep.plan import plan
from foundry_bench.trackers.base import Tracker
from foundry_bench.variants import OFF_THE_SHELF


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


@pytest.mark.parametrize(
    "text", ["tome[r=1", "tome[1,2]", "tome[r=1]x", "", "tome+", "+tome", "tome++fmd", "a+ +fmd"]
)
def test_unreadable_selectors_say_how_to_write_them(text: str) -> None:
    with pytest.raises(UserError, match="cannot read selector"):
        parse_selector(text)


def test_commas_inside_brackets_do_not_split() -> None:
    assert split_selectors("a[x=1,2],b, c+fmd") == ["a[x=1,2]", "b", "c+fmd"]


def test_expansion_fills_the_grid_and_the_variants() -> None:
    found = [(m.supertokens, m.published) for m, _ in expand(parse_selector("foundry"))]
    assert found == [*((s, False) for s in (0, 1, 4, 9, 16, 27)), (16, True)]
    assert [m.tau for m, _ in expand(parse_selector("foundry[tau=0.5,supertokens=4]"))] == [0.5], (
        "no further row"
    )
    pairs = expand(parse_selector("tome[r=2,proportional=false]"))
    assert [(m.r, variant) for m, variant in pairs] == [(2, "off-the-shelf"), (2, "fmd")]


def test_by_default_a_bare_name_stands_for_the_rows_at_matched_cost() -> None:
    found = expand(parse_selector("foundry"), grid="default")
    assert [(m.supertokens, m.published) for m, _ in found] == [(16, False), (16, True)]
    assert [m.r for m, _ in expand(parse_selector("tome+fmd"), grid="default")] == [16]
    asked = expand(parse_selector("tome[r=2]+fmd"), grid="default")
    assert [(m.r, m.proportional) for m, _ in asked] == [(2, False), (2, True)], "what is asked for is kept"


def test_a_method_without_rows_at_matched_cost_stands_for_its_grid() -> None:
    assert expand(parse_selector("wanda"), grid="default") == expand(parse_selector("wanda"))


@pytest.mark.parametrize(
    "text",
    ["foundry[supertokens=4]+truncate+fmd", "tome[r=8]+off-the-shelf", "foundry+lowrank[keep=0.5]+fmd"],
)
def test_a_row_is_named_as_it_is_selected_and_rebuilt_from_its_parameters(text: str) -> None:
    ((method, variant),) = expand(parse_selector(text), grid=None)
    shown = method.shown(method.params())
    assert expand(parse_selector(selector_text(method.name, shown, variant)), grid=None) == [
        (method, variant)
    ]
    assert build_method(method.name, json.loads(json.dumps(method.params()))) == method


def test_in_a_stack_parameters_that_are_not_asked_for_keep_their_defaults() -> None:
    methods = [method for method, _ in expand(parse_selector("foundry[supertokens=1,4]+lowrank"))]
    assert [m.params()["supertokens"] for m in methods] == [1, 4]
    assert {m.params()["lowrank.keep"] for m in methods} == {0.38}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("fundry", "did you mean 'foundry'"),
        ("foundry[supertoken=1]", "did you mean 'supertokens'"),
        ("foundry+fmt", "did you mean 'fmd'"),
        ("foundry[supertokens=-1]", r"must be in \[0, 1024\]"),
    ],
)
def test_mistakes_get_the_nearest_name(text: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        expand(parse_selector(text))


WRONG = {
    "foundry[hidden_ratio=abc]": "hidden_ratio takes a number in (0, 64], such as foundry[hidden_ratio=1.0]",
    "foundry[supertokens=2.5]": "supertokens takes a whole number in [0, 1024], such as foundry[supertokens=16]",
    "foundry[supertokens=abc]": "supertokens takes a whole number in [0, 1024], such as foundry[supertokens=16]",
    "foundry[supertokens=]": "supertokens takes a whole number in [0, 1024], such as foundry[supertokens=16]",
    "foundry[supertokens=-1]": "supertokens must be in [0, 1024] and takes a whole number, such as foundry[supertokens=16]",
    "foundry[supertokens=99999999999]": "supertokens must be in [-2147483647, 2147483647] and takes a whole number, "
    "such as foundry[supertokens=16]",
    "foundry[supertokens=2024-01-01]": "supertokens takes a whole number in [0, 1024], such as foundry[supertokens=16]",
    "foundry[supertokens={a: 1}]": "supertokens takes a whole number in [0, 1024], such as foundry[supertokens=16]",
    "foundry[tau=nan]": "tau takes a number in [0.001, 1000.0], such as foundry[tau=1.0]",
    "foundry[tau=.inf]": "tau takes a number in [0.001, 1000.0], such as foundry[tau=1.0]",
    "foundry[assignment=firm]": "assignment must be one of hard, soft, slots, random, such as foundry[assignment=hard]",
    "foundry[position=1]": "position takes true or false, such as foundry[position=True]",
    "foundry-gate[r=often]": "r must be a number of at least 0 or auto, such as foundry-gate[r=auto]",
    "kd[depth=1.5]": "depth takes a whole number in [1, 64], such as kd[depth=2]",
    "kd[depth=True]": "depth takes a whole number in [1, 64], such as kd[depth=2]",
    "kd[width=True]": "width takes a number in (0, 1], such as kd[width=1.0]",
    "kd[width=2]": "width must be in (0, 1] and takes a number, such as kd[width=1.0]",
    "kd-expert[dataset=3]": 'dataset takes text, such as kd-expert[dataset="3"]',
    "tome[trained_r=4]": "trained_r takes a tuple, each value a whole number of at least 0, such as tome[trained_r=(8,32)]",
    "tome[trained_r=(4,x)]": "trained_r takes a tuple, each value a whole number of at least 0, "
    "such as tome[trained_r=(8,32)]",
    "tome[trained_r=()]": "trained_r takes a tuple, each value a whole number of at least 0, such as tome[trained_r=(8,32)]",
    "foundry-gate[target=2]": "target must be in [0, 1] and takes a number, such as foundry-gate[target=0.25]",
    "foundry-gate[weight=-1]": "weight must be in [0, 1000000.0] and takes a number, such as foundry-gate[weight=0.1]",
    "tofu[trained_r=(4,-8)]": "trained_r must be >= 0 and takes a tuple, each value a whole number, "
    "such as tofu[trained_r=(8,32)]",
}
UNREADABLE = {
    "foundry[tau=1,tau=2]": "tau stands twice, write tau=1,2",
    "tome[trained_r=(4,8]": "'(4' of trained_r: a tuple is written (4,8)",
    "tome[trained_r=((4,8),2)]": "a tuple is written (4,8)",
    "tome[r=[1]]": "write it as name[param=1,2]+variant",
    "tome[r=1]]": "write it as name[param=1,2]+variant",
    "tome]": "write it as name[param=1,2]+variant",
}
BUILT_IN = [
    (kind, name)
    for kind in ("methods", "tasks")
    for name, entry in registry.entries(kind).items()
    if entry.value.startswith(f"foundry_bench.{kind}.")
]
FIELDS = [(kind, name, key) for kind, name in BUILT_IN for key in known(registry.load(kind, name))]
TIED = {("kd-logit", "alpha"), ("classification", "frozen_epochs")}
"""Parameters whose every other value needs a change of a second one, or is refused with a reason."""


@pytest.mark.parametrize(("text", "answer"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_answered_in_one_line(text: str, answer: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(parse_selector(text))
    assert str(caught.value) == f"{text}: {answer}"


@pytest.mark.parametrize(("text", "answer"), UNREADABLE.items(), ids=UNREADABLE)
def test_what_cannot_be_read_is_answered_in_one_line(text: str, answer: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(parse_selector(text))
    assert str(caught.value).startswith(f"cannot read selector {text!r}; ")
    assert str(caught.value).endswith(answer)


@pytest.mark.parametrize("text", ["9" * 2000, f"foundry[{'9' * 2000}]", "0[\ud7fc]", "tome[\n=1,\n=2]"])
def test_a_long_or_odd_text_is_repeated_in_part_and_as_escapes(text: str) -> None:
    for read in (lambda: expand(parse_selector(text)), lambda: expand_task(text)):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1500


def wrong(hint: Any) -> list[str]:
    """Values as a person writes them that no field annotated with ``hint`` takes."""
    if get_origin(hint) is Annotated:
        return wrong(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return ["4", "abc", "(x)", "", *(f"({text})" for text in wrong(get_args(hint)[0]) if "(" not in text)]
    texts = {
        int: ["abc", "1.5", "true", "", "null", "(1)", "nan"],
        float: ["abc", "true", "", "inf", "nan", "(1.0)"],
    }
    return texts.get(
        hint, {bool: ["abc", "1", "0.5", ""], str: ["1", "true", "", "(a)"]}.get(hint, ["abc", "1e999", ""])
    )


def others(hint: Any, default: Any) -> list[Any]:
    """Values of the type of ``hint`` of which one is in any bounds and not the default."""
    if get_origin(hint) is Annotated:
        return others(get_args(hint)[0], default)
    if get_origin(hint) is tuple:
        return [default[:1], default[::-1], (*default, *default)]
    if hint is str:
        return ["a,b=(c]'\"", "1e3", "true", "two words", " ", "", "é"]
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if choice != default]
    if hint is int:
        return [default + 1, default - 1]
    return [not default] if hint is bool else [0.125, 0.5625, 1, 1e-05, 300.0]


def taken(cls: type, key: str, value: Any) -> bool:
    """Whether a value of the right type lies in the bounds of its field, and other fields let it be."""
    try:
        cls(**{key: value})
    except ValueError:
        return False
    return True


def select(kind: str, text: str) -> Any:
    """The one method or task that ``text`` stands for."""
    if kind == "methods":
        return expand(parse_selector(text), grid=None)[0][0]
    return expand_task(text)[0][0]


def written(kind: str, plugin: Any) -> str:
    """The selector that is shown of a method or task."""
    return selector_text(
        plugin.name, plugin.shown(plugin.params()) if kind == "methods" else shown_fields(plugin), None
    )


@pytest.mark.parametrize(("kind", "name", "key"), FIELDS, ids=[f"{name}-{key}" for _, name, key in FIELDS])
def test_every_parameter_refuses_other_types_in_one_line_that_names_it(
    kind: str, name: str, key: str
) -> None:
    cls = registry.load(kind, name)
    assert hints(cls)[key] is not Any
    default = known(cls)[key].default
    for text in (text for text in wrong(hints(cls)[key]) if read_text(text) is not default):
        with pytest.raises(UserError) as caught:
            select(kind, f"{name}[{key}={text}]")
        message = str(caught.value)
        assert message.startswith(f"{name}[{key}=")
        assert f": {key} " in message
        assert "\n" not in message
        example = message.rpartition("such as ")[2]
        assert select(kind, example) is not None


@pytest.mark.parametrize(("kind", "name", "key"), FIELDS, ids=[f"{name}-{key}" for _, name, key in FIELDS])
def test_every_parameter_can_be_set_and_what_is_shown_selects_the_same(
    kind: str, name: str, key: str
) -> None:
    cls = registry.load(kind, name)
    default = known(cls)[key].default
    values = [value for value in others(hints(cls)[key], default) if taken(cls, key, value)]
    assert values or (name, key) in TIED
    for value in values:
        plugin = select(kind, f"{name}[{key}={as_text(value)}]")
        assert getattr(plugin, key) == value
        assert select(kind, written(kind, plugin)) == plugin
        if kind == "methods":
            assert build_method(name, json.loads(json.dumps(plugin.params()))) == plugin
            behind = cls if OFF_THE_SHELF in cls.variants else registry.load(kind, "int8")
            stacked = Stack((plugin, behind()))
            assert select(kind, written(kind, stacked)) == stacked


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_defaults_and_grids_fit_their_annotations_as_they_are(kind: str, name: str) -> None:
    cls = registry.load(kind, name)
    for key, field in known(cls).items():
        default = getattr(cls(), key) if field.default is None else field.default  # None: others decide
        for value in (default, *getattr(cls, "grid", {}).get(key, ())):
            (text,) = parse_selector(f"{name}[{key}={as_text(value)}]").parts[0].values[key]
            found = build_one(cls, key, text)
            assert (type(found), found) == (type(value), value)


def build_one(cls: type, key: str, value: Any) -> Any:
    """What a field of a fresh plugin holds when it is given ``value``."""
    return getattr(cls(**{key: value}), key)


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (("kd[width=0.5]", "kd[width=5e-1]", "kd[width=.5]"), 0.5),
        (("kd[width=1]", "kd[width=1.0]", "kd[width=1e0]"), 1.0),
    ],
)
def test_one_number_is_one_method_and_one_cell_however_it_is_written(
    texts: tuple[str, ...], value: float
) -> None:
    methods = [select("methods", text) for text in texts]
    assert {json.dumps(method.params()) for method in methods} == {json.dumps({"depth": 2, "width": value})}
    planned = [plan(SweepConfig(methods=(text,), tasks=())).cells for text in texts]
    assert {tuple(cell.id for cell in cells) for cells in planned} == {tuple(cell.id for cell in planned[0])}


def test_a_list_of_tuples_is_a_sweep_over_tuples() -> None:
    found = expand(parse_selector("tome[trained_r=(4,8),(8,16),r=1,2]+fmd"), grid=None)
    assert [(m.trained_r, m.r) for m, _ in found] == [((4, 8), 1), ((4, 8), 2), ((8, 16), 1), ((8, 16), 2)]


def test_tuples_and_quotes_survive_yaml_and_lists_of_selectors() -> None:
    text = "tome[trained_r=(4,8),r=2]+fmd,kd-expert[dataset='a,b]']"
    apart = ["tome[trained_r=(4,8),r=2]+fmd", "kd-expert[dataset='a,b]']"]
    assert split_selectors(text) == apart
    loaded = yaml.safe_load("methods:\n" + "".join(f"  - {item}\n" for item in apart))
    assert loaded == {"methods": apart}
    assert [select("methods", item).params() for item in apart][1]["dataset"] == "a,b]"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -2.5,
        1e-05,
        (4, 8),
        (0.5,),
        (),
        "a b",
        "1",
        "null",
        "",
        "a,b",
        "(x)",
        "k=v",
        '"',
        "o'neil",
        "x]",
        "\n\\",
    ],
    ids=repr,
)
def test_values_are_read_as_they_are_written(value: object) -> None:
    assert read_text(as_text(value)) == value
    assert parse_selector(f"a[x={as_text(value)},y=1]") == Selector((Part("a", {"x": (value,), "y": (1,)}),))
    assert read_values(values_text({"x": value, "b.y": value})) == {"x": value, "b.y": value}


def test_a_record_gives_its_selector_from_its_parameters() -> None:
    params = {
        "r": 8,
        "proportional": False,
        "trained_r": [4, 8],
        "wanda.samples": 3,
        "wanda.sparsity": 0.5,
    }
    shown = "r=8,trained_r=(4,8),wanda.samples=3"
    inputs = {"method": {"name": "tome+wanda"}, "params": params, "shown": shown, "variant": "fmd"}
    assert record_selector(inputs) == "tome[r=8,trained_r=(4,8)]+wanda[samples=3]+fmd"
    broken = {"method": {"name": "gone"}, "params": None, "shown": "", "variant": None}
    assert record_selector(broken) == "gone"


def test_the_name_of_a_cell_can_be_selected() -> None:
    (cell, *_) = plan(
        SweepConfig(methods=("tome[trained_r=(4,8),r=2]+wanda[samples=3]+fmd",), tasks=())
    ).cells[::-1]
    assert cell.inputs["shown"] == "r=2,proportional=False,trained_r=(4,8),wanda.sparsity=0.5,wanda.samples=3"
    text = record_selector(cell.inputs)
    assert text == "tome[r=2,proportional=False,trained_r=(4,8)]+wanda[sparsity=0.5,samples=3]+fmd"
    again = plan(SweepConfig(methods=(text,), tasks=())).cells[::-1][0]
    assert again.id == cell.id == identity(cell.kind, cell.inputs)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("ray[gpus=x]", "gpus takes a number or null, such as ray[gpus=0.5]"),
        ("ray[address=5]", 'address takes text or null, such as ray[address="5"]'),
        ("ray[start_timeout=(1)]", "start_timeout takes a number, such as ray[start_timeout=60.0]"),
    ],
)
def test_engines_are_held_to_the_same(text: str, answer: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError) as caught:
        instance("engines", text, Engine)
    assert str(caught.value) == f"{text}: {answer}"


def test_trackers_are_held_to_the_same() -> None:
    with pytest.raises(UserError, match="folder takes text, such as"):
        instance("trackers", "tensorboard[folder=1]", Tracker)
    assert instance("trackers", "tensorboard[folder='1']", Tracker).folder == "1"
    assert instance("trackers", "mlflow[uri=http://host:1/a?b=c]", Tracker).uri == "http://host:1/a?b=c"


@dataclass(frozen=True)
class Odd(Method):
    """A plugin whose default is no float and one of whose annotations only a type checker can read."""

    name: ClassVar[str] = "odd"
    share: float = 1
    ratio: Annotated[float, Bounds(at_most=3)] = 2
    other: NoSuchType = None  # type: ignore[name-defined]  # noqa: F821

    def compress(self, teacher: Any, data: Any, ctx: Any) -> Any:
        return teacher


def test_a_plugins_default_stays_as_it_is_declared_and_other_values_follow_the_annotation() -> None:
    assert repr(Odd().params()) == repr(Odd(share=1.0).params()) == "{'share': 1, 'ratio': 2, 'other': None}"
    assert repr(Odd(share=2, other="x").params()) == "{'share': 2.0, 'ratio': 2, 'other': 'x'}"
    with pytest.raises(WrongValueError, match="ratio must be <= 3 and takes a number"):
        Odd(ratio=4)


def test_python_is_held_to_the_same() -> None:
    tome = registry.load("methods", "tome")
    with pytest.raises(ValueError, match=r"tome\[r=abc\]: r takes a whole number of at least 0"):
        tome(r="abc")
    assert tome(trained_r=[4, 8]).trained_r == (4, 8)
    plugin = tome()
    object.__setattr__(plugin, "r", -1)
    with pytest.raises(WrongValueError):
        hold(plugin, "tome")


@pytest.mark.parametrize(
    "change",
    [{"r": "abc"}, {"r": None}, {"trained_r": [1, "x"]}, {"trained_r": 3}, {"upsample": 1}, {"s": 1}],
)
def test_a_student_folder_with_a_wrong_value_is_refused(
    change: dict[str, Any], tiny_teacher: Any, clouds: Any, tmp_path: Path
) -> None:
    save_student(make_student("tome[r=2]", tiny_teacher, clouds), tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["params"] |= change
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=next(iter(change))):
        load_student(tmp_path)
    file.write_text(json.dumps(config | {"params": None}))
    with pytest.raises(UserError, match="params must be"):
        load_student(tmp_path)


@dataclass(frozen=True)
class Loose(Method):
    """A plugin with a tuple of values that only it knows."""

    name: ClassVar[str] = "loose"
    extra: tuple[Any, ...] = ()

    def compress(self, teacher: Any, data: Any, ctx: Any) -> Any:
        return teacher


def test_a_tuple_of_anything_refuses_what_is_no_tuple_in_one_line() -> None:
    assert Loose(extra=(1, "a")).extra == (1, "a")
    with pytest.raises(
        WrongValueError, match=r"extra takes a tuple, each value of any type, such as loose\[extra="
    ):
        Loose(extra=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tome+off-the-shelf+fmd", "off-the-shelf is a variant.*write tome\\+off-the-shelf or tome\\+fmd"),
        ("tome+fmd+int8", "fmd is a variant.*write tome\\+int8\\+fmd"),
    ],
)
def test_a_variant_before_the_end_is_told_as_such(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        expand(parse_selector(text))
