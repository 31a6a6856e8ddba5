"""foundry-bench: compare compression methods for 3D point-cloud foundation models on equal terms.

``foundry_bench.api`` holds the functions; they are imported when they are first asked for, so that importing the package
and the command line's help stay quick.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foundry_bench.api import (
        context_index,
        distill,
        evaluate,
        export,
        load_dataset,
        load_plugin,
        load_results,
        load_student,
        load_teacher,
        make_student,
        normalize,
        profile,
        pull_student,
        push_student,
        run_sweep,
        save_student,
        save_teacher,
        visualize,
    )

__version__ = "0.1.0"
__all__ = [
    "context_index",
    "distill",
    "evaluate",
    "export",
    "load_dataset",
    "load_plugin",
    "load_results",
    "load_student",
    "load_teacher",
    "make_student",
    "normalize",
    "profile",
    "pull_student",
    "push_student",
    "run_sweep",
    "save_student",
    "save_teacher",
    "visualize",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from foundry_bench import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if os.environ.get(
    "FOUNDRY_BENCH_PLUGINS"
):  # a process that unpickles a plugin's encoder asks for nothing else before
    from foundry_bench.beforehand import plugin_files

    plugin_files.install()
