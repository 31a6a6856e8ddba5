"""The Encoder contract: a cloud is cut into patches, patches go in, one latent row per patch comes out.

Teachers and students share this contract. A student can therefore replace its teacher, and a task cannot tell which of the
two it was given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from foundry_bench.points.patches import Patches


@dataclass(frozen=True)
class Embedding:
    """What a tokenizer hands to the blocks: ``tokens`` (B, T, D) without position, ``centers`` (B, T, 3)."""

    tokens: Tensor
    centers: Tensor


@dataclass(frozen=True)
class Tokens:
    """Latent rows in the teacher's space, one per *original* patch.

    ``features`` (B, T, D) is the last hidden state after the final norm. ``levels`` holds three tensors of the same
    shape, at about 1/3, 2/3 and the last block, when they were asked for. ``penalty`` is the student's own regulariser
    for this forward pass (a scalar) or None. ``aux`` holds what a figure needs (assignment, gate, tokens kept).
    """

    features: Tensor
    levels: tuple[Tensor, ...] = ()
    penalty: Tensor | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a point transformer, such as those of ViT-S/64x32 or of the shipped small teacher.

    ``prefix`` is the number of rows that run in front of the patches and belong to no patch (a CLS token).
    """

    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    groups: int = 64
    group_size: int = 32
    points: int = 1024
    tokenizer_widths: tuple[int, ...] = (128, 256, 512)
    prefix: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> EncoderConfig:
        """Build from a JSON object; unknown keys are ignored so that newer files stay readable."""
        known = {f.name for f in fields(cls)}
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**kept)  # type: ignore[arg-type]

    @property
    def level_blocks(self) -> tuple[int, int, int]:
        """Zero-based blocks whose output dense heads read: 3, 7 and 11 of 12, as Point-JEPA's part head does."""
        return (max(round(self.depth / 3) - 1, 0), max(round(2 * self.depth / 3) - 1, 0), self.depth - 1)


@dataclass(frozen=True)
class Origin:
    """Where a student comes from: the :class:`~foundry_bench.method.Method` and variant that made it, the sizes of its
    teacher, and, where the teacher was read from a file, its name and hash. Kept on the student as ``student.origin`` and
    written beside its weights."""

    method: Any
    variant: str
    config: EncoderConfig
    teacher: str | None = None
    teacher_sha256: str | None = None


@dataclass(frozen=True)
class Band:
    """Fidelity on the principal components ``first`` to ``last``, from 1, of the teacher's held-out tokens, which hold a
    ``share`` of their variance. ``r2_linear`` and ``r2_within`` as in :class:`Fidelity`."""

    first: int
    last: int
    share: float
    r2_linear: float | None
    r2_within: float | None


@dataclass(frozen=True)
class Fidelity:
    """How well a student's tokens are its teacher's on held-out clouds, as shares of the teacher's variance explained.

    ``r2``: of the tokens as they are. ``r2_linear``: after a linear map, found on other objects than it is scored on.
    ``r2_within``: of the tokens' differences from the mean of their cloud. ``bands``: the latter two by principal components.
    What was not measured is None.
    """

    r2: float
    r2_linear: float | None = None
    r2_within: float | None = None
    bands: list[Band] = field(default_factory=list)


@dataclass(frozen=True)
class DistillReport(Fidelity):
    """Fidelity of a student, and what its training took."""

    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0


class Encoder(nn.Module, ABC):
    """Teacher or student. ``config`` gives T (groups) and D (dim)."""

    config: EncoderConfig
    origin: Origin | None = None
    """Where a student comes from; None for encoders that no method made."""
    report: DistillReport | None = None
    """The result of training, for a student that :func:`foundry_bench.distill` trained."""

    def tokenize(self, points: Tensor) -> Patches:
        """Group clouds ``points`` (B, N, 3) around farthest-point centres; the first centre is point 0.

        Raises :class:`~foundry_bench.errors.UserError` for NaN, empty or too small clouds.
        """
        from foundry_bench.points import group

        return group(points, self.config.groups, self.config.group_size)

    @abstractmethod
    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        """Encode; ``levels`` asks for the three tensors that dense heads read."""

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        """Parts whose cost is reported separately: some of ``tokenizer``, ``encoder``, ``decoder``."""
        return {}


class TokenEncoder(Encoder):
    """An encoder made of a tokenizer and something that runs on its tokens.

    Students that keep the teacher's frozen tokenizer derive from it: the distillation trainer then computes their
    tokens once for all methods instead of at every step.
    """

    tokenizer: nn.Module

    def embed(self, patches: Patches) -> Embedding:
        """Tokens (B, T, D) of the patches, before any position is added."""
        return Embedding(self.tokenizer(patches.neighborhoods), patches.centers)

    @abstractmethod
    def encode(self, embedding: Embedding, levels: bool = False) -> Tokens:
        """Run the blocks on embedded tokens."""

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        return self.encode(self.embed(patches), levels)


def pool(features: Tensor) -> Tensor:
    """Mean and max over the patches, (B, T, D) -> (B, 2D): the usual descriptor of an object from a frozen encoder."""
    return torch.cat([features.mean(dim=1), features.amax(dim=1)], dim=-1)
