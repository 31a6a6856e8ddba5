"""A throw-away distribution for tests of the sweep: a tiny teacher and data set, a task, and methods that
misbehave.

``tests/sweep/conftest.py`` copies this file to a temporary folder as ``fake_bench.py`` and registers it.
"""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, Encoder, Tokens
from foundry_bench.method import EXPERT, FMD, OFF_THE_SHELF, Method
from foundry_bench.task import Metric, Scores, Supervision, Task, score_from_outcomes
from foundry_bench.teachers import PointTransformer
from foundry_bench.training.expert import Expert


class Scaled(PointTransformer):
    """The teacher's architecture; ``scale`` is an inference-time parameter."""

    scale = 1.0

    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        tokens = super().encode(embedding, levels)
        return replace(tokens, features=tokens.features * self.scale)


def tiny() -> Path:
    """Folder of a tiny untrained teacher, which the tests write beside this file."""
    return Path(__file__).parent / "tiny"


def load_blobs() -> PointCloudDataset:
    """Forty clouds of 64 points in four classes that differ in their shape."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    stretch = np.array([[1, 1, 1], [1, 0.2, 0.2], [0.3, 1, 1], [0.6, 0.1, 1]])[labels]
    points = rng.normal(size=(40, 64, 3)) * stretch[:, None]
    points = (points / np.linalg.norm(points, axis=2).max(axis=1)[:, None, None]).astype(np.float32)
    names = np.array([f"blob-{index}" for index in range(40)])
    sides = {"seed0": np.array(["train", "test"] * 20)}
    return PointCloudDataset(
        *("blobs", "1", "b" * 64, ("a", "b", "c", "d"), points, labels, names, names),
        *(sides, None, {}, ("c", "d"), "CC0-1.0"),
    )


def load_bare() -> PointCloudDataset:
    """The same clouds without a side to train on."""
    return replace(load_blobs(), name="bare", sha256="c" * 64, splits={})


def copy_of(teacher: Encoder) -> Scaled:
    """A student with the teacher's weights."""
    student = Scaled(teacher.config)
    student.load_state_dict(teacher.state_dict())
    return student.requires_grad_(False)


@dataclass(frozen=True)
class Plain(Method):
    """Copies the teacher; ``scale`` can change without training again."""

    name: ClassVar[str] = "teacher-copy"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    inference: ClassVar[tuple[str, ...]] = ("scale",)
    width: int = 1
    scale: float = 1.0

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return copy_of(teacher)


