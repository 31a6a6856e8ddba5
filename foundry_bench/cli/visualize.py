"""``foundry-bench visualize``: pictures of what a student does to a cloud."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.cli.options import data_root_option, student_of
from foundry_bench.cli.place import Place
from foundry_bench.progress import working_context


@click.command()
@click.argument("student")
@click.option("--teacher", help="Registered name, folder or checkpoint file. [the student's own]")
@click.option("--dataset", default="kicad", show_default=True, help="Clouds to look at.")
@click.option(
    "--objects",
    type=click.IntRange(1, 12),
    default=3,
    show_default=True,
    help="Clouds to show: best to worst.",
)
@data_root_option
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")
@click.option("-o", "--out", type=Place(), required=True, help="Folder for the figures.")
def visualize(
    student: str, teacher: str | None, dataset: str, objects: int, data_root: str, device: str, out: Path
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
    from foundry_bench.figures import visualize as draw
    from foundry_bench.students.files import own_teacher
    from foundry_bench.teachers import load_teacher

    check_folder(out, "--out")
    with working_context(data_root=data_root, device=device) as ctx:
        named = None if teacher is None else load_teacher(teacher)
        encoder = student_of(student, named or load_teacher(), ctx)
        reference = named or own_teacher(encoder)
        data = load_dataset(dataset, Path(data_root), ctx.progress)
        for path in draw(encoder, reference, data, out, ctx, objects=objects):
            click.echo(str(path))
    return 0
