"""Making, saving and loading students; the base of those that keep the teacher's frozen tokenizer."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foundry_bench import registry
from foundry_bench.context import Context
from foundry_bench.encoder import Encoder, TokenEncoder
from foundry_bench.errors import UserError
from foundry_bench.method import FMD
from foundry_bench.storage import atomic_path
from foundry_bench.teachers.transformer import PointTransformer

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.method import Method

FORMAT = "foundry-bench student 1"


class TokenStudent(TokenEncoder):
    """A student that keeps the teacher's tokenizer, frozen, and starts from copies of its blocks, positions and norm."""

    data_dependent = False

    def __init__(self, teacher: PointTransformer, blocks: list[int] | None = None) -> None:
        """``blocks``: which of the teacher's blocks are kept (default: all)."""
        super().__init__()
        self.config = teacher.config
        self.tokenizer = copy.deepcopy(teacher.tokenizer).requires_grad_(False)
        self.positional_encoding = copy.deepcopy(teacher.positional_encoding).requires_grad_(True)
        chosen = range(len(teacher.blocks)) if blocks is None else blocks
        self.blocks = nn.ModuleList(copy.deepcopy(teacher.blocks[i]) for i in chosen).requires_grad_(True)
        self.norm = copy.deepcopy(teacher.norm).requires_grad_(True)
        self.cau: CAU | None = None

    def train(self, mode: bool = True) -> TokenStudent:
        """Training mode for all but the frozen tokenizer, whose batch norms keep the teacher's statistics."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    @property
    def cost_parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"tokenizer": self.tokenizer}
        return parts if self.cau is None else {**parts, "decoder": self.cau}


class CAU(nn.Module):
    """Foundry's cross-attention upsampling unit after its map: ``MLP(known + row)`` on every patch, two linear layers.

    ``row`` (B, T, D) is what stands for the patch after a reduction, ``known`` (B, T, D) what is known of the patch itself.
    With ``skip`` the MLP is added to the row and starts at zero, so that training starts from the student off the shelf.
    """

    def __init__(self, dim: int, hidden: int, skip: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.skip = skip
        if skip:
            nn.init.zeros_(self.fc2.weight)
            nn.init.zeros_(self.fc2.bias)

    def forward(self, row: Tensor, known: Tensor | float) -> Tensor:
        out = self.fc2(nn.functional.gelu(self.fc1(row + known)))
        return row + out if self.skip else out


def require_transformer(teacher: Encoder, method: str) -> PointTransformer:
    """The teacher as a PointTransformer. Raises UserError when the method cannot work on this teacher."""
    if not isinstance(teacher, PointTransformer):
        raise UserError(
            f"{method} needs a PointTransformer teacher, got {type(teacher).__name__}; choose another teacher"
        )
    return teacher


def make_student(
    method: Method | str, teacher: Encoder, data: PointCloudDataset | None = None, ctx: Context | None = None
) -> Encoder:
    """Student before training, from a method or a selector that stands for one method. Raises UserError."""
    if isinstance(method, str):
        selector = registry.parse_selector(method)
        method = registry.expand(selector, use_grid=False)[0][0]
        ctx = ctx or Context(variant=selector.variant or default_variant(method))
    if data is None:
        data = registry.load("datasets", "pretrain")()
    ctx = ctx or Context(variant=default_variant(method))
    torch.manual_seed(ctx.for_component("init").seed)
    student = method.compress(teacher, data, ctx)
    method.configure(student)
    return student.eval()


def default_variant(method: Method) -> str:
    """The variant meant when none is named: distilled, if the method can be."""
    return FMD if FMD in method.variants else method.variants[0]


def save_student(
    student: Encoder, folder: Path | str, *, method: Method, variant: str, teacher: str, teacher_sha: str
) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``, each whole or not at all."""
    folder = Path(folder)
    state = {k: v.detach().cpu().contiguous() for k, v in student.state_dict().items()}
    config = {
        "format": FORMAT,
        "method": method.name,
        "version": method.version,
        "params": method.params(),
        "variant": variant,
        "teacher": teacher,
        "teacher_sha256": teacher_sha,
        "encoder": asdict(student.config),
    }
    with atomic_path(folder / "model.safetensors") as path:
        save_file(state, path)
    with atomic_path(folder / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n")


def load_student(folder: Path | str, teacher: Encoder | None = None) -> Encoder:
    """Read what :func:`save_student` wrote. Raises UserError for a missing, truncated or foreign folder."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        state = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"student folder {folder} cannot be read ({error}); make it again") from error
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder}/config.json is no student of this version (format {config.get('format')!r})"
        )
    if teacher is None:
        from foundry_bench.teachers import load_teacher

        teacher = load_teacher(config["teacher"])
    method = registry.build_method(config["method"], config["params"])
    ctx = Context(variant=config["variant"])
    student = make_student(method, teacher, cast("PointCloudDataset", _OnDemand()), ctx)
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"student in {folder} does not fit teacher {config['teacher']!r}: {first}") from error
    return student.eval()


class _OnDemand:
    """The calibration set, read when a method asks for one of its attributes: most need no data to rebuild a student."""

    def __getattr__(self, name: str) -> Any:
        return getattr(registry.load("datasets", "pretrain")(), name)
