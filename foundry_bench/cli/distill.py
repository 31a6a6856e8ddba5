"""``foundry-bench distill``: one student, made, trained and saved."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from foundry_bench.beforehand.checks import check_device, check_folder, check_seed
from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import folder_options, told_fewer_points, with_folder_options
from foundry_bench.cli.options import (
    budget_option,
    data_root_option,
    device_option,
    give,
    json_option,
    out_option,
    teacher_option,
    threads_option,
    use_threads,
)
from foundry_bench.cli.saving import saved
from foundry_bench.errors import UserError
from foundry_bench.progress import working_context


@click.command()
@teacher_option
@click.option(
    "--method",
    "selector",
    required=True,
    help="Selector of one method, such as foundry[supertokens=4].",
    shell_complete=offers.method,
)
@click.option(
    "--data",
    default="pretrain",
    show_default=True,
    help="Unlabelled clouds: a data set, or a folder of cloud files.",
    shell_complete=offers.dataset,
)
@out_option("Folder of the student", required=True)
@budget_option
@click.option("--seed", default=0, show_default=True, help="Of the student's start and of its training.")
@device_option
@threads_option
@folder_options
@data_root_option
@json_option
def distill(
    teacher: str,
    selector: str,
    data: str,
    out: Path,
    budget: str,
    seed: int,
    device: str,
    threads: int | None,
    data_root: str,
    as_json: bool,
    **folder: Any,
) -> int:
    """Make the student of one method, train it on the teacher's tokens of your clouds, and save it.

    The folder holds model.safetensors and config.json and is all that foundry_bench.load_student needs.

    \b
    foundry-bench distill --method 'foundry[supertokens=4]' -o students/foundry-4
    foundry-bench distill --teacher point_jepa.ckpt --method foundry --data scans/ --up y -o students/mine
    foundry-bench distill --method 'foundry[supertokens=4]+int8' -o students/foundry-4-int8
    """
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.selectors import one_method
    from foundry_bench.students.files import save_student
    from foundry_bench.teachers import load_teacher
    from foundry_bench.testing.quick import try_method
    from foundry_bench.training.budget import get_budget
    from foundry_bench.training.finished import finished_student
    from foundry_bench.variants import FMD, OFF_THE_SHELF

    (data,) = with_folder_options([data], **folder)
    check_folder(out, "--out", empty=True)
    check_seed(seed)
    check_device(device)
    method, variant = one_method(selector, FMD)
    if variant == OFF_THE_SHELF:
        raise UserError(
            f"{selector} has nothing to train; give it to evaluate, profile or export as it is, in place of a student's folder"
        )
    spent = get_budget(budget)
    use_threads(threads)
    encoder = load_teacher(teacher)
    with working_context(seed, budget, data_root, variant, device) as ctx:
        clouds = load_dataset(data, Path(data_root), ctx.progress)
        told_fewer_points(data, clouds, encoder, ctx.log)
        try_method(method, encoder, clouds, ctx)
        student, report = finished_student(method, encoder, clouds, ctx, spent)
    assert report is not None, "every other variant trains"
    saved(partial(save_student, student), out, "the trained student")
    give({"student": str(out), "method": selector, **asdict(report)}, None, as_json)
    if not as_json:
        click.echo(f"{out}: R2 {report.r2:.4f} after {report.steps} steps in {report.seconds:.0f} s")
    return 0
