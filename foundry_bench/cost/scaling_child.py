"""What runs in the fresh process of one measurement of :mod:`foundry_bench.cost.scaling`: memory by part, times, or counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from foundry_bench.cost.macs import PARTS, count_macs
from foundry_bench.cost.memory import peak_resident_bytes
from foundry_bench.encoder import Encoder
from foundry_bench.points.patches import Patches
from foundry_bench.students.reduction import MergingStudent
from foundry_bench.students.tokens import set_fused_attention

GROUPING = "grouping"
STAGES = (GROUPING, *PARTS)
PLAIN, FUSED = "plain", "fused"
JITTER = 0.005
"""Standard deviation of what is added to points that are drawn from a cloud with fewer."""
MOST_RUNS = 50
RESET_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Case:
    """One measurement: an encoder on a cloud of ``points`` points in ``groups`` patches, with ``attention`` plain or fused."""

    points: int
    groups: int
    attention: str = FUSED


class Stages:
    """Which part of the work runs and the most resident memory during each; ``tell`` hears of each part as it begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.now, self.peaks = tell, "", dict.fromkeys(STAGES, 0)

    def enter(self, stage: str) -> None:
        """End the part that ran and begin another; an empty one ends the work."""
        if self.now:
            self.peaks[self.now] = max(self.peaks[self.now], peak_resident_bytes())
        RESET_PEAK.write_text("5")
        self.now = stage
        if stage:
            self.tell(stage)


def measure(parcel: str, case: Case, seconds: float, wire: Connection) -> None:
    """Send the names of the parts as they begin, and at last the figures, or why there are none."""
    stages = Stages(lambda stage: wire.send(("stage", stage)))
    try:
        encoder, cloud = load(parcel, case)
        set_fused_attention(encoder, case.attention == FUSED)
        with torch.inference_mode():
            encoder(encoder.tokenize(cloud[:, : encoder.config.points]))
            scaled = scale(encoder, case)
            RESET_PEAK.write_text("5")
            base = peak_resident_bytes()
            wire.send(("base", base))
            patches = _watched(encoder, cloud, stages)
            figures = {"base": base, "peaks": stages.peaks, "knob": scaled}
            wire.send(("memory", figures))
            wire.send(("result", {**figures, **_timed(encoder, cloud, patches, seconds)}))
    except (MemoryError, RuntimeError) as error:
        short = isinstance(error, MemoryError) or "allocate memory" in str(error)
        wire.send(("short" if short else "error", _line(error)))
    except Exception as error:  # the boundary of one measurement, as that of a cell
        wire.send(("error", _line(error)))


def count(parcel: str, case: Case, wire: Connection) -> None:
    """Send the multiply-adds of the case, or why they cannot be counted."""
    try:
        encoder, cloud = load(parcel, case)
        scale(encoder, case)
        wire.send(("result", asdict(count_macs(encoder, encoder.tokenize(cloud)))))
    except Exception as error:  # the boundary of one measurement
        wire.send(("error", _line(error)))


def load(parcel: str, case: Case) -> tuple[Encoder, Tensor]:
    """The encoder of a parcel that the parent wrote, and a cloud (1, points, 3) for the case."""
    torch.set_num_threads(1)
    content = torch.load(parcel, map_location="cpu", weights_only=False)  # written by the parent a moment ago
    return content["encoder"].eval(), cloud_of(content["cloud"], case.points)


def cloud_of(cloud: Tensor, points: int) -> Tensor:
    """The first ``points`` of a real cloud (P, 3), or so many drawn from it with jitter where it has fewer, (1, points, 3)."""
    if points <= len(cloud):
        return cloud[None, :points]
    rng = np.random.default_rng(0)
    drawn = cloud.numpy()[rng.integers(0, len(cloud), points)]
    drawn += JITTER * rng.standard_normal(drawn.shape, dtype=np.float32)
    return torch.from_numpy(drawn)[None]


def scale(encoder: Encoder, case: Case) -> str:
    """Set ``encoder`` to the case's sizes; what a student merges in a block grows with its groups, and is returned as text."""
    ratio = case.groups / encoder.config.groups
    encoder.config = replace(encoder.config, groups=case.groups, points=case.points)
    if not isinstance(encoder, MergingStudent):
        return ""
    value = getattr(encoder, encoder.knob)
    if not isinstance(value, int) or isinstance(value, bool):
        return ""
    setattr(encoder, encoder.knob, round(value * ratio))
    return f"{encoder.knob}={round(value * ratio)}"


def _watched(encoder: Encoder, cloud: Tensor, stages: Stages) -> Patches:
    """One pass, with the peak of every part."""
    stages.enter(GROUPING)
    patches = encoder.tokenize(cloud)
    stages.enter("encoder")
    with _told(encoder, stages):
        encoder(patches)
    stages.enter("")
    return patches


@contextmanager
def _told(encoder: Encoder, stages: Stages) -> Iterator[None]:
    """Inside, the encoder's parts tell when they begin and end."""
    hooks = []
    for part, module in encoder.cost_parts.items():
        if part != "encoder":
            hooks.append(module.register_forward_pre_hook(_entering(stages, part)))
            hooks.append(module.register_forward_hook(_entering(stages, "encoder")))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _entering(stages: Stages, stage: str) -> Callable[..., None]:
    def hook(module: nn.Module, *args: object) -> None:
        stages.enter(stage)

    return hook


def _timed(encoder: Encoder, cloud: Tensor, patches: Patches, seconds: float) -> dict[str, float]:
    """Medians, in seconds, of CPU and wall time of grouping and of the encoder, over ``seconds`` or at least one run."""
    times: dict[str, list[float]] = {}
    began = time.perf_counter()
    runs = 0
    while not runs or (time.perf_counter() - began < seconds and runs < MOST_RUNS):
        for name, work in (
            ("grouping", lambda: encoder.tokenize(cloud)),
            ("encode", lambda: encoder(patches)),
        ):
            wall, processor = time.perf_counter(), time.process_time()
            work()
            times.setdefault(f"{name}_cpu", []).append(time.process_time() - processor)
            times.setdefault(f"{name}_wall", []).append(time.perf_counter() - wall)
        runs += 1
    return {**{name: median(values) for name, values in times.items()}, "runs": runs}


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
