"""``foundry-bench bench``: an exported folder timed on this machine, without PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from foundry_bench.beforehand.checks import check_file
from foundry_bench.cli.options import THREADS, output_options
from foundry_bench.cli.place import Place
from foundry_bench.errors import UserError


@click.command()
@click.argument("folder", type=Place())
@click.option("--reference", type=Place(), help="Exported folder of its teacher, for a ratio.")
@click.option("--threads", type=THREADS, default=1, show_default=True, help="Threads of an encoder.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600),
    default=6.0,
    show_default=True,
    help="Of one attempt; up to three are made.",
)
@click.option("--label", help="What this machine is called in tables. [its model]")
@output_options
def bench(
    folder: Path,
    reference: Path | None,
    threads: int,
    seconds: float,
    label: str | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Time the exported FOLDER in ONNX Runtime, in turns with its teacher's and with a control.

    It needs numpy and onnxruntime, and no PyTorch; where foundry-bench is not installed, bench.py in the folder does the same.

    \b
    foundry-bench export students/mine -o edge/mine && foundry-bench export teacher -o edge/teacher
    foundry-bench bench edge/mine --reference edge/teacher --label jetson -o jetson.json
    foundry-bench leaderboard results/mine --merge jetson.json
    """
    if output is not None:
        check_file(output, "--output")
    from foundry_bench.runtimes import bench as alone
    from foundry_bench.runtimes.exported import FolderError
    from foundry_bench.storage import write_atomic

    try:
        record = alone.bench(folder, reference, threads=threads, seconds=seconds, label=label)
    except FolderError as error:
        raise UserError(str(error)) from error
    if output is not None:
        write_atomic(output, alone.strict(record).encode())
    click.echo(alone.strict(record) if as_json else alone.summary(record), nl=not as_json)
    return 0
