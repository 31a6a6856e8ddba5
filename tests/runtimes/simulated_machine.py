"""A machine whose clock only goes on when somebody works, so that measurements of time can be tested without any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

from foundry_bench.runtimes.turns import Clock


class Machine:
    """``load`` are factors by which the wall goes on longer than work takes, one a piece of work, again and again."""

    def __init__(self, load: tuple[float, ...] = (1.0,)) -> None:
        self.wall = self.cpu = 0.0
        self.load: Iterator[float] = cycle(load)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.cpu)

    def work(self, seconds: float) -> None:
        self.wall += seconds * next(self.load)
        self.cpu += seconds

    def taking(self, seconds: float) -> Callable[[int], object]:
        """A contender that takes so long."""
        return lambda number: self.work(seconds)
