"""Mistakes of a plugin's author: each is one line that names the class and the line of its file, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from door import Seen, assert_harmless, assert_refused, plugin_folder, tried

from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers import PointTransformer, save_teacher

HEAD = """
from __future__ import annotations
import copy
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
import numpy as np
import torch
from torch import nn
from foundry_bench.authoring import *

class Whole(TokenStudent):
    def encode(self, embedding, levels=False):
        x, _ = self.run(embedding.tokens, self.positional_encoding(embedding.centers))
        return self.give(self.norm(x), levels)

    def give(self, x, levels):
        return Tokens(x, (x,) * 3 if levels else ())
"""
METHOD = (
    HEAD
    + """
@dataclass(frozen=True)
class Odd(Method):
    "An odd method."
    name: ClassVar[str] = "odd"
    family: ClassVar[Family] = "drop"
    keep: int = 4
    #1
    def compress(self, teacher, data, ctx):
        return Whole(teacher)
    #2
"""
)
"""A method that is right."""


def with_return(code: str) -> str:
    return METHOD.replace("return Whole(teacher)", code)


def with_tokens(code: str) -> str:
    return METHOD.replace("return Tokens(x, (x,) * 3 if levels else ())", code)


def with_line(code: str) -> str:
    return METHOD.replace("#1", code)


def with_method(code: str) -> str:
    return METHOD.replace("#2", code)


CLASS = "@dataclass(frozen=True)\nclass Odd"
SELF = "def compress(self, teacher, data, ctx)"
METHODS: dict[str, tuple[str, list[str]]] = {
    "returns-none": (with_return("Whole(teacher)"), ["Odd.compress", "returned None"]),
    "returns-class": (with_return("return Whole"), ["Odd.compress", "the class Whole"]),
    "returns-tuple": (with_return("return Whole(teacher), 4"), ["Odd.compress", "tuple"]),
    "returns-module": (with_return("return nn.Linear(3, 3)"), ["Odd.compress", "Linear", "Encoder"]),
    "returns-teacher": (with_return("return teacher"), ["Odd.compress", "the teacher itself", "deepcopy"]),
    "raises": (with_return("return 1 / 0"), ["ZeroDivisionError", "Odd.compress"]),
    "no-config": (
        with_return(
            "return Bare()\nclass Bare(Encoder):\n    def forward(self, patches, levels=False): pass"
        ),
        ["Bare", "config"],
    ),
    "wrong-shape": (with_tokens("x = x[:, :-1]; return Tokens(x, (x,) * 3)"), ["Whole.", "features", "(B, T, D)"]),
    "wrong-width": (with_tokens("x = x[..., :-1]; return Tokens(x, (x,) * 3)"), ["features", "(B, T, D)"]),
    "wrong-dtype": (with_tokens("x = x.double(); return Tokens(x, (x,) * 3)"), ["float64", "float32"]),
    "int-tokens": (with_tokens("x = x.long(); return Tokens(x, (x,) * 3)"), ["int64", "float32"]),
    "nan": (with_tokens("x = x / 0 * 0; return Tokens(x, (x,) * 3)"), ["finite"]),
    "infinite": (with_tokens("x = x / 0; return Tokens(x, (x,) * 3)"), ["finite"]),
    "plain-tensor": (with_tokens("return x"), ["Whole.", "Tensor", "Tokens"]),
    "returns-dict": (with_tokens("return {'features': x}"), ["dict", "Tokens"]),
    "features-list": (with_tokens("return Tokens([x], (x,) * 3)"), ["features", "list"]),
    "no-levels": (with_tokens("return Tokens(x)"), ["levels"]),
    "two-levels": (with_tokens("return Tokens(x, (x, x))"), ["levels", "2"]),
    "level-shape": (with_tokens("return Tokens(x, (x, x, x[:, :1]))"), ["levels[2]"]),
    "forward-raises": (with_tokens("return x.no_such_thing"), ["no_such_thing", "Whole.give"]),
    "random": (with_tokens("x = x + torch.rand_like(x); return Tokens(x, (x,) * 3)"), ["eval mode"]),
    "batch": (with_tokens("x = x - x.mean(0, keepdim=True); return Tokens(x, (x,) * 3)"), ["batch"]),
    "state-outside": (
        METHOD.replace("def give(self, x, levels):", "shift = 0.0\n    def give(self, x, levels):\n        x = x + self.shift")
        .replace("return Whole(teacher)", "s = Whole(teacher); s.shift = torch.rand(1); return s"),
        ["saved"],
    ),
    "float64": (with_return("return Whole(teacher).double()"), ["float64", "float32"]),
    "changes-teacher": (
        with_return("next(teacher.parameters()).data.mul_(0.5); return Whole(teacher)"),
        ["Odd.compress", "changed the teacher"],
    ),
    "grad-on-teacher": (
        with_return("teacher.requires_grad_(True); return Whole(teacher)"),
        ["Odd.compress", "changed the teacher"],
    ),
    "loss-none": (with_method("def loss(self, student, inputs, target): pass"), ["Odd.loss", "None"]),
    "loss-float": (with_method("def loss(self, student, inputs, target): return 0.5"), ["Odd.loss", "float"]),
    "loss-vector": (
        with_method("def loss(self, student, inputs, target): return student.encode(inputs).features.mean(-1)"),
        ["Odd.loss", "one finite number"],
    ),
    "loss-nan": (
        with_method("def loss(self, student, inputs, target): return student.encode(inputs).features.mean() * float('nan')"),
        ["Odd.loss", "one finite number"],
    ),
    "loss-deaf": (
        with_method("def loss(self, student, inputs, target): return sum(p.sum() for p in student.parameters()) * 0"),
        ["Odd.loss", "reach"],
    ),
    "nothing-to-train": (
        with_return("return Whole(teacher).requires_grad_(False)"),
        ["fmd", "requires_grad"],
    ),
    "init-raises": (with_method("def __post_init__(self): raise RuntimeError(7)"), ["RuntimeError: 7", "Odd.__post_init__"]),
    "no-name": (METHOD.replace('name: ClassVar[str] = "odd"', ""), ["Odd", "name"]),
    "other-name": (METHOD.replace('"odd"', '"even"'), ["'even'", "'odd'"]),
    "no-dataclass": (METHOD.replace(CLASS, "class Odd"), ["Odd", "@dataclass(frozen=True)"]),
    "no-dataclass-grid": (
        METHOD.replace(CLASS, "class Odd").replace("#1", "grid = {'keep': (1, 2)}"),
        ["Odd", "@dataclass(frozen=True)"],
    ),
    "not-frozen": (METHOD.replace("@dataclass(frozen=True)", "@dataclass"), ["frozen", "odd_one.py:19"]),
    "no-annotation": (with_line("grid = {'keep': (1, 2)}").replace("keep: int = 4", "keep = 4"), ["keep", "annotation"]),
    "no-default": (METHOD.replace("keep: int = 4", "keep: int"), ["keep", "default"]),
    "mutable-default": (METHOD.replace("keep: int = 4", "keep: list = []"), ["mutable default", "keep"]),
    "factory-default": (
        METHOD.replace("keep: int = 4", "keep: list = field(default_factory=list)"),
        ["keep", "default"],
    ),
    "class-grid": (with_line("grid: dict = {'keep': (1, 2)}"), ["mutable default", "grid"]),
    "grid-unknown": (with_line("grid = {'kep': (1, 2)}"), ["grid", "'kep'", "keep"]),
    "grid-type": (with_line("grid = {'keep': ('four',)}"), ["grid", "keep", "whole number"]),
    "grid-not-tuple": (with_line("grid = {'keep': 4}"), ["grid", "keep", "tuple"]),
    "grid-text": (with_line("grid = {'keep': 'abc'}"), ["grid", "keep", "tuple"]),
    "grid-list": (with_line("grid = ['keep']"), ["grid", "dict"]),
    "grid-empty": (with_line("grid = {'keep': ()}"), ["grid", "keep", "no value"]),
    "matched-unknown": (with_line("matched = ({'kep': 1},)"), ["matched", "'kep'"]),
    "matched-dict": (with_line("matched = {'keep': 1}"), ["matched", "tuple"]),
    "also-type": (with_line("also = ({'keep': 'x'},)"), ["also", "keep"]),
    "inference-unknown": (with_line("inference = ('kep',)"), ["inference", "'kep'"]),
    "inference-text": (with_line("inference = 'keep'"), ["inference", "tuple"]),
    "default-type": (METHOD.replace("keep: int = 4", "keep: int = 'four'"), ["keep", "default"]),
    "default-range": (METHOD.replace("keep: int = 4", "keep: Annotated[int, Bounds(at_least=8)] = 4"), ["keep", "default"]),
    "family": (METHOD.replace('"drop"', '"dropp"'), ["family", "'dropp'", "drop"]),
    "variants": (with_line("variants = ('fdm',)"), ["variants", "'fdm'", "fmd"]),
    "variants-text": (with_line("variants = 'fmd'"), ["variants", "tuple"]),
    "version": (with_line("version = 2"), ["version", "text"]),
    "shadow": (METHOD.replace("keep: int", "loss: int"), ["loss", "name"]),
    "abstract": (METHOD.replace("def compress", "def squeeze"), ["Odd", "compress"]),
    "signature": (METHOD.replace(SELF, "def compress(self, teacher)"), ["Odd.compress", "teacher, data, ctx"]),
    "no-base": (METHOD.replace("class Odd(Method)", "class Odd"), ["Method"]),
    "import-exits": ("import sys; sys.exit(3)", ["SystemExit: 3", "odd_one.py:1"]),
    "import-raises": ("x = 1\ny = x / 0", ["ZeroDivisionError", "odd_one.py:2"]),
    "syntax": ("def (:", ["SyntaxError", "odd_one.py"]),
    "missing-attribute": ("class Other: pass", ["Odd", "odd_one"]),
    "missing-module": ("import no_such_module", ["no_such_module", "odd_one.py:1"]),
}  # fmt: skip
"""What is wrong -> the source, and what the line has to say of it."""

TASK = (
    HEAD
    + """
