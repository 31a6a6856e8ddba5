"""Costs of an encoder against the size of a cloud, each in a fresh process whose memory is watched from outside.

The fork server has PyTorch loaded, so a fresh process costs little. Its base is what it holds once the encoder has run on a
cloud of the usual size; the parts' peaks are above that.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from foundry_bench.cost import scaling_child
from foundry_bench.cost.scaling_child import RESET_PEAK, Case
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError

OK, SHORT, LATE, FAILED = "ok", "out of memory", "timeout", "failed"
LOOK_S = 0.002
"""Seconds between two looks at the memory of a process."""
PRELOAD = "foundry_bench.cost.scaling_preload"
"""What the fork server imports, so that no process has to."""


@dataclass(frozen=True)
class ScaleRow:
    """Costs of one student at one size. Memory in 1e6 bytes, times in milliseconds on one thread, medians over ``runs``.

    ``status``: ``ok``, ``out of memory``, ``timeout`` or ``failed``; where it is not ok, ``stage`` is the part of the work that
    ran then and ``reason`` what was said. ``base_mb`` is resident after a run at the usual size, ``peak_mb`` the most ever, and
    the parts' peaks are above the base. ``cloud``: real, or resampled from a real one with jitter. ``knob``: what a merging
    student merges in a block at this number of groups. What was not measured is None.
    """

    student: str
    attention: str
    points: int
    groups: int
    cloud: str
    status: str
    stage: str | None = None
    knob: str | None = None
    base_mb: float | None = None
    peak_mb: float | None = None
    grouping_mb: float | None = None
    tokenizer_mb: float | None = None
    encoder_mb: float | None = None
    decoder_mb: float | None = None
    gmacs: float | None = None
    gmacs_tokenizer: float | None = None
    gmacs_encoder: float | None = None
    gmacs_decoder: float | None = None
    grouping_cpu_ms: float | None = None
    encode_cpu_ms: float | None = None
    grouping_ms: float | None = None
    encode_ms: float | None = None
    runs: int | None = None
    memory_limit_mb: float | None = None
    reason: str | None = None


COLUMNS = tuple(f.name for f in fields(ScaleRow))


@dataclass
class _Told:
    """What a process has told so far: the part that runs, its figures, and how it ended."""

    status: str = FAILED
    stage: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


def measure_scaling(
    students: Sequence[tuple[str, Encoder]],
    cloud: Tensor,
    cases: Sequence[Case],
    *,
    memory: int | None = None,
    timeout: float = 600.0,
    seconds: float = 1.0,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Iterator[ScaleRow]:
    """Measure named ``students`` at every case on ``cloud`` (P, 3), and give each row as it is there.

    ``memory``: most resident bytes of a process, its base included; one that passes them is ended and its row says in which
    part. Multiply-adds are counted once for each number of groups. Raises UserError where peaks cannot be measured by part.
    """
    _require_peaks()
    with tempfile.TemporaryDirectory(prefix="foundry-bench-") as folder:
        for number, (name, student) in enumerate(students):
            parcel = str(Path(folder) / f"{number}.pt")
            torch.save({"encoder": student, "cloud": cloud.cpu()}, parcel)
            counted: dict[int, dict[str, Any]] = {}
            for done, case in enumerate(cases):
                progress(name, done, len(cases))
                if case.groups not in counted:
                    told = _run(scaling_child.count, (parcel, case), None, timeout)
                    counted[case.groups] = told.figures
                told = _run(scaling_child.measure, (parcel, case, seconds), memory, timeout)
                yield _row(name, case, len(cloud), told, counted[case.groups], memory)
            progress(name, len(cases), len(cases))


def _require_peaks() -> None:
    try:
        RESET_PEAK.write_text("5")
    except OSError as error:
        raise UserError(
            "the peak of one part cannot be told from that of another on this system (/proc/self/clear_refs is needed); "
            "use foundry-bench profile, or Linux"
        ) from error


def _run(work: Callable[..., None], given: tuple[Any, ...], memory: int | None, timeout: float) -> _Told:
    """Run ``work`` in a fresh process, end it where it passes ``memory`` bytes or ``timeout`` seconds, and say what it told."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*given, theirs))
    process.start()
    theirs.close()
    told, end = _Told(), time.monotonic() + timeout
    try:
        while _hear(ours, told):
            if memory is not None and _resident(process.pid) > memory and "memory" not in told.figures:
                told.status, told.reason = SHORT, "ended when it passed the limit"
                break
            if time.monotonic() > end:
                told.status, told.reason = LATE, f"ended after {timeout:g} seconds"
                break
    finally:
        process.kill()
        process.join()
        ours.close()
    return told


def _hear(wire: Connection, told: _Told) -> bool:
    """Wait a moment for a message and note it; whether more may come."""
    if not wire.poll(LOOK_S):
        return True
    try:
        kind, content = wire.recv()
    except (EOFError, OSError):
        if told.status == FAILED:  # nothing ends a process without a word but the system, short of memory
            told.status, told.reason = SHORT, "ended by the system"
        return False
    if kind == "stage":
        told.stage = content
    elif kind == "base":
        told.figures["base"] = content
    elif kind == "memory":
        told.figures |= {**content, "memory": True}
    elif kind == "result":
        told.status, told.figures = OK, told.figures | content
        return False
    else:
        told.status, told.reason = (SHORT if kind == "short" else FAILED), content
        return False
    return True


def _resident(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _row(
    name: str, case: Case, real: int, told: _Told, counted: dict[str, Any], memory: int | None
) -> ScaleRow:
    found, status, stage = told.figures, told.status, told.stage
    base, peaks = found.get("base"), found.get("peaks")
    reason = told.reason
    if memory is not None and peaks is not None:  # passed for so short a time that no look fell into it
        over = [part for part, peak in peaks.items() if peak > memory]
        if over:
            status, stage, reason = SHORT, over[0], "its peak passed the limit"
    values: dict[str, Any] = {
        f"{part}_mb": _mb(max(0, peak - base)) for part, peak in (peaks or {}).items() if peak
    }
    values |= {f"gmacs_{part}": counted[part] / 1e9 for part in scaling_child.PARTS if part in counted}
    for part in ("grouping", "encode"):
        for clock, ending in (("cpu", "_cpu_ms"), ("wall", "_ms")):
            seconds = found.get(f"{part}_{clock}")
            values[f"{part}{ending}"] = None if seconds is None or status == SHORT else 1e3 * seconds
    return ScaleRow(
        *(name, case.attention, case.points, case.groups),
        cloud="real" if case.points <= real else "resampled",
        status=status,
        stage=None if status == OK else stage,
        knob=found.get("knob") or None,
        base_mb=_mb(base),
        peak_mb=_mb(max(peaks.values()) if peaks else None),
        gmacs=counted["total"] / 1e9 if "total" in counted else None,
        runs=found.get("runs"),
        memory_limit_mb=_mb(memory),
        reason=reason,
        **values,
    )


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 3)


def as_record(row: ScaleRow) -> dict[str, object]:
    """The row as one flat JSON object."""
    return asdict(row)
