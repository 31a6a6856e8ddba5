"""From a configuration to the cells of a sweep. Planning runs nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from foundry_bench import registry, selectors
from foundry_bench.border import StrangerError, expected
from foundry_bench.errors import UserError
from foundry_bench.runtimes.registered import others
from foundry_bench.sweep.config import DEFAULT, NONE, SweepConfig, Table
from foundry_bench.sweep.count import check_size
from foundry_bench.sweep.identity import code_sha256, identity, source_files
from foundry_bench.sweep.record import (
    BudgetInputs,
    Content,
    HarnessProtocol,
    Inputs,
    Place,
    TaskInputs,
    given,
)
from foundry_bench.training.budget import get_budget
from foundry_bench.variants import EXPERT, OFF_THE_SHELF

if TYPE_CHECKING:
    from foundry_bench.datasets.folders.understood import Understood
    from foundry_bench.method import Method
    from foundry_bench.task import Task

PIPELINE_VERSION = 5
"""Part of every cell's identity. Raise it when code outside methods and tasks changes numbers: the trainer,
the grouping, the cost counter."""

UNPLANNED = "cannot be planned"
"""What is said of a plugin that raises while its cells are planned."""
STUDENT, EVALUATE, PROFILE = "student", "evaluate", "profile"
REHEARSE = "rehearse"
"""Kind of the cells that try a sweep in small before it starts; they are no part of it."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One node of the sweep. ``inputs`` is the record's block of that name and all that the identity is made
    of.

    ``parent`` is the id of the student it needs; ``broken`` says why a method's plugin could not even be
    imported; ``id`` is the SHA-256 of what determines the cell.
    """

    kind: str
    inputs: Inputs
    parent: str | None = None
    broken: str | None = None
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", identity(self.kind, self.inputs))

    @property
    def title(self) -> str:
        """A short name for people, such as ``evaluate foundry[supertokens=4]+fmd on fewshot:kicad``."""
        return title(self.kind, self.inputs)


@dataclass(frozen=True)
class Plan:
    """The cells in an order in which every parent comes before its children.

    ``config`` has ``all`` and ``default`` replaced by names. ``tables`` are the ids of each comparison's cells, by its name.
    ``notes`` say what each folder of clouds was understood as. ``sources`` are the plugin files that the identities were hashed
    from.
    """

    config: SweepConfig
    cells: list[Cell]
    tables: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _stacks(methods: tuple[str, ...]) -> list[str]:
    """The stacks that ``all`` stands for besides the methods themselves."""
    found = []
    for name in methods:
        try:
            cls = selectors.method_class(name)
            under = expected(cls.stacked_on, tuple, "stacked_on")
            stacks = [other if "+" in other else f"{other}+{name}" for other in under]
            found += stacks if OFF_THE_SHELF in cls.variants else []
        except UserError:
            continue  # a broken plugin is reported when its own cells are planned
    return found


def title(kind: str, inputs: Inputs) -> str:
    """The name of a cell for people, from a cell's or a record's inputs."""
    row = selectors.record_selector(inputs)
    seed = f" seed {inputs['seed']}" if inputs["seed"] else ""
    place = (
        f" on {task_text(given(inputs['task']))}:{given(inputs['dataset'])['name']}"
        if kind == EVALUATE
        else ""
    )
    return f"{kind} {row}{seed}{place}"


def task_text(task: TaskInputs) -> str:
    """A task as the command line takes it, from its block in a cell's or a record's inputs."""
    return selectors.bracketed(task["name"], task.get("shown", ""))


def plan(config: SweepConfig, most: int | None = None, measured_on: str | None = None) -> Plan:
    """All cells of a sweep. ``measured_on``: the clouds that cost is measured on where no task names any, by default those that
    students are trained on.

    Raises UserError for anything in ``config`` that is unknown or does not fit together, LargePlanError for more than ``most``
    cells; these are counted before one is made.
    """
    planner = _Planner(config, measured_on)
    resolved = planner.resolve()
    check_size(config, resolved, most)
    planner.open()
    tables = {table.name: planner.add_table(table) for table in resolved}
    if not planner.cells:
        raise UserError("nothing to run: no method is selected; see 'foundry-bench list methods'")
    cells = sorted(planner.cells.values(), key=lambda cell: (STUDENT, EVALUATE, PROFILE).index(cell.kind))
    tables.pop("", None)
    notes = [folder.line(planner.reads) for folder in planner.folders.values() if folder is not None]
    return Plan(planner.config, cells, tables, planner.warnings, sorted(planner.sources), notes)


class _Planner:
    """Collects cells by id, so that two selectors that overlap cost nothing twice."""

    def __init__(self, config: SweepConfig, measured_on: str | None) -> None:
        self.measured_on = measured_on
        self.cells: dict[str, Cell] = {}
        self.warnings: list[str] = []
        self.sources: set[Path] = set()
        self.budget = cast(BudgetInputs, asdict(get_budget(config.budget)))
        self.config = config
        self.every_task = any("all" in table.tasks for table in config.comparisons)
        self.unnamed = any({"all", DEFAULT} & set(table.tasks) for table in config.comparisons)
        self.folders: dict[str, Understood | None] = {}
        self.refused: list[UserError] = []
        self.clouds: Content | None = None
        self.places: list[Place] = []
        self.members: set[str] = set()

    def open(self) -> None:
        """Hash the teacher and the data that students are trained on."""
        from foundry_bench.teachers import load_teacher, teacher_sha256

        name = self.config.teacher
        # So that one that cannot be read is told before anything is planned.
        self.reads = load_teacher(name).config.points
        self.teacher: Content = {"name": name, "sha256": teacher_sha256(name)}
        self.unlabelled = self._dataset(self.config.distill_on)

    def resolve(self) -> tuple[Table, ...]:
        """The comparisons with ``all`` and ``default`` replaced by names, kept in :attr:`config`; names that nobody
        registered raise before anything is loaded."""
        found = tuple(
            replace(t, methods=self._names("methods", t.methods), tasks=self._names("tasks", t.tasks))
            for t in self.config.comparisons
        )
        for text in (text for table in found for text in table.methods):
            selectors.check_names(selectors.parse_selector(text))
        if self.config.tables:
            self.config = replace(self.config, tables=found)
        else:
            self.config = replace(self.config, methods=found[0].methods, tasks=found[0].tasks)
        return found

    def add_table(self, table: Table) -> list[str]:
        """Add the cells of one comparison and return their ids."""
        self.members = set()
        self.places = self._places(table.tasks)
        if self.refused and not self.places:
            raise self.refused[0]
        if self.clouds is None:
            first = self.places[0]["dataset"] if self.places else self._without_task()
            self.clouds = {"name": first["name"], "sha256": first["sha256"]}
        for text in table.methods:
            self.add_method(selectors.parse_selector(text))
        return sorted(self.members)

    def add_method(self, selector: selectors.Selector) -> None:
        """Add the cells of every method, variant, parameter and seed of one selector.

        A plugin that cannot be used becomes one cell that fails; a selector that asks for what is not there
        raises, as does one that stacks methods in an order that cannot be.
        """
        from foundry_bench.stack import MisplacedError

        try:
            students = selectors.expand(selector, grid=self.config.grid)
            with registry.guard("methods", selector.parts[0].name, UNPLANNED):
                self.sources.update(source_files(students[0][0].classes()))
                for method, variant in students:
                    for seed in range(self.config.seeds):
                        self._add(method, variant, seed)
        except (UserError, TypeError, AttributeError) as error:
            if selector.specific or isinstance(error, MisplacedError):
                raise
            self._add_broken(selector.name, str(error))

    def _add(self, method: Method, variant: str, seed: int) -> None:
        student = self._student(method, variant, seed)
        common: Inputs = {**self._inputs(method, variant, seed), "student": student.id}
        for place in self.places:
            self._cell(EVALUATE, {**common, **place}, student.id)
        protocol: HarnessProtocol = {
            "device": self.config.device,
            "fidelity_on": self.unlabelled,
            "views": self.budget["views"],
        }
        if runtimes := others(self.config.runtime):
            protocol["runtimes"] = list(runtimes)
        self._cell(PROFILE, {**common, "dataset": self.clouds, "protocol": {**protocol}}, student.id)

    def _student(self, method: Method, variant: str, seed: int) -> Cell:
        """The cell that makes a method's student; a stack that is not trained again starts from its first method's student."""
        from foundry_bench.stack import Stack

        trained, training = method.trained(), method.training_params()
        inputs: Inputs = {
            **self._inputs(trained, variant, seed),
            "params": training,
            "shown": selectors.values_text(trained.shown(training)),
            "dataset": self.unlabelled,
        }
        if variant == OFF_THE_SHELF:  # of a budget only how many views the fidelity is measured on
            inputs["protocol"] = {"views": self.budget["views"]}
        else:
            inputs["budget"] = self.budget
        parent = None
        if isinstance(method, Stack) and not method.tuned(variant):
            parent = self._student(method.parts[0], variant, seed).id
            inputs["student"] = parent
        if variant == EXPERT:
            inputs["task"], inputs["protocol"] = self._lesson(method)
        return self._cell(STUDENT, inputs, parent)

    def _lesson(self, method: Method) -> tuple[TaskInputs, dict[str, Any]]:
        """The task and the protocol with labels that an expert is trained for."""
        from foundry_bench.training.finished import expert_of

        expert = expert_of(method)
        task = selectors.task_class(expert.task)()
        return _task_inputs(task), {**task.protocol(), "labels": self._dataset(expert.dataset)}

    def _inputs(self, method: Method, variant: str, seed: int) -> Inputs:
        return {
            "pipeline": PIPELINE_VERSION,
            "teacher": self.teacher,
            "method": {
                "name": method.name,
                "version": method.version,
                "code_sha256": code_sha256(method.classes()),
            },
            "variant": variant,
            "params": method.params(),
            "shown": selectors.values_text(method.shown(method.params())),
            "seed": seed,
            "task": None,
            "dataset": None,
            "protocol": None,
            "budget": None,
        }

    def _cell(self, kind: str, inputs: Inputs, parent: str | None = None) -> Cell:
        # JSON first: tuples become lists, so that the cell in memory equals the one read back from a record.
        cell = Cell(kind, json.loads(json.dumps(inputs)), parent)
        self.members.add(cell.id)
        return self.cells.setdefault(cell.id, cell)

    def _add_broken(self, name: str, reason: str) -> None:
        self.warnings.append(reason)
        inputs: Inputs = {
            "pipeline": PIPELINE_VERSION,
            "teacher": self.teacher,
            "method": {"name": name, "version": None, "code_sha256": None},
            "shown": "",
            "variant": None,
            "params": None,
            "seed": None,
            "task": None,
            "dataset": None,
            "protocol": None,
            "budget": None,
        }
        cell = Cell(STUDENT, inputs, broken=reason)
        self.members.add(cell.id)
        self.cells[cell.id] = cell

    def _places(self, texts: tuple[str, ...]) -> list[Place]:
        """Tasks and the data sets they are run on. With ``all`` a broken task is a warning, by name it is an error."""
        places: list[Place] = []
        for text in (text for text in texts if text != NONE):
            try:
                tasks = selectors.expand_task(text)
            except UserError as error:
                self._tolerate(error)
                continue
            for task, asked in tasks:
                try:
                    with registry.guard("tasks", task.name, UNPLANNED):
                        places += self._of_task(task, asked)
                except StrangerError as error:
                    self._tolerate(error)
        return places

    def _tolerate(self, error: UserError) -> None:
        """A broken task is a warning where nobody asked for it by name."""
        if not self.every_task:
            raise error
        self.warnings.append(str(error))

    def _of_task(self, task: Task, asked: str | None) -> list[Place]:
        """One task on the data set ``asked`` for, or on those of the sweep, or on its own."""
        self.sources.update(source_files([type(task)]))
        protocol = {**task.protocol(), "budget": self.config.budget if task.uses_budget else None}
        names = (asked,) if asked else self.config.dataset or expected(task.datasets, tuple, "datasets")
        inputs = [(name, self._divided(name, task)) for name in names]
        return [
            {"task": _task_inputs(task), "protocol": protocol, "dataset": dataset}
            for name, dataset in inputs
            if self._serves(name, task)
        ]

    def _dataset(self, name: str) -> Content:
        from foundry_bench.datasets.catalog import dataset_sha256, resolved, understood

        if name not in self.folders:
            self.folders[name] = understood(name)
        folder = self.folders[name]
        sha256 = dataset_sha256(name, Path(self.config.data_root)) if folder is None else folder.data.sha256
        return {"name": resolved(name), "sha256": sha256}

    def _divided(self, name: str, task: Task) -> Content:
        """A data set as ``task`` uses it, with the split that was drawn where the task needs one and the folder has none."""
        found = self._dataset(name)
        folder = self.folders[name]
        drawn = folder.drawn() if folder is not None and "splits" in task.needs else None
        return found if drawn is None else {**found, "split": drawn}

    def _without_task(self) -> Content:
        """The clouds to measure on where no task names any."""
        try:
            return self.unlabelled if self.measured_on is None else self._dataset(self.measured_on)
        except UserError:  # they are not here any more
            return self.unlabelled

    def _serves(self, name: str, task: Task) -> bool:
        """Whether a folder of clouds has what a task needs. A task that nobody asked for by name is left out with a warning
        where it has not. Raises UserError for one that somebody did."""
        from foundry_bench.task import check_data

        folder = self.folders[name]
        if folder is None:
            return True
        try:
            check_data(task, name, folder.data)
        except UserError as error:
            if not self.unnamed:
                raise
            self.warnings.append(f"{task.name} is left out: {error}")
            self.refused.append(error)
            return False
        return True

    def _names(self, kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if kind == "tasks" and name.split(":")[0] in ("all", DEFAULT) and ":" in name:
                raise UserError(
                    f"{name}: {name.split(':')[0]} takes no data set; name the tasks, or use --dataset"
                )
        if "all" not in names:
            meant = [
                self._default_tasks() if (kind, name) == ("tasks", DEFAULT) else [name] for name in names
            ]
            return tuple(dict.fromkeys(name for several in meant for name in several))
        known = tuple(registry.entries(kind))
        return (*known, *_stacks(known)) if kind == "methods" else known

    def _default_tasks(self) -> list[str]:
        """The tasks that ``default`` stands for. A broken plugin is a warning: nobody asked for it by name."""
        found = []
        for name in registry.entries("tasks"):
            try:
                with registry.guard("tasks", name, UNPLANNED):
                    cls = selectors.task_class(name)
                    self.sources.update(source_files([cls]))
            except UserError as error:
                self.warnings.append(str(error))
                continue
            if cls.default is True:
                found.append(name)
        return found


def _task_inputs(task: Task) -> TaskInputs:
    shown = selectors.values_text(selectors.shown_fields(task))
    code = code_sha256([type(task)])
    return {"name": task.name, "version": task.version, "shown": shown, "code_sha256": code}
