"""What a search is asked for, and how it divides its time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from foundry_bench.errors import UserError
from foundry_bench.sweep.config import NONE, SweepConfig
from foundry_bench.sweep.halving import parts_of_budget
from foundry_bench.sweep.schedule import cores
from foundry_bench.training.budget import get_budget

RUNGS = parts_of_budget(2)
SHARE = 1 / 3
"""Of the time that is left when a rung begins, what it may take."""
END = 0.9
"""Share of the time by which no more students are put to tasks; the rest is for the confirmation."""
LEAST = 3
"""So many go on from a rung at least, if there are."""
MOST = 150
"""Candidates of the first rung at most."""
SECONDS, STEP = 12.0, 0.25
"""Of a student without training that is made and measured, and of a step, on one core."""
COSTS = {"macs": "gmacs_ratio", "latency": "latency_ms", "mb": "disk_mb"}
"""Limits and what they limit in a record."""


@dataclass(frozen=True)
class Search:
    """What is asked for. ``sweep``: the settings of the last sweeps, with tasks on whole data sets. ``methods``: selectors to
    choose from, all where there are none. ``limits``: by the names of ``COSTS``; the first limit's cost is what is to be least,
    multiply-adds where there is none. ``hours``: of all runs together. ``seed``: of the draw."""

    sweep: SweepConfig
    keep: float
    worst: float
    hours: float
    methods: tuple[str, ...] = ()
    limits: tuple[tuple[str, float], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UserError for a budget that is a part of one already."""
        whole, cut, _ = get_budget(self.sweep.budget).name.partition("/")
        if cut:
            raise UserError(f"a search takes parts of its budget by itself; write --budget {whole}")

    @property
    def cost(self) -> str:
        """The key of ``COSTS`` that is to be least."""
        return next((name for name, _ in self.limits), "macs")

    @property
    def jobs(self) -> int:
        """Cells at a time."""
        return self.sweep.jobs or min(2, cores())

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return 3600 * self.hours

    def rung(self, number: int, methods: tuple[str, ...]) -> SweepConfig:
        """The sweep of one rung, from 0."""
        budget = f"{self.sweep.budget}/{RUNGS[number]}"
        return replace(self.sweep, methods=methods, tasks=(NONE,), dataset=(), budget=budget, seeds=1)

    def seconds_each(self, number: int) -> float:
        """Expected wall-clock time of a candidate in a rung, half of them trained."""
        steps = get_budget(f"{self.sweep.budget}/{RUNGS[number]}").steps
        return (SECONDS + steps * STEP / 2) / self.jobs

    @property
    def first(self) -> int:
        """Candidates that the first rung has time for."""
        return max(LEAST, min(MOST, int(self.share(0.0) / self.seconds_each(0))))

    @property
    def end(self) -> float:
        """Seconds after which no more students are put to tasks."""
        return END * self.seconds

    def share(self, spent: float) -> float:
        """Seconds after which a rung is over that begins when ``spent`` have passed."""
        return spent + max(self.end - spent, 0.0) * SHARE

    def described(self) -> dict[str, object]:
        """What must stay the same when a search goes on."""
        keys = ("teacher", "tasks", "dataset", "budget", "distill_on", "device", "seeds")
        same = {key: getattr(self.sweep, key) for key in keys}
        own = {"keep": self.keep, "worst": self.worst, "methods": self.methods, "seed": self.seed}
        plain = {**same, **own, "limits": dict(self.limits)}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}
