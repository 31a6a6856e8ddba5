"""The Encoder contract: a cloud is cut into patches, patches go in, one latent row per patch comes out.

Teachers and students share this contract. A student can therefore replace its teacher, and a task cannot tell which of the
two it was given.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from foundry_bench.errors import UserError
from foundry_bench.parameters.types import Bounds, hold
from foundry_bench.points.patches import Patches

Size = Annotated[int, Bounds(at_least=1, at_most=2**16)]
"""A number of channels or heads: what lies above is a slip or a forged file."""
PATCH_POINTS = 2**17
"""Points that all patches of a cloud may have together: 2,048 patches of 64 points, where objects are cut into 64 of 32."""

NOT_NORMALIZED = (
    "clouds reach far out of the unit sphere, as in millimetres, and encoders were trained inside it; "
    "call fb.normalize(points) before tokenize"
)


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

    ``prefix`` is the number of rows that run in front of the patches and belong to no patch (a CLS token). Raises UserError
    for sizes that no encoder has.
    """

    dim: Size = 384
    depth: Annotated[int, Bounds(at_least=1, at_most=1024)] = 12
    heads: Size = 6
    mlp_ratio: Annotated[float, Bounds(above=0, at_most=1024)] = 4.0
    qkv_bias: bool = True
    groups: Annotated[int, Bounds(at_least=1, at_most=2**12)] = 64
    group_size: Annotated[int, Bounds(at_least=1, at_most=2**12)] = 32
    points: Annotated[int, Bounds(at_least=1, at_most=2**20)] = 1024
    tokenizer_widths: Annotated[tuple[int, ...], Bounds(at_least=1, at_most=2**16)] = (128, 256, 512)
    prefix: Annotated[int, Bounds(at_least=0, at_most=2**10)] = 0

    def __post_init__(self) -> None:
        """Hold the sizes to their bounds and to each other."""
        hold(self, "encoder")
        if self.dim % self.heads:
            raise UserError(
                f"{self.heads} heads do not divide {self.dim} channels; give a number of heads that does"
            )
        if int(self.dim * self.mlp_ratio) < 1:
            raise UserError(
                f"an mlp_ratio of {self.mlp_ratio} leaves no MLP at {self.dim} channels; raise it"
            )
        if self.groups * self.group_size > PATCH_POINTS:
            raise UserError(
                f"{self.groups} groups of {self.group_size} points are more than {PATCH_POINTS:,}; lower one of the two"
            )
        if len(self.tokenizer_widths) not in (3, 4):
            raise UserError(
                f"a tokenizer has 3 widths, or 4 with a reduction, not {len(self.tokenizer_widths)}; mend tokenizer_widths"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> EncoderConfig:
        """Build from a JSON object; unknown keys are ignored so that newer files stay readable. Raises UserError."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})  # type: ignore[arg-type]

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
    runtime: str = "eager"
    """Name of the runtime that runs it: ``eager`` is PyTorch as it is written."""
    report: DistillReport | None = None
    """The result of training, for a student that :func:`foundry_bench.distill` trained."""

    def tokenize(self, points: Tensor) -> Patches:
        """Group clouds ``points`` (B, N, 3) around farthest-point centres; the first centre is point 0.

        Raises :class:`~foundry_bench.errors.UserError` for NaN, empty or too small clouds. Warns, once for a line that calls
        it, of clouds in another unit than the unit sphere's, such as millimetres.
        """
        from foundry_bench.points import group
        from foundry_bench.points.transforms import outside_unit_sphere

        if outside_unit_sphere(points):
            warnings.warn(NOT_NORMALIZED, stacklevel=2)
        return group(points, self.config.groups, self.config.group_size)

    @abstractmethod
    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        """Encode; ``levels`` asks for the three tensors that dense heads read."""

    @property
    def in_torch(self) -> Encoder | None:
        """What PyTorch knows of it, where costs are counted and exports start: itself, or, for one that another runtime runs,
        the encoder that it was made from; None where that is not here."""
        return self

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
