"""``foundry-bench distill``: one student, made, trained and saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from foundry_bench.cli.options import one_method, teacher_option, working_context
from foundry_bench.errors import UserError


@click.command()
@click.argument("selector")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the student.")
@click.option("--budget", default="quick", show_default=True, help="quick, standard or paper.")
@click.option("--data", "data_name", default="pretrain", show_default=True, help="Unlabelled data set.")
@click.option("--seed", default=0, show_default=True)
@teacher_option
def distill(selector: str, out: Path, budget: str, data_name: str, seed: int, teacher: str) -> int:
    """Make the student of SELECTOR, train it and save it: on the teacher's tokens, or for one task (kd-expert).

    \b
    foundry-bench distill 'foundry[supertokens=4]' --out students/foundry-4
    foundry-bench distill 'foundry[supertokens=4]+int8' --out students/foundry-4-int8
    """
    from foundry_bench import students
    from foundry_bench.distill import get_budget
    from foundry_bench.sweep import harness
    from foundry_bench.training import finished_student
    from foundry_bench.variants import FMD, OFF_THE_SHELF

    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; choose another --out")
    method, variant = one_method(selector, FMD)
    if variant == OFF_THE_SHELF:
        raise UserError(f"{method.name} has nothing to train: it is used off the shelf")
    encoder, data = harness.load_teacher(teacher), harness.load_dataset(data_name)
    with working_context(seed, budget) as ctx:
        ctx = replace(ctx, variant=variant)
        student, report = finished_student(method, encoder, data, ctx, get_budget(budget))
    assert report is not None, "every other variant trains"
    sha = harness.teacher_sha256(teacher)
    students.save_student(student, out, method=method, variant=variant, teacher=teacher, teacher_sha=sha)
    click.echo(f"{out}: R2 {report.r2:.4f} after {report.steps} steps in {report.seconds:.0f} s")
    return 0
