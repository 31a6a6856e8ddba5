"""What ``foundry-bench check`` goes through for one plugin: its rules by kind, on a tiny teacher and a few clouds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foundry_bench import registry, selectors
from foundry_bench.beforehand import plugin_files
from foundry_bench.beforehand.watchdog import watchdog
from foundry_bench.border import LateError, in_time
from foundry_bench.context import Context
from foundry_bench.datasets.catalog import load_dataset
from foundry_bench.datasets.few import spread
from foundry_bench.encoder import Encoder, EncoderConfig
from foundry_bench.errors import UserError, unknown
from foundry_bench.selectors import Grid, selector_text
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.task import check_needs
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing.methods import method_rules
from foundry_bench.testing.quick import CLOUDS, check_made, few_of
from foundry_bench.testing.rules import ConformanceError, Rule, require
from foundry_bench.testing.tasks import task_rules

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.method import Method

TINY = EncoderConfig(
    dim=32, depth=4, heads=4, groups=32, group_size=8, points=256, tokenizer_widths=(16, 32, 32)
)
"""Sizes of the teacher with random weights that plugins are checked on where none is named."""
SECONDS = 300.0
"""In which a rule has to come to its end."""
TEACHERS, DATA, RADIUS = "pretrain", "furniture", 1.001


@dataclass(frozen=True)
class Subject:
    """What is checked: one registered plugin."""

    kind: str
    name: str

    def __str__(self) -> str:
        return registry.called(self.kind, self.name)


def subjects(target: str) -> list[Subject]:
    """The plugins that ``target`` stands for: a registered name, ``file.py`` or ``file.py:Name``, or ``package:Name`` of an
    installed one. Raises UserError for what leads to none."""
    place, _, wanted = target.partition(":")
    if place.endswith(".py"):
        file = plugin_files.use(place)
        found = plugin_files.registered(file)
        chosen = [one for one in found if wanted in ("", one.attribute, one.name)]
        if not chosen:
            raise unknown(f"plugin in {place}", wanted, [one.attribute for one in found])
        return [Subject(one.kind, one.name) for one in chosen]
    every = [(kind, entry) for kind in registry.KINDS for entry in registry.entries(kind).values()]
    if not wanted:
        chosen_kinds = [kind for kind, entry in every if entry.name == target]
        if not chosen_kinds:
            lost = "".join(f"; {line}" for line in registry.damaged())
            raise UserError(
                f"{unknown('plugin', target, [entry.name for _, entry in every])}; a file is given as path/to/mine.py{lost}"
            )
        return [Subject(kind, target) for kind in chosen_kinds]
    hits = [Subject(kind, entry.name) for kind, entry in every if _is(entry, place, wanted)]
    if not hits:
        raise UserError(
            f"nothing installed is {target}: no entry point of foundry_bench leads there; install the package "
            "(pip install -e .), write its [project.entry-points], or give the file itself, as path/to/mine.py"
        )
    return hits


def _is(entry: EntryPoint, package: str, name: str) -> bool:
    """Whether ``package:name`` means an entry: by its value, or by its distribution or module and its name or class."""
    module, _, attribute = (part.strip() for part in entry.value.partition(":"))
    places = (registry.distribution(entry), module, module.partition(".")[0])
    return package in places and name in (entry.name, attribute)


def rules(
    subject: Subject, teacher: Encoder | None = None, data: str | None = None, context: Context | None = None
) -> Iterator[Rule]:
    """The rules of one plugin, each to be checked before the next is asked for. ``teacher`` and ``data`` in place of a tiny
    random teacher and of embedded clouds."""
    by_kind: dict[str, Callable[..., Iterator[Rule]]] = {
        "methods": _of_method,
        "tasks": _of_task,
        "datasets": _of_dataset,
        "engines": _of_engine,
    }
    yield from by_kind.get(subject.kind, _of_other)(
        subject, teacher or tiny_teacher(), data, context or Context()
    )


def tiny_teacher() -> PointTransformer:
    """An untrained teacher that computes in milliseconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PointTransformer(TINY).eval().requires_grad_(False)


