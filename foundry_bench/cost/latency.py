"""Latency of a student, timed in turns with its teacher on the same machine; the ratio of the two is reported.

Milliseconds depend on the machine and on what else it does. The ratio of two runs that follow each other
depends much less on both. In every other pair the student goes first, so that what the first run leaves in
the caches favours neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from foundry_bench.encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

WARM_UP_PAIRS, MIN_PAIRS = 2, 5


@dataclass(frozen=True)
class PairedTiming:
    """Medians in milliseconds, and median and interquartile range of the pairwise student/teacher ratio."""

    student_ms: float
    teacher_ms: float
    ratio: float
    ratio_iqr: float
    pairs: int


@dataclass(frozen=True)
class Latency:
    """``encode`` times ``encoder(patches)``; ``total`` also groups the cloud, which all methods share.

    ``batch`` clouds at a time, in ``dtype``, with ``threads`` torch threads.
    """

    encode: PairedTiming
    total: PairedTiming
    batch: int
    dtype: str
    threads: int


def measure_latency(
    student: Encoder,
    teacher: Encoder,
    clouds: Tensor,
    *,
    batch: int = 1,
    seconds: float = 3.0,
    threads: int = 1,
) -> Latency:
    """Time student and teacher in turns on ``clouds`` (N, P, 3), for about ``seconds`` altogether.

    Both run where ``clouds`` are, in eval mode and inference mode; a batch walks through the clouds, since
    some students do less work on some clouds. One thread is the default: at batch 1 the operators are small,
    more threads mostly wait for each other, and on a busy machine one would measure only this wait. Raises
    ValueError if there is no whole batch.
    """
    if len(clouds) < batch:
        raise ValueError(f"{len(clouds)} clouds do not fill a batch of {batch}")
    batches = list(clouds[: len(clouds) // batch * batch].split(batch))
    with _evaluating(student, teacher, threads=threads), torch.inference_mode():
        patches = [(student.tokenize(b), teacher.tokenize(b)) for b in batches[:16]]
        encode = _pairs(
            lambda i: student(patches[i % len(patches)][0]),
            lambda i: teacher(patches[i % len(patches)][1]),
            clouds.device,
            seconds / 2,
        )
        total = _pairs(
            lambda i: student(student.tokenize(batches[i % len(batches)])),
            lambda i: teacher(teacher.tokenize(batches[i % len(batches)])),
            clouds.device,
            seconds / 2,
        )
    dtype = str(clouds.dtype).removeprefix("torch.")
    return Latency(encode, total, batch, dtype, threads)


@contextmanager
def _evaluating(*encoders: Encoder, threads: int) -> Iterator[None]:
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


def _pairs(
    student: Callable[[int], object], teacher: Callable[[int], object], device: torch.device, seconds: float
) -> PairedTiming:
    """Run pairs until the time is used up; never fewer than ``MIN_PAIRS`` after the warm-up."""
    for i in range(WARM_UP_PAIRS):
        student(i), teacher(i)
    times: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(times) < MIN_PAIRS or time.perf_counter() - start < seconds:
        i = len(times)
        if i % 2:
            second, first = _timed(teacher, i, device), _timed(student, i, device)
        else:
            first, second = _timed(student, i, device), _timed(teacher, i, device)
        times.append((first, second))
    milliseconds = np.array(times) * 1e3
    ratios = milliseconds[:, 0] / milliseconds[:, 1]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    medians = np.median(milliseconds, axis=0)
    return PairedTiming(float(medians[0]), float(medians[1]), float(middle), float(high - low), len(times))


def _timed(run: Callable[[int], object], index: int, device: torch.device) -> float:
    """Seconds of one run, with everything on the device finished before and after."""
    _finish(device)
    start = time.perf_counter()
    run(index)
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
