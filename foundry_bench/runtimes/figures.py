"""The figures of a latency, flat, as reports and records hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foundry_bench.runtimes.turns import Ratio, Timing, Turns


@dataclass(frozen=True)
class LatencyFigures:
    """Milliseconds and ratios of a student timed in turns with its teacher; those of ``latency_total_*`` hold the
    grouping of the cloud too.

    ``_ms``, ``_p90_ms``, ``_p99_ms``: median, 90th and 99th percentile on the wall, of the student, and as ``_teacher_ms``
    of the teacher. ``_cpu_ms``: median CPU time. ``_ratio``, ``_ratio_iqr``: median and interquartile range of student /
    teacher, turn by turn; ``_cpu_ratio``: the median for CPU times. ``_control_*``: a second copy of the teacher against
    the teacher. ``attempts``: how often it was measured until the control was within 10 % and the ratio known to 10 %,
    ``noisy`` where that never was so; with or without grouping. ``pairs``: turns of the attempt that counts.
    ``cpu_s_per_cloud``: CPU seconds of the student with grouping. What needs a teacher is None without one.
    """

    latency_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_cpu_ms: float
    latency_teacher_ms: float | None
    latency_teacher_p90_ms: float | None
    latency_teacher_p99_ms: float | None
    latency_teacher_cpu_ms: float | None
    latency_ratio: float | None
    latency_ratio_iqr: float | None
    latency_cpu_ratio: float | None
    latency_control_ratio: float
    latency_control_iqr: float
    latency_control_cpu_ratio: float | None
    latency_total_ms: float
    latency_total_p90_ms: float
    latency_total_p99_ms: float
    latency_total_cpu_ms: float
    latency_total_teacher_ms: float | None
    latency_total_teacher_p90_ms: float | None
    latency_total_teacher_p99_ms: float | None
    latency_total_teacher_cpu_ms: float | None
    latency_total_ratio: float | None
    latency_total_ratio_iqr: float | None
    latency_total_cpu_ratio: float | None
    latency_total_control_ratio: float
    latency_total_control_iqr: float
    latency_total_control_cpu_ratio: float | None
    cpu_s_per_cloud: float
    noisy: bool
    attempts: int
    pairs: int


def figures(encode: Turns, total: Turns, batch: int = 1) -> LatencyFigures:
    """The figures of one measurement without grouping and one with it, of ``batch`` clouds at a time."""
    return LatencyFigures(
        **_named("latency", encode),
        **_named("latency_total", total),
        cpu_s_per_cloud=total.student.cpu / 1e3 / batch,
        noisy=encode.noisy or total.noisy,
        attempts=max(encode.attempts, total.attempts),
        pairs=encode.turns,
    )


def _named(start: str, turns: Turns) -> dict[str, Any]:
    return {
        **_percentiles(start, turns.student),
        **_percentiles(f"{start}_teacher", turns.teacher),
        **_quotient(start, turns.ratio),
        f"{start}_control_ratio": turns.control.median,
        f"{start}_control_iqr": turns.control.iqr,
        f"{start}_control_cpu_ratio": turns.control.cpu,
    }


def _percentiles(start: str, timing: Timing | None) -> dict[str, float | None]:
    return {
        f"{start}_ms": None if timing is None else timing.p50,
        f"{start}_p90_ms": None if timing is None else timing.p90,
        f"{start}_p99_ms": None if timing is None else timing.p99,
        f"{start}_cpu_ms": None if timing is None else timing.cpu,
    }


def _quotient(start: str, ratio: Ratio | None) -> dict[str, float | None]:
    return {
        f"{start}_ratio": None if ratio is None else ratio.median,
        f"{start}_ratio_iqr": None if ratio is None else ratio.iqr,
        f"{start}_cpu_ratio": None if ratio is None else ratio.cpu,
    }
