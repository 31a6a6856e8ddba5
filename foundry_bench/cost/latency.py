"""Latency of a student, timed in turns with its teacher on the same machine; the ratio of the two is reported.

How the turns go and what the control is, see :mod:`foundry_bench.runtimes.turns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from foundry_bench.encoder import Encoder
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.runtimes.eager import Eager
from foundry_bench.runtimes.kept import prepare
from foundry_bench.runtimes.turns import CLOCK, Clock, Turns, in_turns

if TYPE_CHECKING:
    from torch import Tensor

    from foundry_bench.points.patches import Patches

PREPARED = 16
"""Batches whose patches are made beforehand."""


@dataclass(frozen=True)
class Latency:
    """``encode`` times the encoder on patches; ``total`` also groups the cloud, in PyTorch whatever the runtime.

    ``batch`` clouds at a time, in ``dtype``, with ``threads`` threads. ``r2``: the share of the variance of the
    student's own tokens that those of the runtime explain, and ``difference`` the largest between them; 1 and 0 in
    PyTorch itself.
    """

    encode: Turns
    total: Turns
    batch: int
    dtype: str
    threads: int
    r2: float
    difference: float


def measure_latency(
    student: Encoder,
    teacher: Encoder | None,
    clouds: Tensor,
    *,
    runtime: Runtime | None = None,
    batch: int = 1,
    seconds: float = 3.0,
    threads: int = 1,
    cache: Path | None = None,
    clock: Clock = CLOCK,
) -> Latency:
    """Time student and teacher in turns on ``clouds`` (N, P, 3), for about ``seconds`` altogether where the machine is quiet.

    Both run where ``clouds`` are, in eval mode and inference mode, in ``runtime``, by default PyTorch as it is written.
    A batch walks through the clouds, since some students do less work on some clouds. One thread is the default: at
    batch 1 the operators are small, more threads mostly wait for each other, and on a busy machine one would measure
    only this wait. ``cache``, a folder, keeps what a runtime has made of a teacher. Without a ``teacher`` a second copy of the
    student is the control. Raises ValueError if there is no whole batch, and UserError for an encoder that the runtime cannot
    run.
    """
    if len(clouds) < batch:
        raise ValueError(f"{len(clouds)} clouds do not fill a batch of {batch}")
    base = teacher or student
    batches = list(clouds[: len(clouds) // batch * batch].split(batch))
    with evaluating(student, base, threads=threads), TemporaryDirectory(prefix="foundry-bench-") as scratch:
        with torch.no_grad():
            first, second = ([one.tokenize(b) for b in batches[:PREPARED]] for one in (student, base))
            made = _Preparing(runtime or Eager(), Path(scratch), threads)
            forward = made(student, first[0])
            beside = forward if teacher is None else made(base, second[0], None if runtime is None else cache)
            copy = made.again(base, second[0])

        def turns(ours: Callable[[int], Patches], theirs: Callable[[int], Patches]) -> Turns:
            return in_turns(
                lambda i: forward(ours(i)),
                None if teacher is None else lambda i: beside(theirs(i)),
                lambda i: copy(theirs(i)),
                seconds=seconds / 2,
                finish=_finish(clouds.device),
                clock=clock,
            )

        with torch.inference_mode():
            r2, difference = _agreement(student, forward, first)
            encode = turns(lambda i: first[i % len(first)], lambda i: second[i % len(second)])
            total = turns(
                lambda i: student.tokenize(batches[i % len(batches)]),
                lambda i: base.tokenize(batches[i % len(batches)]),
            )
    dtype = str(clouds.dtype).removeprefix("torch.")
    return Latency(encode, total, batch, dtype, threads, r2, difference)


class _Preparing:
    """Prepares encoders in one runtime, each with a folder of its own."""

    def __init__(self, runtime: Runtime, scratch: Path, threads: int) -> None:
        self.runtime, self.scratch, self.threads = runtime, scratch, threads
        self.folder = scratch

    def __call__(self, encoder: Encoder, example: Patches, cache: Path | None = None) -> Forward:
        self.folder = self.scratch / str(len(list(self.scratch.iterdir())))
        self.folder.mkdir()
        return prepare(self.runtime, encoder, example, self.folder, self.threads, cache)

    def again(self, encoder: Encoder, example: Patches) -> Forward:
        """A copy of the one that was prepared last."""
        return self.runtime.again(encoder, example, self.folder, self.threads)


def _agreement(student: Encoder, forward: Forward, patches: list[Patches]) -> tuple[float, float]:
    """R2 of the runtime's tokens of all ``patches`` and their largest difference from the student's own."""
    own = torch.cat([student(one).features for one in patches]).cpu()
    found = torch.cat([forward(one) for one in patches]).cpu()
    rest, spread = (own - found).square().sum(), (own - own.mean((0, 1))).square().sum()
    return float(1 - rest / spread) if spread > 0 else float(rest == 0), float((own - found).abs().max())


@contextmanager
def evaluating(*encoders: Encoder, threads: int) -> Iterator[None]:
    """Inside, the encoders are in eval mode and torch has so many ``threads``; afterwards all is as it was."""
    before = torch.get_num_threads()
    modes = [(encoder, encoder.training) for encoder in encoders]
    try:
        for encoder in encoders:
            encoder.eval()
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
        for encoder, training in modes:
            encoder.train(training)


def _finish(device: torch.device) -> Callable[[], None]:
    """What waits until everything on the device is finished."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
