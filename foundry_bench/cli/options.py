"""Options that mean the same in every command that takes them, and look-ups of the commands about one student.

Nothing heavy is imported before a command works: ``--help`` and completion read these options, too.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foundry_bench import registry
from foundry_bench.beforehand.checks import check_file
from foundry_bench.cli import offers
from foundry_bench.cli.place import Place
from foundry_bench.errors import UserError, no_folder
from foundry_bench.storage import write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from foundry_bench.context import Context
    from foundry_bench.encoder import Encoder
    from foundry_bench.figures.files import Style

SHIPPED = "small"
"""The teacher that comes with the package."""
THREADS = click.IntRange(1, 1024)
DEVICES = "What encoders compute on: cpu, cuda, cuda:1 ..."
Command = TypeVar("Command", bound=Callable[..., Any])


def teacher_option(command: Command) -> Command:
    """``--teacher``, with the shipped one as its default."""
    return click.option(
        "--teacher",
        default=SHIPPED,
        show_default=True,
        help="A name, or a file or folder.",
        shell_complete=offers.teacher,
    )(command)


def budget_option(command: Command) -> Command:
    """``--budget`` of what trains; ``quick`` by default."""
    return click.option(
        "--budget",
        default="quick",
        show_default=True,
        help="Of what trains: quick, standard or paper.",
        shell_complete=offers.budgets,
    )(command)


def dataset_option(what: str) -> Callable[[Command], Command]:
    """``--dataset``, whose clouds are for ``what``; KiCad by default."""
    return click.option(
        "--dataset", default="kicad", show_default=True, help=f"{what}.", shell_complete=offers.dataset
    )


def student_argument(command: Command) -> Command:
    """``STUDENT``: a folder, or a selector."""
    return click.argument("student", shell_complete=offers.student)(command)


def device_option(command: Command) -> Command:
    """``--device``, on which encoders compute."""
    return click.option(
        "--device", default="cpu", show_default=True, help=DEVICES, shell_complete=offers.devices
    )(command)


def threads_option(command: Command) -> Command:
    """``--threads``, of torch or another runtime; None leaves what that finds right."""
    return click.option("--threads", type=THREADS, help="Threads of an encoder. [all cores]")(command)


def use_threads(threads: int | None) -> None:
    """Let torch compute with so many threads in this process, as ``--threads`` asks for."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def cell_options(command: Command) -> Command:
    """``--device``, ``--jobs`` and ``--threads`` of the cells of a sweep; a file of --config may set them, so that none has a
    default here."""
    jobs = "Cells at a time. [2, one per GPU, or what the cluster holds]"
    threads = "Threads of an encoder; the same number gives the same scores. [cores / jobs]"
    command = click.option("--threads", type=THREADS, help=threads)(command)
    command = click.option("--jobs", type=int, help=jobs)(command)
    return click.option("--device", help=f"{DEVICES} [cpu]", shell_complete=offers.devices)(command)


def json_option(command: Command) -> Command:
    """``--json``, for programs that read what a command has found: nothing else goes to standard output then."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")(command)


def file_option(what: str) -> Callable[[Command], Command]:
    """``-o`` of commands whose result is one file, ``what`` such as ``a .csv file``."""
    return click.option("-o", "--out", "--output", "output", type=Place(), help=f"{what} to write it to.")


def out_option(what: str, **more: Any) -> Callable[[Command], Command]:
    """``-o`` of commands whose result is a folder; ``what`` is in it."""
    return click.option("-o", "--out", type=Place(), help=what if what.endswith("]") else f"{what}.", **more)


def output_options(command: Command) -> Command:
    """``-o`` and ``--json`` of commands that find figures."""
    return file_option("A .json file")(json_option(command))


def data_root_option(command: Command) -> Command:
    """``--data-root``, where official data sets lie."""
    return click.option(
        "--data-root", default="data", show_default=True, help="Folder that holds the official data sets."
    )(command)


def figures_option(command: Command) -> Command:
    """``--figures``, the rows of a sweep whose students are drawn."""
    return click.option(
        "--figures",
        metavar="ROWS",
        help="Rows whose students are drawn for the page: selectors, front, or best, the best of each family.",
    )(command)


def style_options(command: Command) -> Command:
    """``--size``, ``--font``, ``--font-size`` and ``--pdf`` of figures, for :func:`style_of`."""
    command = click.option("--pdf", is_flag=True, help="Write figures as PDF, too.")(command)
    command = click.option("--font-size", type=float, help="Points of text in figures. [9]")(command)
    command = click.option("--font", help="Font of figures, such as 'DejaVu Serif'.")(command)
    return click.option("--size", help="Inches of figures, such as 3.3x2.5. [each its own]")(command)


def style_of(size: str | None, font: str | None, font_size: float | None, pdf: bool) -> Style:
    """The style that the options ask for. Raises UserError."""
    from foundry_bench.figures.files import Style, read_size

    inches = None if size is None else read_size(size)
    return Style(inches, font, Style.points if font_size is None else font_size, pdf)


def check_output(output: Path | None) -> None:
    """Raise UserError for a file of ``-o`` that cannot be written, before anything is computed for it."""
    if output is not None:
        check_file(output, "--output")


def give(content: dict[str, Any], output: Path | None, as_json: bool) -> None:
    """Write ``content`` as strict JSON to the file of ``-o`` and print it with ``--json``; what is not finite is null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    if output is not None:
        write_atomic(output, text.encode())
    if as_json:
        click.echo(text, nl=False)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for :func:`give`."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def student_or_export_of(text: str, teacher: Encoder | str | None, ctx: Context, threads: int) -> Encoder:
    """An exported folder as ONNX Runtime runs it, with so many ``threads``, or what :func:`student_of` gives."""
    from foundry_bench.exports.encoder import RuntimeEncoder, is_exported

    return RuntimeEncoder(text, threads) if is_exported(text) else student_of(text, teacher, ctx)


def student_of(text: str, teacher: Encoder | str | None, ctx: Context) -> Encoder:
    """A saved student's folder, or an untrained student of a selector, off the shelf where the method can be.

    ``teacher``, or its name, is what a selector's student is made from; a folder needs none.
    """
    from foundry_bench import selectors
    from foundry_bench.encoder import Encoder
    from foundry_bench.students.files import load_student, make_student
    from foundry_bench.testing.quick import check_made

    if os.path.isdir(text):
        return load_student(Path(text))
    name = selectors.parse_selector(text).parts[0].name if "[" in text else text
    if name not in registry.entries("methods"):
        error = no_folder("student", text, "give a student's folder or a method's selector")
        if error is not None:
            raise error
        if text.isidentifier():
            try:
                registry.check_known("methods", name)
            except UserError as missed:
                raise UserError(f"{missed}; there is no folder of that name either") from None
    method, variant = selectors.one_method(text)
    if not isinstance(teacher, Encoder):
        from foundry_bench.teachers import load_teacher

        teacher = load_teacher(teacher or SHIPPED)
    data = registry.load("datasets", "pretrain")()
    student = make_student(method, teacher, data, replace(ctx, variant=variant))
    check_made(method, student, teacher, data)
    return student
