"""The Task contract: takes a frozen encoder and a data set, returns scores with their per-item outcomes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import stats

from foundry_bench.errors import UserError
from foundry_bench.parameters.types import hold
from foundry_bench.registry import broken_rule, guard, returned
from foundry_bench.variants import CLUSTERS, EPISODES, FOLDS

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder

__all__ = [
    "CLUSTERS",
    "EPISODES",
    "FOLDS",
    "Metric",
    "Score",
    "Scores",
    "Supervision",
    "Task",
    "check_data",
    "check_needs",
    "score_from_outcomes",
]


@dataclass(frozen=True)
class Metric:
    """A number a task reports. Only the primary one enters the leaderboard's mean score. Values are in [0, 1]."""

    name: str
    higher_is_better: bool = True
    primary: bool = False


@dataclass(frozen=True)
class Score:
    """One measured metric with its uncertainty over ``n`` units, such as :data:`CLUSTERS`."""

    metric: str
    value: float
    n: int
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str | None
    higher_is_better: bool
    primary: bool
    unit: str = EPISODES


@dataclass(frozen=True)
class Scores:
    """Scores of one evaluation; ``outcomes`` maps a metric to the values of its units (n,), in a fixed order.

    Their mean is the score. Tests between encoders take them for independent. Other keys may hold what a task keeps besides.
    """

    values: tuple[Score, ...]
    outcomes: dict[str, np.ndarray] = field(default_factory=dict)


def score_from_outcomes(metric: Metric, outcomes: np.ndarray, unit: str = EPISODES) -> Score:
    """Mean of independent ``outcomes`` (n,), one per ``unit``, with the 95 % Student-t confidence interval."""
    n = len(outcomes)
    mean = float(np.mean(outcomes)) if n else math.nan
    kind = (metric.higher_is_better, metric.primary, unit)
    if n < 2:
        return Score(metric.name, mean, n, None, None, None, None, *kind)
    with np.errstate(invalid="ignore"):  # outcomes that are not finite are told where the scores are checked
        stderr = float(stats.sem(outcomes))
    half = float(stats.t.ppf(0.975, n - 1)) * stderr
    return Score(
        metric.name, mean, n, stderr, mean - half, mean + half, f"student-t over {unit}, 95 %", *kind
    )


@dataclass(frozen=True)
class Supervision:
    """Objects of a data set that an expert may be trained on for a task: ``rows`` (n,) and ``labels`` from 0 on, one per
    object (n,), or one per point (n, P), where -1 stands for a point without a label.

    The task never scores any of them.
    """

    rows: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Task(ABC):
    """Base of every downstream task; its fields are its protocol."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    metrics: ClassVar[tuple[Metric, ...]]
    datasets: ClassVar[tuple[str, ...]]
    """Data sets evaluated when the user names none."""
    default: ClassVar[bool] = False
    """Whether ``run`` without ``--tasks`` runs it: the default tasks are those in which a teacher stands at least four
    standard errors above a student without context, on development objects. The others are run by name."""
    needs: ClassVar[tuple[str, ...]] = ("labels",)
    """Attributes a data set must have: ``labels``, ``parts``, ``splits``."""

    def __post_init__(self) -> None:
        """Hold the values to the annotations of their fields. Raises WrongValueError."""
        hold(self, self.name)

    @property
    def uses_budget(self) -> bool:
        """Whether ``ctx.budget`` changes the scores, as where a head is trained; only then is it part of a cell's identity."""
        return True

    def rehearsal(self, data: PointCloudDataset) -> tuple[Task, PointCloudDataset]:
        """This task and ``data`` made as small as they can be, for the rehearsal before a sweep; by default neither is changed.

        The scores mean nothing. A rehearsal that takes longer than a minute is stopped, which is no failure.
        """
        return self, data

    def check_data(self, data: PointCloudDataset) -> None:
        """Raise UserError where ``data`` has all that the task ``needs`` and still cannot be scored, for objects that are too
        few, say; its line tells what to add. Called before any work. By default classes must be on both sides of every split
        where the task needs labels and splits alone, and the data set must support a metric and have rows to score."""
        if set(self.needs) == {"labels", "splits"}:
            check_sides(data)
        if not self.metrics_for(data):
            raise UserError(
                f"data set {data.name!r} supports no metric of task {self.name!r}; choose another"
            )
        scored = self.scored(data)
        if scored is not None and len(scored) == 0:
            raise UserError(
                f"data set {data.name!r} has no object that task {self.name!r} scores; choose another"
            )

    @abstractmethod
    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        """Score a frozen encoder. Must be a pure function of its arguments (``ctx.seed`` included)."""

    def supervision(self, data: PointCloudDataset) -> Supervision | None:
        """Labelled objects for experts of this task, or None where every labelled object is scored."""
        return None

    def scored(self, data: PointCloudDataset) -> np.ndarray | None:
        """Rows of ``data`` that are scored, or None where this is not known. An expert trained on any of them is not scored."""
        return None

    def metrics_for(self, data: PointCloudDataset) -> tuple[Metric, ...]:
        """The metrics that this data set supports; all of them unless a task says otherwise."""
        return self.metrics

    def protocol(self) -> dict[str, Any]:
        """The protocol's parameters, JSON-able; part of the cell's identity."""
        return asdict(self)