def _of_method(subject: Subject, teacher: Encoder, data: str | None, ctx: Context) -> Iterator[Rule]:
    rows: dict[str, tuple[Method, str]] = {}
    few: list[PointCloudDataset] = []

    def expand() -> None:
        few.append(few_of(load_dataset(data or TEACHERS, ctx.data_root), CLOUDS))
        parsed = selectors.parse_selector(subject.name)
        grids: tuple[Grid | None, ...] = (None, "default", "full")
        for grid in grids:
            for method, variant in selectors.expand(parsed, grid=grid):
                rows[selector_text(method.name, method.params(), variant)] = method, variant

    yield Rule(
        "it can be imported and declares a Method", lambda: _unused(selectors.method_class(subject.name))
    )
    yield Rule("every row of its grid can be made", expand)
    default = next(iter(rows.values()))[0]
    first = [(method, variant) for method, variant in rows.values() if method == default]
    for method, variant in first:
        there = replace(ctx, variant=variant)
        for rule in method_rules(method, teacher, few[0], there):
            yield Rule(f"{variant}: {rule.title}", rule.check)
        yield Rule(f"{variant}: saved and loaded by its name", partial(_load, method, teacher, few[0], there))
    for text, (method, variant) in rows.items():
        if method != default:
            there = replace(ctx, variant=variant)
            yield Rule(f"{text} is a drop-in", partial(_drop_in, method, teacher, few[0], there))


def _unused(value: Any) -> None:
    """A check that only has to come to its end."""


