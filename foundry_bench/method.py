"""The Method contract: a way to make a student from a teacher.

A method is a frozen dataclass whose fields *are* its parameters. The smallest one overrides ``compress`` only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from foundry_bench.encoder import Encoder, EncoderConfig, TokenEncoder, Tokens
from foundry_bench.parameters.types import hold
from foundry_bench.points.patches import Patches
from foundry_bench.registry import broken_rule, returned
from foundry_bench.variants import EXPERT, FMD, OFF_THE_SHELF, VARIANTS, Family, Paper

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset

__all__ = ["EXPERT", "FMD", "OFF_THE_SHELF", "VARIANTS", "Method"]


@dataclass(frozen=True)
class Method(ABC):
    """Base of every compression method.

    ``grid`` maps a parameter to the values that ``--grid full`` sweeps; parameters without an entry keep their
    default. Otherwise the bare name stands for the rows ``matched``, or for its grid where there are none.
    ``inference`` names the parameters that need no new training when they change: the harness trains with
    their default and then calls :meth:`configure`.
    """

    name: ClassVar[str]
    family: ClassVar[Family | None] = None
    """What kind of compression it is, and its colour in figures; None, grey there, for a method that does not say."""
    paper: ClassVar[Paper | None] = None
    """Where the idea is published, or None."""
    abstract: ClassVar[str] = ""
    """What it does in a line of at most 100 characters, without a full stop: its row in ``foundry-bench list methods``."""
    version: ClassVar[str] = "1"
    """Changes with what a student of the same parameters computes: a saved student of another version is refused."""
    variants: ClassVar[tuple[str, ...]] = (FMD,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {}
    also: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Parameters of further rows of the full grid, one each, beside those of ``grid``."""
    matched: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Parameters of the one or two rows that the bare name stands for by default, at what the others cost: about 0.38 of the
    shipped teacher's multiply-adds, where ``foundry`` has 16 SuperTokens."""
    inference: ClassVar[tuple[str, ...]] = ()
    stacked_on: ClassVar[tuple[str, ...]] = ()
    """Methods whose trained students ``--methods all`` also puts this one on, as ``foundry+int8``; or a whole selector, such as
    ``kd[depth=2]+lowrank[keep=0.38]+fmd``."""
    last: ClassVar[bool] = False
    """Whether its student cannot be changed any more, as a graph that another runtime runs: no method stands behind it."""

    def __post_init__(self) -> None:
        """Hold the values to the annotations of their fields. Raises WrongValueError."""
        hold(self, self.name)

    @abstractmethod
    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        """Return the student *before* training. The teacher's weights must stay untouched.

        ``data`` is unlabelled (calibration). The harness distils the student afterwards if the variant, ``ctx.variant``,
        says so. In a stack ``teacher`` is the student of the method before.
        """

    def configure(self, student: Encoder) -> None:
        """Set the inference-time parameters on a trained student; by default an attribute of the same name each."""
        for name in self.inference:
            setattr(student, name, getattr(self, name))

    def loss(self, student: Encoder, inputs: Any, target: Tokens) -> Tensor:
        """FMD loss of one batch: SmoothL1 to the teacher's tokens, as Foundry distils (arXiv 2511.20721), plus the student's
        own regulariser where it has one.

        ``inputs`` is an Embedding where the student is a :class:`TokenEncoder` with a frozen tokenizer, else Patches.
        """
        tokens = student(inputs) if isinstance(inputs, Patches) else _token_encoder(student).encode(inputs)
        loss = F.smooth_l1_loss(tokens.features.float(), target.features.float())
        return loss if tokens.penalty is None else loss + tokens.penalty

    def skip(self, teacher: Encoder, task: str) -> str | None:
        """A reason why this method cannot be run with this teacher and task, or None.

        ``teacher`` is the teacher itself, never a student, in a rehearsal as in an evaluation.
        """
        return None

    def lacks(self) -> str | None:
        """Why its students cannot be made and run on this machine, such as a package that is not installed, with the fix; or
        None. Its rows are skipped with that reason."""
        return None

    def params(self) -> dict[str, Any]:
        """All parameters, JSON-able."""
        return asdict(self)

    def training_params(self) -> dict[str, Any]:
        """The parameters that determine the trained student."""
        return {k: v for k, v in self.params().items() if k not in self.inference}

    def trained(self) -> Method:
        """The method whose student serves this one: inference-time parameters at their defaults."""
        return replace(self, **{f.name: f.default for f in fields(self) if f.name in self.inference})

    def shown(self, values: dict[str, Any]) -> dict[str, Any]:
        """Those of ``values`` that a reader needs: what the grid varies and what is not at its default."""
        default = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in values.items() if k in self.grid or v != default[k]}

    def classes(self) -> tuple[type, ...]:
        """The plugin classes whose source determines what this method does."""
        return (type(self),)


def student_of(method: Method, found: Any, teacher: Encoder | None = None) -> Encoder:
    """What :meth:`Method.compress` gave back, held to its contract: an encoder with a ``config``, and not ``teacher`` itself.

    Raises StrangerError for anything else.
    """
    if not isinstance(found, Encoder):
        wanted = "return the student, an Encoder of foundry_bench.authoring, such as a TokenStudent(teacher)"
        raise broken_rule(method, "compress", returned(found), wanted)
    if found is teacher:
        wanted = (
            "return a student of its own, such as copy.deepcopy(teacher), for a student is trained and marked"
        )
        raise broken_rule(method, "compress", "returned the teacher itself", wanted)
    if not isinstance(getattr(found, "config", None), EncoderConfig):
        wanted = "write self.config = teacher.config in its __init__"
        raise broken_rule(method, "compress", f"{returned(found)} without a config", wanted)
    return found


def _token_encoder(student: Encoder) -> TokenEncoder:
    if not isinstance(student, TokenEncoder):
        raise TypeError(f"{type(student).__name__} got embedded tokens but is not a TokenEncoder")
    return student
