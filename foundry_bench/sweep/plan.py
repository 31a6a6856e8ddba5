"""From a configuration to the cells of a sweep. Planning runs nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.sweep import harness
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.variants import EXPERT, OFF_THE_SHELF

if TYPE_CHECKING:
    from foundry_bench.method import Method
    from foundry_bench.task import Task

PIPELINE_VERSION = 2
"""Part of every cell's identity. Raise it when code outside methods and tasks changes numbers: the trainer,
the grouping, the cost counter."""

STUDENT, EVALUATE, PROFILE = "student", "evaluate", "profile"


@dataclass(frozen=True, eq=False)
class Cell:
    """One node of the sweep. ``inputs`` is the record's block of that name and all that the identity is made
    of.

    ``parent`` is the id of the student it needs; ``broken`` says why a method's plugin could not even be
    imported.
    """

    kind: str
    inputs: dict[str, Any]
    parent: str | None = None
    broken: str | None = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of what determines this cell."""
        return identity(self.kind, self.inputs)

    @property
    def title(self) -> str:
        """A short name for people, such as ``evaluate foundry[supertokens=4]+fmd on fewshot:kicad``."""
        return title(self.kind, self.inputs)


@dataclass(frozen=True)
class Plan:
    """The cells in an order in which every parent comes before its children.

    ``config`` has ``all`` replaced by names. ``sources`` are the plugin files that the identities were hashed
    from.
    """

    config: SweepConfig
    cells: list[Cell]
    warnings: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)


