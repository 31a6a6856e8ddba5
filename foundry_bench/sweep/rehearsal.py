"""A rehearsal: everything that will happen to one method in a sweep, on a few clouds and in a few steps.

It finds within seconds what would otherwise stop a cell hours later: a missing package, a task that cannot read a student, an
operator that nobody can count, weights that do not come back from disk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foundry_bench.border import in_time
from foundry_bench.students.files import load_student, save_student
from foundry_bench.sweep.preflight import SECONDS
from foundry_bench.sweep.record import given, harness_protocol
from foundry_bench.task import check_data, evaluated
from foundry_bench.testing.quick import few_of, try_method
from foundry_bench.training.budget import REHEARSED

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder, TokenEncoder
    from foundry_bench.sweep.record import Measured, Place
    from foundry_bench.sweep.work import Job


EARLIER = 5.0
"""Seconds before its engine stops it, in which the place where it is can be recorded."""


def run_rehearsal(job: Job) -> Measured:
    """Make, train, save, load, count and evaluate a student in small; the record's ``cost`` block has the bytes it takes.

    Raises LateError, which a border turns into a StrangerError that names the place, shortly before its time is over.
    """
    with in_time(SECONDS - EARLIER, "the rehearsal"):
        return _rehearse(job)


def _rehearse(job: Job) -> Measured:
    from foundry_bench import cost
    from foundry_bench.training.budget import get_budget
    from foundry_bench.training.finished import finished_student
    from foundry_bench.training.token_cache import cache_bytes

    inputs, budget = job.inputs, REHEARSED
    job.refuse_lacking()
    job.stage = "load"
    teacher, whole = job.teacher(), job.data(given(inputs["dataset"])["name"])
    data = few_of(whole, budget.clouds)
    job.stage = "check"
    try_method(job.method(), teacher, data, job.context(given(inputs["seed"])))
    job.stage = "distill"
    student, _ = finished_student(job.method(), teacher, data, job.context(given(inputs["seed"])), budget)
    job.stage = "save"
    save_student(student, job.scratch / "student")
    student = load_student(job.scratch / "student")
    job.method().configure(student)
    job.stage = "cost"
    clouds = cost.report.evaluation_clouds(data, teacher.config.points, count=2)
    cost.count_macs_over(student.eval().to(job.spec["device"]), clouds.to(job.spec["device"]))
    for place in inputs["places"]:
        job.stage = f"evaluate {place['task']['name']}"
        _evaluate(job, teacher, student, place)
    views = get_budget(given(harness_protocol(inputs)["budget"])).views
    return {
        "cost": {
            "student_bytes": cost.memory.bytes_of_state(student),
            "cache_bytes": cache_bytes(teacher.config, len(whole.points), views),
        }
    }


def _evaluate(job: Job, teacher: TokenEncoder, student: Encoder, place: Place) -> None:
    from foundry_bench.sweep.work import task_of

    task = task_of(place["task"]["name"], place["protocol"])
    if job.method().skip(teacher, task.name) is not None:
        return
    data = job.data(place["dataset"]["name"])
    check_data(task, data.name, data)
    task, data = task.rehearsal(data)
    evaluated(task, student, data, replace(job.context(0), seed=0))
