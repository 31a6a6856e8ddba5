"""Figures of chosen rows' students, kept in the results folder and shown by its page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.border import guarded, plain
from foundry_bench.errors import UserError
from foundry_bench.figures.files import PLAIN, Style
from foundry_bench.figures.kinds import KINDS
from foundry_bench.report.leaderboard import Row
from foundry_bench.report.served import Served
from foundry_bench.report.tables import selector
from foundry_bench.storage import atomic_folder, file_name
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.store import Store

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder

FOLDER = Path("figures") / "rows"
"""Where they are kept, below the results folder."""
MOST = 12
"""Most rows whose students are drawn at a time."""
DATASET = "kicad"
"""Whose clouds are shown for a row that no task was run on."""


def place_of(row: Row, served: Served) -> Path | None:
    """Where the figures of a row's first student are, below the results folder; None for a row without a student. The name says
    which student with which parameters, so that another one never has this one's figures."""
    student = next((c["cell_id"] for c in served.cells(row) if c["kind"] == "student"), None)
    if student is None:
        return None
    digest = hashlib.sha256(
        f"{student} {row.keys['parameters']}".encode("utf-8", "surrogatepass")
    ).hexdigest()
    return FOLDER / f"{file_name(selector(row.keys))[:60]}-{digest[:10]}"


def pictures_of(folder: Path, row: Row, served: Served) -> dict[str, list[str]]:
    """The place of a row's figures below ``folder`` and their names, or nothing where there are none."""
    place = place_of(row, served)
    names = [] if place is None else [name for name in KINDS if (folder / place / f"{name}.png").is_file()]
    return {"pictures": [str(place.as_posix()), *names]} if place is not None and names else {}


def draw_rows(
    folder: Path,
    rows: list[Row],
    served: Served,
    *,
    style: Style = PLAIN,
    tell: Callable[[str], object] = str,
) -> list[str]:
    """Draw the figures of the first student of each row that has none yet, on the data set of its first task, and return a
    line for each row that could not be drawn; ``tell`` hears what is being done. Raises UserError for more rows than
    :data:`MOST`."""
    if len(rows) > MOST:
        raise UserError(f"figures of {len(rows)} rows are asked for; name at most {MOST} of them")
    problems = []
    for row in rows:
        place = place_of(row, served)
        if place is not None and (folder / place).is_dir():
            continue
        name = plain(selector(row.keys))
        tell(f"drawing {name}")
        try:
            if place is None:
                raise UserError("it has no student yet")
            with guarded(f"the student of {name}", "see the traceback of its cell, or leave the row out"):
                _draw(folder, row, served, folder / place, style)
        except UserError as error:
            problems.append(f"no figures of {name}: {error}")
    return problems


def _draw(folder: Path, row: Row, served: Served, place: Path, style: Style) -> None:
    import torch

    from foundry_bench.beforehand.checks import check_device
    from foundry_bench.context import Context
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.figures.student import visualize
    from foundry_bench.teachers import load_teacher, teacher_sha256

    store = Store(folder)
    config = SweepConfig.from_sources(store.sweep_file, {}) if store.sweep_file.is_file() else SweepConfig()
    teacher = row.keys["teacher"]
    if teacher_sha256(teacher) != row.keys["teacher_sha256"]:
        raise UserError(f"teacher {teacher} has other weights than those that it was made from")
    ctx = Context(device=torch.device(check_device(config.device)), data_root=Path(config.data_root))
    evaluated = (c["dataset"] for c in served.cells(row) if c["kind"] == "evaluate" and c["status"] == "ok")
    data = load_dataset(next(evaluated, DATASET), ctx.data_root)
    student = _student(store, row, served)
    with atomic_folder(place) as temporary:
        visualize(student, load_teacher(teacher), data, temporary, ctx, style=style)


def _student(store: Store, row: Row, served: Served) -> Encoder:
    """The row's first student, with the row's own inference-time parameters."""
    from foundry_bench.selectors import build_method
    from foundry_bench.students.files import load_student

    cell = next(c for c in served.cells(row) if c["kind"] == "student")
    if not store.has_student(cell["cell_id"]):
        raise UserError("its weights are not in the folder; the command of its sweep makes them again")
    student = load_student(store.student_folder(cell["cell_id"]))
    build_method(row.keys["method"], json.loads(row.keys["parameters"])).configure(student)
    return student.eval()
