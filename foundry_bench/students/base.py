"""The base of students that keep the teacher's frozen tokenizer, and Foundry's upsampling unit, which they share."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.encoder import Encoder, TokenEncoder
from foundry_bench.errors import UserError
from foundry_bench.students.tokens import block_with_mask
from foundry_bench.teachers.prefix import Prefix
from foundry_bench.teachers.transformer import PointTransformer, run_blocks


class TokenStudent(TokenEncoder):
    """A student that keeps the teacher's tokenizer, frozen, and starts from copies of its blocks, positions, norm, prefix.

    Subclasses say in :meth:`encode` which rows the blocks run on, and run them by :meth:`run`: looping over ``blocks`` would
    leave out the rows that some teachers run in front of the patches (a CLS token).
    """

    data_dependent = False
    prefix: nn.Parameter | None
    prefix_pos: nn.Parameter | None

    def __init__(self, teacher: PointTransformer, blocks: list[int] | None = None) -> None:
        """``blocks``: which of the teacher's blocks are kept (default: all)."""
        super().__init__()
        self.config = teacher.config
        self.tokenizer = copy.deepcopy(teacher.tokenizer).requires_grad_(False)
        self.positional_encoding = copy.deepcopy(teacher.positional_encoding).requires_grad_(True)
        chosen = range(len(teacher.blocks)) if blocks is None else blocks
        self.blocks = nn.ModuleList(copy.deepcopy(teacher.blocks[i]) for i in chosen).requires_grad_(True)
        self.norm = copy.deepcopy(teacher.norm).requires_grad_(True)
        for name in ("prefix", "prefix_pos"):
            rows = getattr(teacher, name)
            self.register_parameter(name, None if rows is None else nn.Parameter(rows.detach().clone()))
        self.cau: CAU | None = None

    def train(self, mode: bool = True) -> TokenStudent:
        """Training mode for all but the frozen tokenizer, whose batch norms keep the teacher's statistics."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def run(
        self, x: Tensor, pos: Tensor, keep: tuple[int, ...] = (), visible: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The rows of x (B, N, D) after the last block, before the norm, and after each block in ``keep``.

        ``pos`` (B, N, D) is added before every block. Rows with ``visible`` (B, N) False are invisible as keys. The teacher's
        prefix, where there is one, runs in front, always visible, and is not among the outputs.
        """
        prefix = Prefix.of(self, x.shape[0])
        blocks: list[Any] = list(self.blocks)
        # whoever exports a graph has no values to look at
        if visible is not None and (torch.compiler.is_compiling() or not bool(visible.all())):
            seen = visible if prefix is None else F.pad(visible, (prefix.x.shape[1], 0), value=True)
            blocks = [partial(block_with_mask, block, keep=seen) for block in blocks]
        return run_blocks(blocks, x, pos, keep, prefix)

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
