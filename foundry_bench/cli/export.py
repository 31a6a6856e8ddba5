"""``foundry-bench export``: one student as a folder that runs without PyTorch and without this package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import (
    data_root_option,
    dataset_option,
    give,
    json_option,
    out_option,
    student_argument,
    student_of,
    teacher_option,
    threads_option,
    use_threads,
)
from foundry_bench.progress import working_context


@click.command()
@student_argument
@out_option("Folder of the export, empty or not there yet", required=True)
@click.option(
    "--format",
    "form",
    default="onnx",
    show_default=True,
    help="onnx, executorch or torch.",
    shell_complete=offers.values("onnx", "executorch", "torch"),
)
@click.option("--int8", is_flag=True, help="Linear layers in eight bits, quantised by ONNX Runtime.")
@click.option("--points-in", is_flag=True, help="Also a graph that groups the cloud: points in, tokens out.")
@dataset_option("Clouds to verify on")
@folder_options
@threads_option
@data_root_option
@teacher_option
@json_option
def export(
    student: str,
    out: Path,
    form: str,
    int8: bool,
    points_in: bool,
    dataset: str,
    threads: int | None,
    data_root: str,
    teacher: str,
    as_json: bool,
    **folder: Any,
) -> int:
    """Export STUDENT, a saved folder or a selector, and verify it in the runtime that it is for.

    The folder holds the graph, export.json (how a cloud is prepared, where it comes from, what was verified), golden.npz
    (clouds and what PyTorch makes of them), and for ONNX run.py, run.cpp and bench.py, which need the runtime only.

    \b
    foundry-bench export students/foundry-4 -o exported/foundry-4
    foundry-bench export teacher -o exported/teacher --int8 --points-in
    python exported/teacher/run.py cloud.npy
    """
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.exports.card import FORMS
    from foundry_bench.exports.folder import check_export
    from foundry_bench.exports.folder import export as write
    from foundry_bench.runtimes.bench import write_beside
    from foundry_bench.teachers import load_teacher

    check_export(out, form, int8, points_in)
    (dataset,) = with_folder_options([dataset], **folder)
    use_threads(threads)
    with working_context(data_root=data_root) as ctx:
        encoder = student_of(student, load_teacher(teacher), ctx)
        data = load_dataset(dataset, Path(data_root), ctx.progress)
        graph = write(encoder, out, data, form=form, int8=int8, points_in=points_in, progress=ctx.progress)
    write_beside(out)
    found = graph.parity
    size = (out / graph.model).stat().st_size
    if as_json:
        about = {
            "student": student,
            "folder": str(out),
            "model": graph.model,
            "bytes": size,
            "form": graph.form,
        }
        give({**about, "batch": graph.batch, "runtime": graph.runtime, **asdict(found)}, None, as_json)
        return 0
    clouds = "any number of clouds" if graph.batch is None else "one cloud at a time"
    close = (
        f"R2 {found.r2:.4f} of the float student" if int8 else f"largest difference {found.difference:.1e}"
    )
    click.echo(f"{out}: {graph.model}, {size / 1e6:.1f} MB, {clouds}, {FORMS[graph.form]}")
    if encoder.in_torch is not encoder and not int8:
        click.echo("its float parent is exported; --int8 quantises it")
    click.echo(f"verified on {found.clouds} clouds in {graph.runtime}: {close}")
    return 0
