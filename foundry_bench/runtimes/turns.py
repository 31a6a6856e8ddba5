"""Timing in turns: a student, its teacher, and a second copy of the teacher as the control, run after run.

Milliseconds depend on the machine and on what else it does. The ratio of two runs that follow each other depends much
less on both. Who runs first, second and third goes through all orders, so that what one run leaves in the caches
favours nobody. The control says what the ratio is worth: the teacher against itself takes 1.0 of its own time, and
where it does not, the machine was busy with something else. Such a measurement is made again, and marked as noisy where
it stays off.

Nothing but numpy is imported here: exported folders are timed by the same code on machines without PyTorch.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

WARM_UP, MIN_TURNS, ATTEMPTS = 2, 20, 3
OFF = 0.1
"""How far the control may be from 1, and how unsure a ratio may be, before a measurement is made again."""
CPU = "/sys/devices/system/cpu/cpu{}/cpufreq/{}"

Run = Callable[[int], object]
"""Runs one contender on its input of this number."""


class Clock(NamedTuple):
    """Seconds on the wall, and seconds that all threads of this process have computed."""

    wall: Callable[[], float]
    cpu: Callable[[], float]


CLOCK = Clock(time.perf_counter, time.process_time)


@dataclass(frozen=True)
class Timing:
    """One contender: percentiles of its runs on the wall, and its median CPU time, in milliseconds."""

    p50: float
    p90: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Ratio:
    """Median and interquartile range of the quotient of two contenders' wall times in the same turn; median of that of
    their CPU times, None where the system's clock is too coarse to see a run."""

    median: float
    iqr: float
    cpu: float | None

    def unsure(self, turns: int) -> float:
        """About how far the median may be from what many more turns would give, as a share of it."""
        return self.iqr / self.median / math.sqrt(turns)


@dataclass(frozen=True)
class Turns:
    """What a measurement in turns found. ``teacher`` and ``ratio``, student / teacher, are None where no teacher ran.

    ``control``: a second copy of the teacher, or of the student where no teacher ran, against the first. ``attempts``:
    how often it was measured; the one that was least disturbed is told. ``noisy``: even there the control is off by more
    than 10 %, or a ratio is not known to 10 %, so few and so different are the turns.
    """

    student: Timing
    teacher: Timing | None
    ratio: Ratio | None
    control: Ratio
    turns: int
    attempts: int

    @property
    def disturbance(self) -> float:
        """How far the control is from 1, or how unsure a ratio is, whichever is most."""
        unsure = [ratio.unsure(self.turns) for ratio in (self.control, self.ratio) if ratio is not None]
        return max(abs(self.control.median - 1), *unsure)

    @property
    def noisy(self) -> bool:
        """Whether the machine was too busy for the figures to mean much."""
        return self.disturbance > OFF


def in_turns(
    student: Run,
    teacher: Run | None,
    control: Run,
    *,
    seconds: float,
    finish: Callable[[], None] = lambda: None,
    attempts: int = ATTEMPTS,
    clock: Clock = CLOCK,
) -> Turns:
    """Time the contenders in turns for about ``seconds``, at most ``attempts`` times.

    ``finish`` waits for work that a run has only started, as on a GPU.
    """
    runs = [student, control] if teacher is None else [student, teacher, control]
    found: list[Turns] = []
    while not found or (found[-1].noisy and len(found) < attempts):
        found.append(_told(_times(runs, seconds, finish, clock), teacher is not None))
    return replace(min(found, key=lambda turns: turns.disturbance), attempts=len(found))


def _times(runs: Sequence[Run], seconds: float, finish: Callable[[], None], clock: Clock) -> np.ndarray:
    """Wall and CPU seconds (turns, contenders, 2), after a warm-up."""
    for number in range(WARM_UP):
        for run in runs:
            run(number)
    orders = list(itertools.permutations(range(len(runs))))
    times: list[list[tuple[float, float]]] = []
    start = clock.wall()
    while len(times) < MIN_TURNS or clock.wall() - start < seconds:
        number = len(times)
        turn = [(0.0, 0.0)] * len(runs)
        for place in orders[number % len(orders)]:
            finish()
            cpu, wall = clock.cpu(), clock.wall()
            runs[place](number)
            finish()
            turn[place] = (clock.wall() - wall, clock.cpu() - cpu)
        times.append(turn)
    return np.array(times)


def _told(times: np.ndarray, with_teacher: bool) -> Turns:
    """``times`` (turns, contenders, 2), of student, teacher where there is one, and control."""
    base = 1 if with_teacher else 0
    return Turns(
        student=_timing(times[:, 0]),
        teacher=_timing(times[:, 1]) if with_teacher else None,
        ratio=_ratio(times[:, 0], times[:, 1]) if with_teacher else None,
        control=_ratio(times[:, -1], times[:, base]),
        turns=len(times),
        attempts=1,
    )


def _timing(times: np.ndarray) -> Timing:
    p50, p90, p99 = (float(value) for value in np.percentile(times[:, 0], [50, 90, 99]) * 1e3)
    return Timing(p50, p90, p99, float(np.median(times[:, 1])) * 1e3)


def _ratio(times: np.ndarray, others: np.ndarray) -> Ratio:
    """The quotient of two contenders' ``times`` (turns, 2), turn by turn."""
    low, middle, high = np.percentile(times[:, 0] / others[:, 0], [25, 50, 75])
    seen = bool((others[:, 1] > 0).all())
    cpu = float(np.median(times[:, 1] / others[:, 1])) if seen else None
    return Ratio(float(middle), float(high - low), cpu)


@dataclass(frozen=True)
class Machine:
    """What a time depends on beside the program: ``affinity``, the processors that this process may use; the
    ``governor`` of the first and its clock in MHz. None where the system does not say."""

    affinity: list[int] | None
    governor: str | None
    clock_mhz: float | None


def machine() -> Machine:
    """The state of this machine now."""
    if hasattr(os, "sched_getaffinity"):
        affinity = sorted(os.sched_getaffinity(0))
    else:
        return Machine(None, None, None)
    clock = _read(CPU.format(affinity[0], "scaling_cur_freq"))
    return Machine(
        affinity,
        _read(CPU.format(affinity[0], "scaling_governor")),
        float(clock) / 1e3 if clock and clock.isdigit() else None,
    )


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read(100).strip() or None
    except (OSError, UnicodeDecodeError):
        return None
