"""``foundry-bench visualize``: pictures of what a student does to a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import (
    data_root_option,
    dataset_option,
    device_option,
    give,
    json_option,
    out_option,
    student_argument,
    student_of,
    style_of,
    style_options,
    threads_option,
    use_threads,
)
from foundry_bench.progress import working_context


@click.command()
@student_argument
@click.option(
    "--teacher", help="A name, or a file or folder. [the student's own]", shell_complete=offers.teacher
)
@dataset_option("Clouds to look at")
@folder_options
@click.option(
    "--objects",
    type=click.IntRange(1, 12),
    default=3,
    show_default=True,
    help="Clouds to show: best to worst.",
)
@data_root_option
@device_option
@threads_option
@style_options
@out_option("Folder for the figures", required=True)
@json_option
def visualize(
    student: str,
    teacher: str | None,
    dataset: str,
    objects: int,
    data_root: str,
    device: str,
    threads: int | None,
    size: str | None,
    font: str | None,
    font_size: float | None,
    pdf: bool,
    out: Path,
    as_json: bool,
    **folder: Any,
) -> int:
    """Draw what STUDENT, a saved folder or a selector, makes of real clouds beside its teacher.

    Tokens in the teacher's principal components, tokens by SuperToken or merged group, a gate's probability and what it
    keeps over r, the error of every token, the entropy of attention by block: each as PNG and SVG with its numbers as CSV,
    where the student has such a thing. The clouds are chosen by R2: the best, the median and the worst.

    \b
    foundry-bench visualize students/foundry-16 -o figures/
    foundry-bench visualize 'tome[r=8]' --dataset bricks --objects 5 -o figures/
    """
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.figures.student import visualize as draw
    from foundry_bench.students.files import own_teacher
    from foundry_bench.teachers import load_teacher

    style = style_of(size, font, font_size, pdf)
    check_folder(out, "--out")
    (dataset,) = with_folder_options([dataset], **folder)
    use_threads(threads)
    with working_context(data_root=data_root, device=device) as ctx:
        named = None if teacher is None else load_teacher(teacher)
        encoder = student_of(student, named or load_teacher(), ctx)
        reference = named or own_teacher(encoder)
        data = load_dataset(dataset, Path(data_root), ctx.progress)
        files = [str(path) for path in draw(encoder, reference, data, out, ctx, objects=objects, style=style)]
    give({"student": student, "files": files}, None, as_json)
    if not as_json:
        click.echo("\n".join(files))
    return 0
