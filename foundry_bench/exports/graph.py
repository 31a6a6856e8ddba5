"""The module that is exported: arrays in, arrays out, around a copy of the student that computes what the student does.

What differs from the student is only what no value depends on: the tokenizer runs on all groups at once (its parts are for a
CPU's cache), and weights lie in memory by rows.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foundry_bench.encoder import Encoder, pool
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.students.tokens import set_fused_attention
from foundry_bench.teachers.layout import lay_out

INPUTS = ("centers", "neighborhoods")
"""Arrays (B, T, 3) and (B, T, K, 3), as :class:`~foundry_bench.points.patches.Patches` has them."""
OUTPUTS = ("tokens", "descriptor")
"""Arrays (B, T, D), and their mean and max over the patches (B, 2D)."""
LEVELS = ("level_0", "level_1", "level_2")
"""Arrays (B, T, D) that dense heads read, in graphs that give them too."""


@dataclass(frozen=True)
class Form:
    """How a student becomes a graph. ``name``: ``plain``; of a student whose work depends on the cloud, ``packed`` does as much
    work as each cloud needs, ``masked`` all of it, for every cloud. ``batch``: None for any number of clouds."""

    name: str
    batch: int | None


def forms(encoder: Encoder, batch: int | None = None) -> list[Form]:
    """The forms to try, best first; with a ``batch`` of 1 those of a single cloud."""
    names = ("packed", "masked") if getattr(encoder, "data_dependent", False) else ("plain",)
    # rows that one cloud leaves out another may keep, so only a single cloud can be packed
    found = [Form(name, size) for name in names for size in (None, 1) if (name, size) != ("packed", None)]
    return [form for form in found if batch is None or form.batch == batch]


class EncoderGraph(nn.Module):
    """``encoder`` as arrays see it: centres (B, T, 3) and neighbourhoods (B, T, K, 3) to what :data:`OUTPUTS` says, with
    ``levels`` also what :data:`LEVELS` says."""

    def __init__(self, encoder: Encoder, levels: bool = False) -> None:
        super().__init__()
        self.encoder, self.levels = encoder, levels

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives."""
        return OUTPUTS + LEVELS if self.levels else OUTPUTS

    def forward(self, centers: Tensor, neighborhoods: Tensor) -> tuple[Tensor, ...]:
        tokens = self.encoder(Patches(neighborhoods, centers), self.levels)
        return tokens.features, pool(tokens.features), *tokens.levels


def frozen(encoder: Encoder) -> Encoder:
    """A copy on the CPU in evaluation mode, whatever mode ``encoder`` was left in; of one in eight bits its float parent."""
    own = encoder.in_torch
    if own is None:
        raise UserError(
            "an exported folder cannot be exported again; export the student that it was made from"
        )
    return copy.deepcopy(own).cpu().eval().requires_grad_(False)


def graph_of(encoder: Encoder, form: Form, levels: bool = False) -> EncoderGraph:
    """The module of one form of ``encoder``, in evaluation mode."""
    twin = frozen(encoder)
    if form.name == "masked":
        setattr(twin, "packs", False)  # noqa: B010  of students that have it
    if form.name == "packed":  # the fused operator asks whether there is a single row
        set_fused_attention(twin, False)
    lay_out(twin, columns=False)
    return EncoderGraph(twin, levels).eval()


@torch.no_grad()
def outputs_of(encoder: Encoder, patches: Patches, levels: bool = False) -> tuple[Tensor, ...]:
    """What the unmodified ``encoder``, of one in eight bits its float parent, makes of the patches of each cloud by itself,
    stacked."""
    graph = EncoderGraph(frozen(encoder), levels).eval()
    each = [graph(patches.centers[i : i + 1], patches.neighborhoods[i : i + 1]) for i in range(len(patches))]
    return tuple(torch.cat(parts).float() for parts in zip(*each, strict=True))


@torch.no_grad()
def program_of(graph: EncoderGraph, patches: Patches, batch: int | None) -> torch.export.ExportedProgram:
    """The graph of ``graph``, for any number of clouds where ``batch`` is None. Raises what torch.export raises."""
    count = 2 if batch is None else batch
    size = {0: torch.export.Dim("batch")} if batch is None else None
    example = (patches.centers[:count].contiguous(), patches.neighborhoods[:count].contiguous())
    return torch.export.export(graph, example, dynamic_shapes=(size, size), strict=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, exporters neither print graphs nor warn: what fails is told in one line of ours."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        nowhere = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