@dataclass(frozen=True)
class Distilled(Method):
    """Starts from noise and is trained."""

    name: ClassVar[str] = "distilled"
    variants: ClassVar[tuple[str, ...]] = (FMD,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return Scaled(teacher.config)


@dataclass(frozen=True)
class Halving(Method):
    """Halves every first MLP layer of whatever it is put on."""

    name: ClassVar[str] = "halving"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    stacked_on: ClassVar[tuple[str, ...]] = ("teacher-copy",)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = copy.deepcopy(teacher)
        with torch.no_grad():
            for name, weight in student.named_parameters():
                if name.endswith("fc1.weight"):
                    weight.div_(2)
        return student


@dataclass(frozen=True)
class Trimming(Halving):
    """The same, of a student that can then be trained."""

    name: ClassVar[str] = "trimming"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    stacked_on: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Schooled(Expert):
    """An expert that starts as a copy of the teacher."""

    name: ClassVar[str] = "schooled"
    variants: ClassVar[tuple[str, ...]] = (EXPERT,)
    task: str = "spread"
    dataset: str = "blobs"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return copy_of(teacher).requires_grad_(True)


@dataclass(frozen=True)
class Impostor(Plain):
    """Calls itself an expert and has no task."""

    name: ClassVar[str] = "impostor"
    variants: ClassVar[tuple[str, ...]] = (EXPERT,)


@dataclass(frozen=True)
class Failing(Plain):
    """Raises in ``compress``."""

    name: ClassVar[str] = "failing"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        raise ValueError("this method always fails")


@dataclass(frozen=True)
class Hungry(Plain):
    """Runs out of memory."""

    name: ClassVar[str] = "hungry"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        raise MemoryError("asked for too much")


@dataclass(frozen=True)
class Leaving(Plain):
    """Ends the process as if it owned it."""

    name: ClassVar[str] = "leaving"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        raise SystemExit(7)


@dataclass(frozen=True)
class Sleeping(Plain):
    """Never comes back in time."""

    name: ClassVar[str] = "sleeping"
    seconds: float = 600.0

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        time.sleep(self.seconds)
        return copy_of(teacher)


@dataclass(frozen=True)
class Dying(Plain):
    """Kills its own process; only the first time when ``once`` names a file to remember it by."""

    name: ClassVar[str] = "dying"
    once: str = ""

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        if not self.once or not Path(self.once).exists():
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return copy_of(teacher)


@dataclass(frozen=True)
class Skipping(Plain):
    """Does not want to be evaluated."""

    name: ClassVar[str] = "skipping"

    def skip(self, teacher: Encoder, task: str) -> str | None:
        return f"not made for {task}"


@dataclass(frozen=True)
class Lacking(Plain):
    """Cannot be used before the file ``needed`` is there."""

    name: ClassVar[str] = "lacking"
    needed: str = ""

    def lacks(self) -> str | None:
        return None if Path(self.needed).exists() else "lacking needs a file: touch it"


@dataclass(frozen=True)
class Choosy(Distilled):
    """Writes to the file ``note`` what kind of encoder it is asked about."""

    name: ClassVar[str] = "choosy"
    note: str = ""

    def skip(self, teacher: Encoder, task: str) -> str | None:
        with Path(self.note).open("a") as file:
            print(type(teacher).__name__, file=file)
        return None


@dataclass(frozen=True)
class Counting(Plain):
    """Takes its time and writes a line to the file ``note`` whenever it is asked to."""

    name: ClassVar[str] = "counting"
    note: str = ""
    number: int = 0
    seconds: float = 0.3

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        with Path(self.note).open("a") as file:
            file.write(f"{self.number}\n")
        time.sleep(self.seconds)
        return copy_of(teacher)


@dataclass(frozen=True)
class Littering(Plain):
    """Starts a process that outlives it, notes its number, and never comes back in time."""

    name: ClassVar[str] = "littering"
    note: str = ""

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        process = subprocess.Popen(["sleep", "600"])
        Path(self.note).write_text(str(process.pid))
        time.sleep(600)
        return copy_of(teacher)


@dataclass(frozen=True)
class Straying(Plain):
    """Starts a process in a session of its own and a daemon, notes their numbers, and ends as ``end`` says."""

    name: ClassVar[str] = "straying"
    note: str = ""
    end: str = "return"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        session = subprocess.Popen(["sleep", "600"], start_new_session=True)
        daemon = ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"]
        number = subprocess.run(daemon, capture_output=True, text=True, check=True).stdout
        with Path(self.note).open("a") as file:
            file.write(f"{session.pid} {number}")
        if self.end == "raise":
            raise ValueError("gone")
        if self.end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.end == "leave":
            os._exit(3)
        if self.end == "sleep":
            time.sleep(600)
        return copy_of(teacher)


@dataclass(frozen=True)
class Orphaned(Plain):
    """Kills the fork server that it came from the first time it is run, notes itself in the file ``once``, and goes on."""

    name: ClassVar[str] = "orphaned"
    once: str = ""

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        if not Path(self.once).exists():
            Path(self.once).write_text(str(os.getpid()))
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        return copy_of(teacher)


@dataclass(frozen=True)
class Greedy(Plain):
    """Asks for 8 GB."""

    name: ClassVar[str] = "greedy"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        torch.ones(2 * 10**9)
        return copy_of(teacher)


@dataclass(frozen=True)
class Lucky(Plain):
    """Draws from the global generators, as plugins do that think of nothing."""

    name: ClassVar[str] = "lucky"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = copy_of(teacher)
        with torch.no_grad():
            student.norm.weight.add_(torch.rand(()) + np.random.rand() + random.random())
        return student


@dataclass(frozen=True)
class Spread(Task):
    """A cheap task: how far the features of each cloud spread, squeezed into [0, 1]."""

    name: ClassVar[str] = "spread"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("spread", primary=True),)
    datasets: ClassVar[tuple[str, ...]] = ("blobs",)
    clouds: int = 20
    strict: bool = False

    def supervision(self, data: PointCloudDataset) -> Supervision | None:
        rows = np.flatnonzero(data.splits["seed0"] == "train") if data.splits else np.arange(0)
        return Supervision(rows, data.labels[rows])

    def scored(self, data: PointCloudDataset) -> np.ndarray | None:
        return np.arange(self.clouds) if self.strict else None

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        with torch.no_grad():
            tokens = encoder(encoder.tokenize(torch.from_numpy(data.points[: self.clouds]))).features
        outcomes = torch.tanh(tokens.std(dim=1).mean(dim=-1)).numpy().astype(float)
        return Scores((score_from_outcomes(self.metrics[0], outcomes),), {"spread": outcomes})


@dataclass(frozen=True)
class Picky(Spread):
    """Likes no data set."""

    name: ClassVar[str] = "picky"

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        raise ValueError("no labels at all")
