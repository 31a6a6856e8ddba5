"""Options and look-ups that the sub-commands about one student share."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foundry_bench import registry, selectors
from foundry_bench.beforehand.checks import check_file
from foundry_bench.cli.place import Place
from foundry_bench.encoder import Encoder
from foundry_bench.errors import no_folder
from foundry_bench.storage import write_atomic
from foundry_bench.students.files import load_student, make_student

if TYPE_CHECKING:
    from foundry_bench.context import Context

SHIPPED = "small"
"""The teacher that comes with the package."""
Command = TypeVar("Command", bound=Callable[..., Any])


def teacher_option(command: Command) -> Command:
    """``--teacher``, with the shipped one as its default."""
    return click.option("--teacher", default=SHIPPED, show_default=True, help="A name, or a file or folder.")(
        command
    )


def device_option(command: Command) -> Command:
    """``--device``, on which encoders compute."""
    return click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")(command)


def threads_option(command: Command) -> Command:
    """``--threads`` of torch; None leaves what torch finds right."""
    return click.option("--threads", type=click.IntRange(1, 1024), help="Threads of an encoder.")(command)


def output_options(command: Command) -> Command:
    """``-o`` and ``--json``, for programs that read what a command has found."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")(command)
    return click.option("-o", "--output", type=Place(), help="A .json file to write it to.")(command)


def data_root_option(command: Command) -> Command:
    """``--data-root``, where official data sets lie."""
    return click.option(
        "--data-root", default="data", show_default=True, help="Folder that holds the official data sets."
    )(command)


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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def student_of(text: str, teacher: Encoder | str | None, ctx: Context) -> Encoder:
    """A saved student's folder, or an untrained student of a selector, off the shelf where the method can be.

    ``teacher``, or its name, is what a selector's student is made from; a folder needs none.
    """
    if os.path.isdir(text):
        return load_student(Path(text))
    name = selectors.parse_selector(text).parts[0].name if "[" in text else text
    if name not in registry.entries("methods"):
        error = no_folder("student", text, "give a student's folder or a method's selector")
        if error is not None:
            raise error
    method, variant = selectors.one_method(text)
    if not isinstance(teacher, Encoder):
        from foundry_bench.teachers import load_teacher

        teacher = load_teacher(teacher or SHIPPED)
    return make_student(method, teacher, None, replace(ctx, variant=variant))