def _load(method: Any, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    student = make_student(method, teacher, data, ctx)
    save_student(student, ctx.scratch / "student")
    loaded = load_student(ctx.scratch / "student")
    same = student.state_dict().keys() == loaded.state_dict().keys()
    require(same, f"{registry.code_of(method, 'compress')}: a loaded student must have the same state")


def _drop_in(method: Any, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    check_made(method, make_student(method, teacher, data, ctx), teacher, data)


def _of_task(subject: Subject, teacher: Encoder, data: str | None, ctx: Context) -> Iterator[Rule]:
    made: list[Any] = []

    def make() -> None:
        made.append(selectors.task_class(subject.name)())

    def shrink() -> None:
        task, name = made[0], data or made[0].datasets[0]
        whole = load_dataset(name, ctx.data_root)
        check_needs(task.name, task.needs, name, whole)
        with registry.guard("tasks", task.name, "failed"):
            small = task.rehearsal(whole)
        holds = isinstance(small, tuple) and len(small) == 2 and isinstance(small[0], type(task))
        require(holds, f"{registry.code_of(task, 'rehearsal')} {registry.returned(small)}; return task, data")
        made.append(small)

    yield Rule("it can be imported and declares a Task", make)
    yield Rule("its first data set has what it needs, and a rehearsal makes it small", shrink)
    task, small = made[1]
    yield from task_rules(task, teacher, small, ctx)


def _of_dataset(subject: Subject, teacher: Encoder, data: str | None, ctx: Context) -> Iterator[Rule]:
    found: list[PointCloudDataset] = []

    def load() -> None:
        found.append(load_dataset(subject.name, ctx.data_root))

    def look() -> None:
        _check_content(found[0])

    def again() -> None:
        other = load_dataset(subject.name, ctx.data_root)
        same = other.sha256 == found[0].sha256 and np.array_equal(
            np.asarray(other.points[:8]), np.asarray(found[0].points[:8])
        )
        require(
            same,
            "two loads must give the same clouds and the same sha256, which the ids of cells are made of",
        )

    def tokenize() -> None:
        few = spread(found[0], 4)
        teacher.tokenize(torch.from_numpy(np.asarray(few.points[:, : teacher.config.points], np.float32)))

    yield Rule("it loads, and is a PointCloudDataset with one label, series and path per cloud", load)
    yield Rule("its clouds are finite and in the unit sphere, its labels and splits fit", look)
    yield Rule("it loads the same again", again)
    yield Rule("an encoder can group its clouds", tokenize)


def _check_content(data: PointCloudDataset) -> None:
    points = np.asarray(data.points[: min(len(data.points), 64)])
    require(bool(np.isfinite(points).all()), "points must be finite; leave such clouds out")
    reach = float(np.linalg.norm(points, axis=-1).max()) if points.size else 0.0
    require(
        reach <= RADIUS,
        f"points must lie in the unit sphere, and reach {reach:.3g}; call foundry_bench.normalize on each cloud",
    )
    labels = np.asarray(data.labels)
    inside = labels.size == 0 or (labels.min() >= -1 and labels.max() < max(len(data.classes), 1))
    require(
        inside,
        f"labels must be -1 or below the {len(data.classes)} classes, got {labels.min()} to {labels.max()}",
    )
    for name, sides in data.splits.items():
        odd = sorted(set(np.asarray(sides).tolist()) - {"train", "val", "test", ""})
        require(
            len(sides) == len(labels), f"the split {name} must have a side for each of {len(labels)} clouds"
        )
        require(
            not odd, f"the split {name} has the side {odd[0] if odd else ''!r}; use train, val, test or ''"
        )
    paths = np.asarray(data.paths).tolist()
    require(len(set(paths)) == len(paths), "paths must differ: held-out clouds are chosen by them")


def _of_engine(subject: Subject, teacher: Encoder, data: str | None, ctx: Context) -> Iterator[Rule]:
    from foundry_bench.sweep.engines.base import Engine
    from foundry_bench.teachers import save_teacher

    out, weights = ctx.scratch / "sweep", ctx.scratch / "teacher"

    def sweep() -> None:
        save_teacher(tiny_teacher(), weights, {})
        outcome = _run(subject.name, out, weights, ctx)
        failed = [f"{r['identity']['status']}: {r['identity']['message']}" for r in outcome.failed]
        require(
            not failed,
            f"all cells of a small sweep must end well, and one did not ({failed[0] if failed else ''})",
        )

    def again() -> None:
        require(not _run(subject.name, out, weights, ctx).todo, "a second run must find every cell finished")

    yield Rule(
        "it can be imported and is an Engine",
        lambda: _unused(selectors.instance("engines", subject.name, Engine)),
    )
    yield Rule("it runs the cells of a small sweep", sweep)
    yield Rule("a second run has nothing left to do", again)


class _Quiet:
    """Hears of a sweep and says nothing."""

    def note(self, line: str) -> None:
        return

    def warn(self, line: str) -> None:
        return

    def begin(self, todo: list[Any], estimate: Any, jobs: int, marks: Any) -> None:
        return

    def step(self, what: str, done: int, total: int) -> None:
        return

    def started(self, cell: Any) -> None:
        return

    def finished(self, cell: Any, record: Any) -> None:
        return


def _run(engine: str, out: Path, teacher: Path, ctx: Context) -> Any:
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.runner import run_sweep

    options = {
        "methods": "teacher",
        "tasks": "none",
        "teacher": str(teacher),
        "distill_on": "procedural[clouds=100]",
        "engine": engine,
    }
    return run_sweep(SweepConfig.from_sources(None, options), out, _Quiet(), rehearse=False)


def _of_other(subject: Subject, teacher: Encoder, data: str | None, ctx: Context) -> Iterator[Rule]:
    yield Rule("it can be imported", lambda: _unused(registry.load(subject.kind, subject.name)))


def broken(subject: Subject, rule: Rule, seconds: float = SECONDS) -> str | None:
    """What is wrong with one rule and what to change, in a line; None where it holds.

    A rule that does not end within ``seconds`` is broken, and the line says where; code that nothing else stops ends with the
    process, where that is a command's.
    """
    late = f"{subject}: the rule '{rule.title}' does not end within {seconds:g} seconds"
    try:
        with registry.guard(subject.kind, subject.name, "failed"):
            try:
                with watchdog(seconds + registry.PATIENCE, late), in_time(seconds, "this rule"):
                    rule.check()
            except ConformanceError as error:
                raise UserError(str(error)) from error
    except UserError as error:
        return " ".join(str(error).split())
    except LateError as error:  # as the next, of a built-in one
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
