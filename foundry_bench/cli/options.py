"""Options and look-ups that the sub-commands about one student share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foundry_bench import registry, selectors
from foundry_bench.errors import no_folder
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
    if os.path.isdir(text):
        return load_student(Path(text))
    name = selectors.parse_selector(text).parts[0].name if "[" in text else text
    if name not in registry.entries("methods"):
        error = no_folder("student", text, "give a student's folder or a method's selector")
        if error is not None:
            raise error
    method, variant = selectors.one_method(text)
    return make_student(method, teacher, None, replace(ctx, variant=variant))
