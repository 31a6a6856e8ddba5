"""Options and look-ups that the sub-commands about one student share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foundry_bench import selectors
from foundry_bench.students.files import load_student, make_student

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.encoder import Encoder

Command = TypeVar("Command", bound=Callable[..., Any])


def teacher_option(command: Command) -> Command:
    """``--teacher``, with the shipped one as its default."""
    return click.option("--teacher", default="small", show_default=True, help="A name, or a file or folder.")(
        command
    )


def data_root_option(command: Command) -> Command:
    """``--data-root``, where official data sets lie."""
    return click.option(
        "--data-root", default="data", show_default=True, help="Folder that holds the official data sets."
    )(command)


def student_of(text: str, teacher: Encoder, ctx: Context) -> Encoder:
    """A saved student's folder, or an untrained student of a selector, off the shelf where the method can be."""

    if Path(text).is_dir():
        return load_student(Path(text))
    method, variant = selectors.one_method(text)
    return make_student(method, teacher, None, replace(ctx, variant=variant))
