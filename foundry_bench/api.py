"""The library's front door: what ``import foundry_bench as fb`` offers, see ``docs/python.md``.

Every function only calls the module that does the work; the command line calls the same modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foundry_bench import selectors
from foundry_bench.beforehand import plugin_files
from foundry_bench.beforehand.checks import check_folder, check_path
from foundry_bench.beforehand.configuration import shown
from foundry_bench.context import Context
from foundry_bench.cost import CostReport
from foundry_bench.cost import profile as measure
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.datasets.catalog import ROOT, load_dataset
from foundry_bench.datasets.dataset import check_whole
from foundry_bench.encoder import Encoder, TokenEncoder
from foundry_bench.errors import UserError
from foundry_bench.exports.card import Graph
from foundry_bench.exports.folder import check_export
from foundry_bench.exports.folder import export as write_export
from foundry_bench.heads.context_index import context_index
from foundry_bench.points import normalize
from foundry_bench.progress import working_context
from foundry_bench.report.frame import load_results
from foundry_bench.runtimes.bench import write_beside
from foundry_bench.runtimes.registered import check_runtimes
from foundry_bench.stack import Stack
from foundry_bench.students import files
from foundry_bench.students.files import load_student, origin_of, own_teacher, save_student
from foundry_bench.students.hub import pull_student, push_student
from foundry_bench.task import Scores, Task, check_data, evaluated
from foundry_bench.teachers import load_teacher, save_teacher
from foundry_bench.testing.quick import check_made, check_training
from foundry_bench.training.budget import get_budget
from foundry_bench.training.finished import finished_student, train

if TYPE_CHECKING:
    import pandas as pd

    from foundry_bench.method import Method

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

Data = str | Path | PointCloudDataset
"""A registered data set, a folder of cloud files, or a data set in memory."""


def load_plugin(file: Path | str) -> tuple[str, ...]:
    """Put a Python file of methods, tasks, data sets or engines to use, without an installation, and return what it registers.

    Its classes are then known by their names in selectors, here and in the processes of a sweep. A file that was edited is
    read anew when it is loaded again. Raises UserError for a file that is missing, is no Python or registers nothing.
    """
    path = plugin_files.use(check_path(file, "file"))
    return tuple(one.name for one in plugin_files.registered(path))


def make_student(
    method: Method | str, teacher: Encoder, data: PointCloudDataset | None = None, ctx: Context | None = None
) -> Encoder:
    """An untrained student of ``teacher``, from a method or from a selector that names one method.

    ``data`` are clouds for methods that calibrate, by default the embedded unlabelled set. Raises UserError, also for a
    selector that stands for several students and for a student that is no drop-in for its teacher.
    """
    clouds = load_dataset("pretrain") if data is None else data
    student = files.make_student(method, teacher, clouds, ctx)
    check_made(origin_of(student).method, student, teacher, clouds)
    return student


def distill(
    student: Encoder,
    teacher: TokenEncoder,
    data: Data = "pretrain",
    *,
    budget: str = "quick",
    seed: int = 0,
    device: str | torch.device = "cpu",
    data_root: Path | str = ROOT,
) -> Encoder:
    """Train ``student`` in place as its variant says, on the teacher's tokens of the unlabelled ``data``, and return it.

    A stack of methods comes back as a new encoder: its first student is trained and the other methods are then applied.
    ``student.report`` holds the result of training: held-out R2, its curve, steps and seconds. Raises UserError for an
    encoder that no method made, for off-the-shelf students and for an unknown ``budget`` (quick, standard, paper).
    """
    _check_encoders(student=student, teacher=teacher)
    origin = origin_of(student)
    spent = get_budget(budget)
    with working_context(seed, budget, data_root, origin.variant, device) as ctx:
        clouds = _dataset(data, ctx, "data")
        check_made(origin.method, student, teacher, clouds)
        check_training(origin.method, student, teacher, clouds, origin.variant)
        if isinstance(origin.method, Stack):
            student, report = finished_student(origin.method, teacher, clouds, ctx, spent)
        else:
            report = train(student, teacher, clouds, method=origin.method, ctx=ctx, budget=spent)
    if report is None:
        raise UserError(f"{origin.method.name} was made {origin.variant}, which has no training; choose +fmd")
    student.report = report
    return student.cpu().eval()


def evaluate(
    encoder: Encoder,
    task: str | Task = "fewshot",
    dataset: Data | None = None,
    *,
    budget: str = "quick",
    device: str | torch.device = "cpu",
    data_root: Path | str = ROOT,
) -> Scores:
    """Score a teacher or student on one task, such as ``classification[mode=finetune]``; by default on its first data set.

    ``budget`` is for tasks that train a head. Raises UserError for unknown names and for data that lacks what the task needs.
    """
    _check_encoders(encoder=encoder)
    get_budget(budget)
    if isinstance(task, str):
        (protocol, named), *more = selectors.expand_task(task)
        if more:
            raise UserError(f"{task!r} stands for several tasks; give every parameter one value")
        dataset = dataset if named is None else named
    elif isinstance(task, Task):
        protocol = task
    else:
        raise UserError(f"task must be a selector such as 'fewshot', or a Task, got {shown(task)}")
    with working_context(0, budget, data_root, device=device) as ctx:
        data = _dataset(protocol.datasets[0] if dataset is None else dataset, ctx)
        check_data(protocol, data.name, data)
        return evaluated(protocol, encoder, data, ctx)


def profile(
    encoder: Encoder,
    reference: Encoder | None = None,
    dataset: Data = "kicad",
    *,
    device: str | torch.device = "cpu",
    data_root: Path | str = ROOT,
    measure_memory: bool = False,
    runtimes: Sequence[str] = (),
    threads: int = 1,
) -> CostReport:
    """What ``encoder`` costs in comparison with its teacher ``reference``: multiply-adds, parameters, bytes, latency timed
    in turns. Without a reference what is a share of the teacher's is None. ``runtimes`` are those that latency is measured in
    beside PyTorch, such as ``["onnxruntime"]``. Raises UserError."""
    _check_encoders(encoder=encoder, **({} if reference is None else {"reference": reference}))
    if isinstance(runtimes, str):
        raise UserError(f"runtimes must be a list of names, such as ['onnxruntime'], got {shown(runtimes)}")
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise UserError(f"threads must be a whole number from 1 to 1024, got {shown(threads)}")
    found = check_runtimes(runtimes)
    with working_context(data_root=data_root, device=device) as ctx:
        return measure(
            encoder,
            reference,
            _dataset(dataset, ctx),
            ctx,
            measure_memory=measure_memory,
            runtimes=found,
            threads=threads,
        )


def visualize(
    student: Encoder,
    folder: Path | str,
    teacher: Encoder | None = None,
    dataset: Data = "kicad",
    *,
    objects: int = 3,
    device: str | torch.device = "cpu",
    data_root: Path | str = ROOT,
) -> list[Path]:
    """Draw what ``student`` makes of clouds beside its ``teacher``, by default the one that it was made from, and return the
    files: PNG, SVG and CSV of each figure in :mod:`foundry_bench.figures.student`.

    ``objects`` clouds are shown, by R2 from the best to the worst. Raises UserError.
    """
    from foundry_bench.figures.student import visualize as draw

    _check_encoders(student=student, **({} if teacher is None else {"teacher": teacher}))
    place = check_path(folder, "folder")
    check_folder(place, "folder")
    with working_context(data_root=data_root, device=device) as ctx:
        reference = own_teacher(student) if teacher is None else teacher
        return draw(student, reference, _dataset(dataset, ctx), place, ctx, objects=objects)


def export(
    encoder: Encoder,
    folder: Path | str,
    *,
    format: str = "onnx",
    int8: bool = False,
    points_in: bool = False,
    dataset: Data = "kicad",
    data_root: Path | str = ROOT,
) -> Graph:
    """Write a teacher or student into an empty ``folder`` that runs without PyTorch and without this package.

    ``format``: ``onnx`` (ONNX Runtime), ``executorch`` or ``torch``. ``int8`` quantises the graph by it; ``points_in``
    adds a graph that groups the cloud too. The graph is verified in its runtime on eight clouds of ``dataset``; what comes back
    says how close it is. Raises UserError, before work starts for what is not installed, and for an encoder that cannot be
    exported or whose graph gives other tokens.
    """
    _check_encoders(encoder=encoder)
    check_export(folder, format, int8, points_in)
    with working_context(data_root=data_root) as ctx:
        data = _dataset(dataset, ctx)
        graph = write_export(
            encoder, folder, data, form=format, int8=int8, points_in=points_in, progress=ctx.progress
        )
    write_beside(Path(folder))
    return graph


def run_sweep(
    out: Path | str,
    config: Path | str | None = None,
    *,
    retry: bool = False,
    rehearse: bool = True,
    yes: bool = False,
    figures: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Run the missing cells of a sweep in the folder ``out``, write its reports and return the leaderboard.

    ``config`` is a YAML file or the name of one that comes with the package (``embedded``, ``paper``); ``options`` are the
    keys of a sweep and take precedence over it: ``methods="teacher,foundry[supertokens=4]"``, ``tasks="fewshot"``,
    ``budget="quick"``. ``retry`` runs failed cells again; ``rehearse`` first tries every method and task on a few small
    clouds; ``yes`` plans more than 20,000 cells, for which a UserError is raised otherwise; ``figures`` are rows whose
    students are drawn for the page, such as ``"front"`` or ``"tome,foundry[supertokens=4]"``. Paths and devices may be given as
    such.
    """
    from foundry_bench.display import SweepDisplay
    from foundry_bench.report.chosen import check_rows
    from foundry_bench.report.live import LiveBoard
    from foundry_bench.report.writer import Drawn, write_reports
    from foundry_bench.sweep import runner
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.count import MOST
    from foundry_bench.trackers import Trackers, select

    folder = check_path(out, "out")
    file = None if config is None else check_path(config, "config")
    plain = {k: str(v) if isinstance(v, Path | torch.device) else v for k, v in options.items()}
    settings = SweepConfig.about_to_run(file, plain)
    if figures is not None:
        check_rows(figures)
    with SweepDisplay() as display, Trackers(select(settings.track), display.warn) as trackers:
        runner.run_sweep(
            settings,
            folder,
            display,
            retry=retry,
            rehearse=rehearse,
            listeners=(LiveBoard(), trackers),
            most=None if yes else MOST,
        )
        board = write_reports(folder, Drawn(rows=figures), tell=display.note, warn=display.warn)
        trackers.close(board)
    return board


def _check_encoders(**given: object) -> None:
    """Raise UserError for one that is no encoder, such as its name."""
    for name, value in given.items():
        if not isinstance(value, Encoder):
            raise UserError(
                f"{name} must be a teacher or a student, as load_teacher and load_student give them, got {shown(value)}"
            )


def _dataset(data: Data, ctx: Context, what: str = "dataset") -> PointCloudDataset:
    if isinstance(data, PointCloudDataset):
        return check_whole(data, what)
    if not isinstance(data, str | Path):
        raise UserError(
            f"{what} must be the name of a data set, a folder or a PointCloudDataset, got {shown(data)}"
        )
    return load_dataset(str(data), ctx.data_root, ctx.progress)