def identity(kind: str, inputs: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of ``inputs``; names that only point at hashed content are left out."""
    determined = {**inputs, "teacher": inputs["teacher"]["sha256"], "kind": kind}
    text = json.dumps(determined, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _stacks(methods: tuple[str, ...]) -> list[str]:
    """The stacks that ``all`` stands for besides the methods themselves."""
    found = []
    for name in methods:
        try:
            under = registry.load("methods", name).stacked_on
        except (UserError, AttributeError):
            continue  # a broken plugin is reported when its own cells are planned
        found += [f"{other}+{name}" for other in under]
    return found


def title(kind: str, inputs: dict[str, Any]) -> str:
    """The name of a cell for people, from a cell's or a record's inputs."""
    row = registry.selector_text(inputs["method"]["name"], inputs["shown"], inputs["variant"])
    seed = f" seed {inputs['seed']}" if inputs["seed"] else ""
    place = f" on {inputs['task']['name']}:{inputs['dataset']['name']}" if kind == EVALUATE else ""
    return f"{kind} {row}{seed}{place}"


def plan(config: SweepConfig) -> Plan:
    """All cells of a sweep. Raises UserError for anything in ``config`` that is unknown or does not fit
    together.
    """
    planner = _Planner(config)
    for selector in planner.selectors():
        planner.add_method(selector)
    if not planner.cells:
        raise UserError("nothing to run: no method is selected; see 'foundry-bench list methods'")
    cells = sorted(planner.cells.values(), key=lambda cell: (STUDENT, EVALUATE, PROFILE).index(cell.kind))
    return Plan(planner.config, cells, planner.warnings, sorted(planner.sources))


class _Planner:
    """Collects cells by id, so that two selectors that overlap cost nothing twice."""

    def __init__(self, config: SweepConfig) -> None:
        self.cells: dict[str, Cell] = {}
        self.warnings: list[str] = []
        self.sources: set[Path] = set()
        self.budget = harness.resolve_budget(config.budget)
        self.teacher = {"name": config.teacher, "sha256": harness.teacher_sha256(config.teacher)}
        self.tasks = self._load_tasks(config.tasks)
        self.config = replace(
            config,
            methods=self._names("methods", config.methods),
            tasks=tuple(task.name for task in self.tasks),
        )
        self.places = [
            (task, _dataset(name)) for task in self.tasks for name in config.dataset or task.datasets
        ]
        self.unlabelled = _dataset(config.distill_on)

    def selectors(self) -> list[registry.Selector]:
        """The sweep's selectors, checked for names nobody registered before anything else is loaded."""
        found = [registry.parse_selector(text) for text in self.config.methods]
        for selector in found:
            registry.check_names(selector)
        return found

    def add_method(self, selector: registry.Selector) -> None:
        """Add the cells of every method, variant, parameter and seed of one selector.

        A plugin that cannot be used becomes one cell that fails; a selector that asks for what is not there
        raises.
        """
        try:
            students = registry.expand(selector)
            self.sources.update(harness.source_files(students[0][0].classes()))
            for method, variant in students:
                for seed in range(self.config.seeds):
                    self._add(method, variant, seed)
        except (UserError, TypeError, AttributeError) as error:
            if selector.specific:
                raise
            self._add_broken(selector.name, str(error))

    def _add(self, method: Method, variant: str, seed: int) -> None:
        student = self._student(method, variant, seed)
        common = {**self._inputs(method, variant, seed), "student": student.id}
        for task, dataset in self.places:
            place = {"task": _task_inputs(task), "protocol": task.protocol(), "dataset": dataset}
            self._cell(EVALUATE, {**common, **place}, student.id)
        clouds = self.places[0][1] if self.places else self.unlabelled
        protocol = {"device": self.config.device, "fidelity_on": self.unlabelled}
        self._cell(PROFILE, {**common, "dataset": clouds, "protocol": protocol}, student.id)

    def _student(self, method: Method, variant: str, seed: int) -> Cell:
        """The cell that makes a method's student; a stack starts from the student of its first method."""
        from foundry_bench.stack import Stack

        trained, training = method.trained(), method.training_params()
        inputs = {
            **self._inputs(trained, variant, seed),
            "params": training,
            "shown": trained.shown(training),
            "dataset": self.unlabelled,
            "budget": None if variant == OFF_THE_SHELF else self.budget,
        }
        parent = None
        if isinstance(method, Stack):
            parent = self._student(method.parts[0], variant, seed).id
            inputs["student"] = parent
        if variant == EXPERT:
            inputs.update(self._supervision(method))
        return self._cell(STUDENT, inputs, parent)

    def _supervision(self, method: Method) -> dict[str, Any]:
        """The task and labels that an expert is trained for."""
        from foundry_bench.training import expert_of

        expert = expert_of(method)
        task = registry.load("tasks", expert.task)()
        return {
            "task": _task_inputs(task),
            "protocol": {**task.protocol(), "labels": _dataset(expert.dataset)},
        }

    def _inputs(self, method: Method, variant: str, seed: int) -> dict[str, Any]:
        return {
            "pipeline": PIPELINE_VERSION,
            "teacher": self.teacher,
            "method": {
                "name": method.name,
                "version": method.version,
                "code_sha256": harness.code_sha256(method.classes()),
            },
            "variant": variant,
            "params": method.params(),
            "shown": method.shown(method.params()),
            "seed": seed,
            "task": None,
            "dataset": None,
            "protocol": None,
            "budget": None,
        }

    def _cell(self, kind: str, inputs: dict[str, Any], parent: str | None = None) -> Cell:
        # JSON first: tuples become lists, so that the cell in memory equals the one read back from a record.
        cell = Cell(kind, json.loads(json.dumps(inputs)), parent)
        return self.cells.setdefault(cell.id, cell)

    def _add_broken(self, name: str, reason: str) -> None:
        self.warnings.append(reason)
        about = {"name": name, "version": None, "code_sha256": None}
        nothing = dict.fromkeys(("variant", "params", "seed", "task", "dataset", "protocol", "budget"))
        inputs = {
            "pipeline": PIPELINE_VERSION,
            "teacher": self.teacher,
            "method": about,
            "shown": "",
            **nothing,
        }
        cell = Cell(STUDENT, inputs, broken=reason)
        self.cells[cell.id] = cell

    def _load_tasks(self, names: tuple[str, ...]) -> list[Task]:
        """Instances of the tasks; with ``all`` a broken one is a warning, by name it is an error."""
        loaded = []
        for name in self._names("tasks", names):
            try:
                loaded.append(registry.load("tasks", name)())
            except UserError as error:
                if "all" not in names:
                    raise
                self.warnings.append(str(error))
        self.sources.update(file for task in loaded for file in harness.source_files([type(task)]))
        return loaded

    @staticmethod
    def _names(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
        if "all" not in names:
            return tuple(dict.fromkeys(names))
        known = tuple(registry.entries(kind))
        return (*known, *_stacks(known)) if kind == "methods" else known


def _task_inputs(task: Task) -> dict[str, Any]:
    return {"name": task.name, "version": task.version, "code_sha256": harness.code_sha256([type(task)])}


def _dataset(name: str) -> dict[str, str]:
    return {"name": name, "sha256": harness.dataset_sha256(name)}
