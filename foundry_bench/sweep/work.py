"""The work inside the three kinds of cell; errors are left to :mod:`foundry_bench.sweep.cell`."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from foundry_bench import selectors
from foundry_bench.datasets.halves import read_half
from foundry_bench.exports import QuantizedEncoder
from foundry_bench.runtimes.registered import check_runtimes
from foundry_bench.storage import write_atomic
from foundry_bench.students.files import load_student, make_student, mark, save_student
from foundry_bench.sweep.record import (
    Cost,
    Fidelity,
    Inputs,
    Measured,
    ScoresBlock,
    ScoreValue,
    Spec,
    given,
    harness_protocol,
)
from foundry_bench.sweep.store import Store
from foundry_bench.task import check_data, evaluated
from foundry_bench.variants import EXPERT, OFF_THE_SHELF

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder, TokenEncoder
    from foundry_bench.method import Method
    from foundry_bench.task import Scores, Task

LOG = logging.getLogger(__name__)


WORDS = {
    "load": "loading teacher and data",
    "compress": "making the student",
    "distill": "training",
    "fidelity": "comparing tokens with the teacher's",
    "save": "saving",
    "evaluate": "evaluating",
    "cost": "measuring costs",
}
"""Stages as a reader is told of them."""


class SkipCellError(Exception):
    """The method cannot be run here; the message is its reason."""


@dataclass
class Job:
    """A spec at work; ``tell`` hears of its progress. ``young``: its process has libraries and has done nothing with them."""

    spec: Spec
    store: Store
    scratch: Path
    tell: Callable[[str, int, int], None] = lambda what, done, total: None
    young: bool = False
    _stage: str = "start"

    @property
    def stage(self) -> str:
        """Where an error would have happened."""
        return self._stage

    @stage.setter
    def stage(self, stage: str) -> None:
        self._stage = stage
        self.tell(WORDS.get(stage, stage), 0, 0)

    @property
    def inputs(self) -> Inputs:
        """The record's block of the same name."""
        return self.spec["inputs"]

    def method(self) -> Method:
        """The cell's method with its parameters."""
        return selectors.build_method(self.inputs["method"]["name"], given(self.inputs["params"]))

    def refuse_lacking(self) -> None:
        """Skip the cell of a method that cannot be used on this machine. Raises SkipCellError."""
        if reason := self.method().lacks():
            raise SkipCellError(reason)

    def data(self, name: str) -> PointCloudDataset:
        """A data set by name or folder."""
        from foundry_bench.datasets.catalog import load_dataset

        return load_dataset(name, Path(self.spec["data_root"]), self.tell)

    def dataset(self) -> PointCloudDataset:
        """The data set of the cell's inputs."""
        return self.data(given(self.inputs["dataset"])["name"])

    def teacher(self) -> TokenEncoder:
        """The cell's teacher."""
        from foundry_bench.teachers import load_teacher

        return load_teacher(self.inputs["teacher"]["name"])

    def context(self, seed: int) -> Context:
        """What the method or task is handed."""
        import torch

        from foundry_bench.context import Context

        return Context(
            device=torch.device(self.spec["device"]),
            seed=seed,
            variant=given(self.inputs["variant"]),
            budget=self.spec["budget"],
            data_root=Path(self.spec["data_root"]),
            scratch=self.scratch,
            cache=Path(self.spec["cache"]),
            log=LOG,
            progress=self.tell,
        )

    def student(self) -> Encoder:
        """The parent's trained student, configured with this cell's inference-time parameters."""

        student = load_student(self.store.student_folder(self.inputs["student"]))
        self.method().configure(student)
        return student.eval()


def run_student(job: Job) -> Measured:
    """Make a student, train it where its variant says so, save it; the record's ``fidelity`` block."""
    from foundry_bench.context import start_seed
    from foundry_bench.stack import Stack
    from foundry_bench.teachers.layout import lay_out
    from foundry_bench.training.budget import get_budget
    from foundry_bench.training.finished import finished_student, train

    inputs = job.inputs
    job.refuse_lacking()
    job.stage = "load"
    teacher, data, method = job.teacher(), job.dataset(), job.method()
    job.stage = "compress"
    seed = given(inputs["seed"])
    start = start_seed(seed, inputs["method"]["name"], given(inputs["params"]), "compress")
    # The trainer gets the sweep's seed itself: all students of a seed see the same views in the same order.
    ctx = job.context(seed)

    def make(start: int) -> Encoder:
        if isinstance(method, Stack):
            first = job.student()
            lay_out(first, columns=False)
            finished = method.finish(first, data, job.context(start)).eval()
            lay_out(finished, columns=True)
            return finished
        return make_student(method, teacher, data, job.context(start))

    variant, budget = given(inputs["variant"]), get_budget(job.spec["budget"])
    if isinstance(method, Stack) and method.tuned(variant):
        job.stage = "distill"
        student, report = finished_student(method, teacher, data, ctx, budget, job.context(start))
        fidelity = cast(Fidelity, asdict(given(report)))
    elif isinstance(method, Stack):
        student = mark(make(start), method, variant, teacher)
        fidelity = _untrained(student, teacher, data, job, ctx, _parent_fidelity(job))
    else:
        student = make(start)
        job.stage = "distill"
        report = train(student, teacher, data, method=method, ctx=ctx, budget=budget)
        fidelity = cast(Fidelity, asdict(report)) if report else _untrained(student, teacher, data, job, ctx)
    job.stage = "save"
    _save(student, job)
    job.stage = "compress"
    fidelity["seeded"] = _seeded(student, lambda: make(start ^ 1), job)
    if isinstance(student, QuantizedEncoder):
        fidelity["r2_parent"] = float(student.r2)
    return {"fidelity": fidelity}


