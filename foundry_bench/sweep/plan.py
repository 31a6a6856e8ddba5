"""From a configuration to the cells of a sweep. Planning runs nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.sweep import harness
from foundry_bench.sweep.config import SweepConfig

if TYPE_CHECKING:
    from foundry_bench.method import Method
    from foundry_bench.task import Task

PIPELINE_VERSION = 1
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


def title(kind: str, inputs: dict[str, Any]) -> str:
    """The name of a cell for people, from a cell's or a record's inputs."""
    shown = f"[{inputs['shown']}]" if inputs["shown"] else ""
    variant = f"+{inputs['variant']}" if inputs["variant"] else ""
    seed = f" seed {inputs['seed']}" if inputs["seed"] else ""
    place = f" on {inputs['task']['name']}:{inputs['dataset']['name']}" if kind == EVALUATE else ""
    return f"{kind} {inputs['method']['name']}{shown}{variant}{seed}{place}"


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
        known = registry.entries("methods")
        for selector in found:
            if selector.name not in known:
                raise registry.unknown("method", selector.name, known)
        return found

    def add_method(self, selector: registry.Selector) -> None:
        """Add the cells of every method, variant, parameter and seed of one selector.

        A plugin that cannot be used becomes one cell that fails; a selector that asks for what is not there
        raises.
        """
        try:
            cls = registry.load("methods", selector.name)
            self.sources.update(harness.source_files(cls))
            students = registry.expand(selector)
        except (UserError, TypeError, AttributeError) as error:
            if selector.values or selector.variant:
                raise
            self._add_broken(selector.name, str(error))
            return
        for method, variant in students:
            for seed in range(self.config.seeds):
                self._add(method, variant, seed)

    def _add(self, method: Method, variant: str, seed: int) -> None:
        from foundry_bench.method import OFF_THE_SHELF

        trained = type(method)(**method.training_params())
        training = method.training_params()
        student = self._cell(
            STUDENT,
            {
                **self._inputs(trained, variant, seed),
                "params": training,
                "shown": shown_params(trained, training),
                "dataset": self.unlabelled,
                "budget": None if variant == OFF_THE_SHELF else self.budget,
            },
        )
        common = {**self._inputs(method, variant, seed), "student": student.id}
        for task, dataset in self.places:
            about = {
                "name": task.name,
                "version": task.version,
                "code_sha256": harness.code_sha256(type(task)),
            }
            place = {"task": about, "protocol": task.protocol(), "dataset": dataset}
            self._cell(EVALUATE, {**common, **place}, student.id)
        clouds = self.places[0][1] if self.places else self.unlabelled
        protocol = {"device": self.config.device, "fidelity_on": self.unlabelled}
        self._cell(PROFILE, {**common, "dataset": clouds, "protocol": protocol}, student.id)

    def _inputs(self, method: Method, variant: str, seed: int) -> dict[str, Any]:
        return {
            "pipeline": PIPELINE_VERSION,
            "teacher": self.teacher,
            "method": {
                "name": method.name,
                "version": method.version,
                "code_sha256": harness.code_sha256(type(method)),
            },
            "variant": variant,
            "params": method.params(),
            "shown": shown_params(method, method.params()),
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
        self.sources.update(file for task in loaded for file in harness.source_files(type(task)))
        return loaded

    @staticmethod
    def _names(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(registry.entries(kind)) if "all" in names else tuple(dict.fromkeys(names))


def shown_params(method: Method, values: dict[str, Any]) -> str:
    """Those of ``values`` that a reader needs: what the method's grid varies and what is not at its
    default.
    """
    default = {f.name: f.default for f in fields(method)}
    return ",".join(f"{k}={v}" for k, v in values.items() if k in method.grid or v != default[k])


def _dataset(name: str) -> dict[str, str]:
    return {"name": name, "sha256": harness.dataset_sha256(name)}