from foundry_bench.task import Metric, Score, Scores, Task, score_from_outcomes

@dataclass(frozen=True)
class Odd(Task):
    "An odd task."
    name: ClassVar[str] = "odd"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("acc", primary=True),)
    datasets: ClassVar[tuple[str, ...]] = ("furniture",)
    needs: ClassVar[tuple[str, ...]] = ()
    #1
    def evaluate(self, encoder, data, ctx):
        found = np.array([0.25, 0.75])
        return Scores((score_from_outcomes(self.metrics[0], found),), {"acc": found})
"""
)


def with_scores(code: str) -> str:
    return TASK.replace("found = np.array([0.25, 0.75])", "").replace(
        'return Scores((score_from_outcomes(self.metrics[0], found),), {"acc": found})', code
    )


def with_outcomes(code: str) -> str:
    return TASK.replace("np.array([0.25, 0.75])", code)


def score(value: str, name: str = "'acc'", more: str = "2, None, None, None, None, True, True") -> str:
    return f"Score({name}, {value}, {more})"


TASKS: dict[str, tuple[str, list[str]]] = {
    "none": (with_scores("pass"), ["Odd.evaluate", "None", "Scores"]),
    "float": (with_scores("return 0.5"), ["Odd.evaluate", "float", "Scores"]),
    "dict": (with_scores("return {'acc': 0.5}"), ["Odd.evaluate", "dict", "Scores"]),
    "list-of-scores": (with_scores(f"return Scores([{score('0.5')}])"), ["Odd.evaluate", "list", "tuple"]),
    "nan": (with_outcomes("np.array([0.25, np.nan])"), ["acc", "nan", "Odd.evaluate"]),
    "infinite": (with_outcomes("np.array([0.25, np.inf])"), ["acc", "inf"]),
    "percent": (with_outcomes("np.array([25.0, 75.0])"), ["acc", "50", "[0, 1]"]),
    "negative": (with_outcomes("np.array([-0.5, 0.0])"), ["acc", "-0.25", "[0, 1]"]),
    "empty": (with_outcomes("np.array([])"), ["acc"]),
    "value-none": (with_scores(f"return Scores(({score('None')},))"), ["acc", "None", "number"]),
    "value-tensor": (with_scores(f"return Scores(({score('torch.tensor(0.5)')},))"), ["acc", "Tensor", "number"]),
    "value-text": (with_scores(f"return Scores(({score(repr('0.5'))},))"), ["acc", "str", "number"]),
    "value-nan": (with_scores(f"return Scores(({score('float(chr(110)+chr(97)+chr(110))')},))"), ["acc", "nan"]),
    "no-units": (
        with_scores(f"return Scores(({score('0.5', more='0, None, None, None, None, True, True')},))"),
        ["acc", "n = 0"],
    ),
    "missing": (with_scores("return Scores(())"), ["acc", "missing"]),
    "extra": (with_scores(f"return Scores(({score('0.5')}, {score('0.5', repr('more'))}))"), ["'more'", "metrics"]),
    "other": (with_scores(f"return Scores(({score('0.5', repr('accc'))},))"), ["'accc'", "metrics"]),
    "twice": (with_scores(f"return Scores(({score('0.5')}, {score('0.5')}))"), ["acc", "twice"]),
    "outcomes-count": (
        with_scores(f"return Scores(({score('0.5')},), {{'acc': np.array([0.5])}})"),
        ["acc", "outcomes", "2"],
    ),
    "outcomes-nan": (
        with_scores(f"return Scores(({score('0.5')},), {{'acc': np.array([0.5, np.nan])}})"),
        ["acc", "outcomes"],
    ),
    "outcomes-list": (with_scores(f"return Scores(({score('0.5')},), [0.5, 0.5])"), ["outcomes", "list"]),
    "raises": (with_scores("return encoder.nothing"), ["nothing", "Odd.evaluate"]),
    "no-metrics": (TASK.replace('(Metric("acc", primary=True),)', "()"), ["metrics"]),
    "no-primary": (TASK.replace("primary=True", "primary=False"), ["metrics", "primary"]),
    "metric-text": (TASK.replace('(Metric("acc", primary=True),)', '("acc",)'), ["metrics", "Metric"]),
    "no-name": (TASK.replace('name: ClassVar[str] = "odd"', ""), ["Odd", "name"]),
    "no-dataclass": (
        TASK.replace("@dataclass(frozen=True)\nclass Odd", "class Odd").replace("#1", "shots: int = 5"),
        ["Odd", "@dataclass(frozen=True)"],
    ),
    "datasets-text": (TASK.replace('("furniture",)', '"furniture"'), ["datasets", "tuple"]),
    "no-datasets": (
        TASK.replace('datasets: ClassVar[tuple[str, ...]] = ("furniture",)', ""), ["datasets"]
    ),
    "needs-text": (TASK.replace("needs: ClassVar[tuple[str, ...]] = ()", "needs = 'labels'"), ["needs", "tuple"]),
    "changes-encoder": (
        TASK.replace("found = ", "next(encoder.parameters()).data.mul_(0.5); found = "),
        ["Odd.evaluate", "changed the encoder"],
    ),
    "init-raises": (
        TASK.replace("#1", "def __post_init__(self): raise RuntimeError('no')"),
        ["RuntimeError: no", "Odd.__post_init__"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher that is loaded at once."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 2, "heads": 2, "groups": 8, "group_size": 4, "points": 64}
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16)))
    folder = tmp_path_factory.mktemp("teacher")
    save_teacher(teacher.eval(), folder, {})
    return folder


def stranger(folder: Path, kind: str, source: str, name: str = "odd") -> Path:
    """An installed distribution with one module that registers ``Odd``."""
    return plugin_folder(
        folder / "site", f"[foundry_bench.{kind}]\n{name} = odd_one:Odd\n", {"odd_one": source}
    )


def distilled(source: str, folder: Path, teacher: Path) -> Seen:
    plugin = stranger(folder, "methods", source)
    data = ("--data", "procedural[clouds=100]", "--teacher", teacher)
    return tried("distill", "--method", "odd", *data, "-o", "out", cwd=folder, plugins=[plugin], seconds=60)


def evaluated(source: str, folder: Path, teacher: Path) -> Seen:
    plugin = stranger(folder, "tasks", source)
    where = ("--task", "odd", "--dataset", "procedural[clouds=100]", "--teacher", teacher)
    return tried("evaluate", "teacher", *where, cwd=folder, plugins=[plugin], seconds=60)


@pytest.mark.parametrize("case", METHODS)
def test_a_mistake_in_a_method_is_told_before_anything_is_trained(
    tmp_path: Path, tiny: Path, case: str
) -> None:
    source, says = METHODS[case]
    seen = distilled(source, tmp_path, tiny)
    assert_refused(seen, says=[*says, "stranger"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", TASKS)
def test_a_mistake_in_a_task_is_told(tmp_path: Path, tiny: Path, case: str) -> None:
    source, says = TASKS[case]
    assert_refused(evaluated(source, tmp_path, tiny), says=[*says, "stranger"])


def test_a_method_and_a_task_without_mistakes_pass(tmp_path: Path, tiny: Path) -> None:
    for number, (what, source) in enumerate(((distilled, METHOD), (evaluated, TASK))):
        folder = tmp_path / str(number)
        folder.mkdir()
        seen = what(source, folder, tiny)
        assert_harmless(seen)
        assert seen.code == 0, seen.err