def _seeded(student: Encoder, remake: Callable[[], Encoder], job: Job) -> bool:
    """Whether another seed makes another student: training does, and without it weights of a second start tell.

    All of a student is in its weights, for they are what is saved.
    """
    if job.inputs["variant"] != OFF_THE_SHELF:
        return True
    below = _parent_fidelity(job) if "student" in job.inputs else None
    if below is not None and below.get("seeded", False):
        return True
    import torch

    first, second = (made.state_dict() for made in (student, remake()))
    return first.keys() != second.keys() or any(
        not torch.equal(value.cpu(), second[name].cpu()) for name, value in first.items()
    )


def _untrained(
    student: Encoder,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    job: Job,
    ctx: Context,
    training: Fidelity | None = None,
) -> Fidelity:
    """The fidelity block of a student that was not trained here; ``training``: what its parent's, if any, took."""
    from foundry_bench.training import distillation

    job.stage = "fidelity"
    found = asdict(distillation.heldout_fidelity(student, teacher, data, ctx, job.spec["budget"]))
    taken = training or {"curve": [], "steps": 0, "samples": 0, "seconds": 0.0}
    return cast(Fidelity, {**taken, **found})


def _parent_fidelity(job: Job) -> Fidelity | None:
    record = job.store.read("student", job.inputs["student"])
    return None if record is None else record["fidelity"]


def _save(student: Encoder, job: Job) -> None:
    """Save into a temporary folder and rename it, so that a student exists whole or not at all."""

    folder = job.store.student_folder(job.spec["cell_id"])
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    save_student(student, temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def run_evaluate(job: Job) -> Measured:
    """Score a student on one task and data set; the record's ``scores`` block."""
    inputs = job.inputs
    job.refuse_lacking()
    job.stage = "load"
    teacher = job.teacher()
    name = given(inputs["task"])["name"]
    reason = job.method().skip(teacher, name)
    if reason is not None:
        raise SkipCellError(reason)
    student = job.student()
    task = task_of(name, given(inputs["protocol"]))
    data = job.dataset()
    check_data(task, data.name, data)
    _refuse_seen(job, task, data)
    job.stage = "evaluate"
    # Seed 0 for every method and sweep seed: the same episodes, so that outcomes can be compared in pairs.
    scores = evaluated(task, student, data, job.context(0))
    return {"scores": _scores_block(scores, job)}


def _refuse_seen(job: Job, task: Task, data: PointCloudDataset) -> None:
    """Skip the cell of an expert that was trained on labels of objects that ``task`` scores."""
    from foundry_bench.training.finished import expert_of, lesson_task

    scored = task.scored(data)
    if job.inputs["variant"] != EXPERT or scored is None:
        return
    pupil = expert_of(job.method())
    name = given(job.inputs["dataset"])["name"]
    half = read_half(name)  # its rows are those of the whole
    taught = pupil.dataset == (name if half is None else half.base)
    whole = data if half is None else job.data(half.base)
    supervision = lesson_task(pupil).supervision(whole) if taught else None
    if supervision is not None and (seen := np.intersect1d(supervision.rows, scored)).size:
        raise SkipCellError(
            f"an expert of {pupil.task} was trained on labels of {len(seen)} objects of {data.name} that {task.name} scores"
        )


def run_profile(job: Job) -> Measured:
    """Measure a student's cost; the record's ``cost`` block, and ``fidelity`` where inference-time parameters changed it.

    Peak memory is left out where the process is not young: a fresh one for every row would take most of the time.
    """
    from foundry_bench import cost

    with cost.spare_process() if job.spec["peak_memory"] and job.young else nullcontext() as spare:
        return _profiled(job, spare)


def _profiled(job: Job, spare: Connection | None) -> Measured:
    from foundry_bench import cost
    from foundry_bench.training import distillation

    inputs = job.inputs
    job.refuse_lacking()
    job.stage = "load"
    teacher = job.teacher()
    student = job.student()
    data = job.dataset()
    job.stage = "cost"
    runtimes = check_runtimes(harness_protocol(inputs).get("runtimes", []))
    found = cost.profile(
        *(student, teacher, data, job.context(0)),
        runtimes=runtimes,
        measure_memory=spare is not None,
        spare=spare,
    )
    block = cast(Cost, found.to_dict())
    if job.method() == job.method().trained():
        return {"cost": block}  # the student's own record holds its R2
    job.stage = "fidelity"
    unlabelled = job.data(harness_protocol(inputs)["fidelity_on"]["name"])
    ctx = job.context(given(inputs["seed"]))
    fidelity = distillation.heldout_fidelity(student, teacher, unlabelled, ctx, job.spec["budget"])
    return {"cost": block, "fidelity": cast(Fidelity, asdict(fidelity))}


def _scores_block(scores: Scores, job: Job) -> ScoresBlock:
    """Scores in long form; per-item outcomes go to an .npz beside the record."""
    file = job.store.beside("evaluate", job.spec["cell_id"], ".npz")
    block: ScoresBlock = {
        "values": [cast(ScoreValue, asdict(value)) for value in scores.values],
        "outcomes_file": None,
        "outcomes_sha256": None,
    }
    if scores.outcomes:
        buffer = BytesIO()
        np.savez_compressed(buffer, **scores.outcomes)  # type: ignore[arg-type]
        write_atomic(file, buffer.getvalue())
        block["outcomes_file"] = file.name
        block["outcomes_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    return block


def task_of(name: str, values: dict[str, Any]) -> Task:
    """A task from its protocol in JSON, which has no tuples and may say more than the fields of the task."""
    cls = selectors.task_class(name)
    known = {field.name for field in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})