def evaluated(task: Task, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
    """The scores of a frozen encoder, held to the contract; what a plugin raises names its file.

    Raises StrangerError, also for a task that changes the encoder's weights.
    """
    before = _sums(encoder)
    with guard("tasks", task.name, "failed"):
        found = task.evaluate(encoder, data, ctx)
    if _sums(encoder) != before:
        raise _wrong(task, "changed the encoder that it was given", "work on a copy: copy.deepcopy(encoder)")
    return scores_of(task, found, data)


def _sums(encoder: Encoder) -> list[float]:
    """A number for each of an encoder's weights, which changes with it."""
    return [float(value.cpu().double().sum()) for value in encoder.state_dict().values()]


def scores_of(task: Task, found: Any, data: PointCloudDataset) -> Scores:
    """What :meth:`Task.evaluate` gave back, held to its contract: one finite score in [0, 1] for each metric that ``data``
    supports, and outcomes that fit. Raises StrangerError, which names the task's file, for anything else."""
    if not isinstance(found, Scores):
        raise _wrong(
            task,
            returned(found),
            "return Scores((score_from_outcomes(metric, outcomes),), {metric.name: outcomes})",
        )
    if not isinstance(found.values, tuple) or not all(isinstance(score, Score) for score in found.values):
        odd = (
            next((v for v in found.values if not isinstance(v, Score)), found.values)
            if isinstance(found.values, tuple)
            else found.values
        )
        raise _wrong(
            task,
            f"{returned(odd)} among the values of its Scores",
            "give a tuple of Score, as score_from_outcomes makes them",
        )
    if not isinstance(found.outcomes, dict):
        raise _wrong(
            task,
            f"{returned(found.outcomes)} as outcomes",
            "give a dict from a metric's name to an array (n,)",
        )
    _check_names(task, [score.metric for score in found.values], data)
    for score in found.values:
        _check_score(task, score)
        if score.metric in found.outcomes:
            _check_outcomes(task, score, found.outcomes[score.metric])
    return found


def _wrong(task: Task, found: str, wanted: str) -> UserError:
    return broken_rule(task, "evaluate", found, wanted)


def _check_names(task: Task, names: list[str], data: PointCloudDataset) -> None:
    """Raise StrangerError unless ``names`` are those of the metrics, each once."""
    wanted = [metric.name for metric in task.metrics_for(data)]
    for name in names:
        if names.count(name) > 1:
            raise _wrong(task, f"returned the score {name!r} twice", "give every metric one score")
        if name not in wanted:
            raise _wrong(
                task,
                f"returned a score {name!r}, which is none of its metrics ({', '.join(wanted)})",
                f"add Metric({name!r}) to metrics, or leave it out",
            )
    missing = [name for name in wanted if name not in names]
    if missing:
        fix = "give every metric a score, or override metrics_for(data) where a data set does not support it"
        raise _wrong(task, f"returned no score {missing[0]!r}: it is missing", fix)


def _check_score(task: Task, score: Score) -> None:
    value = score.value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        name = "None" if value is None else f"a {type(value).__name__}"
        raise _wrong(task, f"returned {name} as {score.metric}, which is no number", "write float(...)")
    if not 0 <= value <= 1:  # NaN is not, either
        why = (
            "of empty outcomes there is no mean"
            if score.n == 0
            else "metrics are shares in [0, 1], not percent"
        )
        raise _wrong(task, f"returned {score.metric} = {value:g}, which is not in [0, 1]", f"mend it: {why}")
    if isinstance(score.n, bool) or not isinstance(score.n, (int, np.integer)) or score.n < 1:
        raise _wrong(
            task, f"returned {score.metric} with n = {score.n}", "n is the number of units that were scored"
        )
    for name in ("stderr", "ci_low", "ci_high"):
        bound = getattr(score, name)
        if bound is not None and not (isinstance(bound, (int, float, np.floating)) and math.isfinite(bound)):
            raise _wrong(
                task, f"returned {score.metric} with {name} = {bound}", "give a finite number, or None"
            )


def _check_outcomes(task: Task, score: Score, outcomes: Any) -> None:
    try:
        values = np.asarray(outcomes, dtype=float)
    except (TypeError, ValueError):
        raise _wrong(
            task, f"{returned(outcomes)} as outcomes of {score.metric}", "give an array (n,) of numbers"
        ) from None
    if values.shape != (score.n,):
        raise _wrong(
            task,
            f"returned outcomes of {score.metric} of shape {values.shape} where n = {score.n}",
            f"give one outcome per unit, ({score.n},), whose mean is the score",
        )
    if not np.isfinite(values).all():
        raise _wrong(
            task,
            f"returned outcomes of {score.metric} that are not finite",
            "leave such units out, and say so in n",
        )


def check_sides(data: PointCloudDataset) -> None:
    """Raise UserError for a split that has fewer than two classes to train on, nothing to test, or tests a class of which it
    has nothing to train on."""
    labels = np.asarray(data.labels)
    for name, sides in data.splits.items():
        taught = np.unique(labels[np.isin(sides, ("train", "val")) & (labels >= 0)])
        tested = np.unique(labels[(np.asarray(sides) == "test") & (labels >= 0)])
        where = f"split {name!r} of data set {data.name!r}"
        if len(taught) < 2:
            raise UserError(f"{where} has fewer than two classes to train on: add objects of another class")
        if len(tested) == 0:
            raise UserError(f"{where} has no labelled object to test: move some there")
        if unknown := [data.classes[label] for label in np.setdiff1d(tested, taught)]:
            more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
            raise UserError(
                f"{where} tests {', '.join(unknown[:6])}{more} and has nothing of it to train on: move some of its objects to "
                "the training side, or leave it out"
            )


def check_needs(task: str, needs: tuple[str, ...], data: str, dataset: PointCloudDataset) -> None:
    """Raise UserError when a data set lacks what a task needs; labels of which none names a class are none."""
    values = {need: getattr(dataset, need, None) for need in needs}
    if "labels" in values and not (dataset.labels >= 0).any():
        values["labels"] = None
    missing = [need for need, value in values.items() if value is None or len(value) == 0]
    if missing:
        advice = f": {dataset.advice[missing[0]]}" if missing[0] in dataset.advice else ""
        raise UserError(f"data set {data!r} has no {', '.join(missing)}, which task {task!r} needs{advice}")


def check_data(task: Task, data: str, dataset: PointCloudDataset) -> None:
    """Raise UserError when ``dataset``, which the user calls ``data``, lacks what ``task`` needs or is too small for it."""
    check_needs(task.name, task.needs, data, dataset)
    task.check_data(dataset)
