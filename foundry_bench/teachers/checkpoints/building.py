"""From a public checkpoint to a frozen encoder: sizes, the few real differences between the codes, a strict fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.teachers.cards import shown
from foundry_bench.teachers.checkpoints.layouts import SINUSOIDAL, Named, match, recognise
from foundry_bench.teachers.checkpoints.names import Options, TeacherSource, Z
from foundry_bench.teachers.checkpoints.reading import read_checkpoint
from foundry_bench.teachers.layout import lay_out
from foundry_bench.teachers.tensors import SLACK, Allotment, load_exactly, numbers
from foundry_bench.teachers.transformer import PointTransformer

HEAD_WIDTH = 64
"""Channels a head in all published point transformers of this family: 6 heads at 384."""
PUBLISHED = {"groups": 64, "group_size": 32, "points": 1024}
"""How they were pre-trained. What was fine-tuned on ScanObjectNN or ShapeNetPart saw 2048 points in 128 groups."""
HYPER_PARAMETERS = {
    "heads": ("encoder_heads",),
    "groups": ("tokenizer_num_groups",),
    "group_size": ("tokenizer_group_size",),
    "points": ("transformation_subsample_points", "num_points"),
}
"""Their names in the Lightning checkpoints of Point-JEPA and point2vec, pre-trained and fine-tuned."""


def load_checkpoint(path: Path, options: Options, name: str, sha256: str) -> PointTransformer:
    """The frozen encoder of a public checkpoint, in eval mode and single precision, with its ``source``.

    ``name`` and ``sha256`` are the teacher's. Raises UserError, one line with the path, for a file that cannot be read, an
    unknown layout, and any weight of the encoder that is missing, unknown, of a wrong shape or not finite.
    """
    try:
        checkpoint = read_checkpoint(path)
        layout = recognise(checkpoint.tensors)
        named = match(layout, checkpoint.tensors, options.branch)
        state = ours(checkpoint.tensors, named, layout.conv_bias)
        if options.up == Z:
            turn_upright(state)
        config, notes = sizes(state, named, options, checkpoint.hyper_parameters)
        model = build(config, state, named)
    except UserError as error:
        raise UserError(f"teacher {path}: {error}") from error
    notes += ("turned for clouds with z up; up=y leaves it as it was trained",) if options.up == Z else ()
    if not layout.conv_bias:
        notes += ("tokenizer layers before a batch norm have no bias: zero",)
    model.source = TeacherSource(name, layout.name, options.branch, sha256, notes + named.notes)
    lay_out(model, columns=True)
    return model.eval().requires_grad_(False)


def build(config: EncoderConfig, state: dict[str, Tensor], named: Named) -> PointTransformer:
    """The encoder with ``state``, all of it in all of it. Raises UserError, in the file's names, where they differ."""
    try:
        with Allotment(SLACK * numbers(state)):
            model = PointTransformer(config)
        load_exactly(model, state, named.in_file)
    except UserError as error:
        raise UserError(
            f"its weights make no encoder: {error}; download the file again or take one of another epoch"
        ) from error
    return model


def ours(tensors: dict[str, Tensor], named: Named, conv_bias: bool) -> dict[str, Tensor]:
    """The encoder's weights under our names and in our shapes.

    Point-wise convolutions (out, in, 1) are linear layers (out, in) here; CLS rows are (1, n, D). Where the layout has none
    (``conv_bias`` False), the bias in front of a batch norm is zero, which is the same function.
    """
    found = {name: tensors[theirs] for name, theirs in named.names.items()}
    state = {name: value.float() if value.is_floating_point() else value for name, value in found.items()}
    for name, value in state.items():
        if name.startswith("tokenizer.") and value.dim() == 3 and value.shape[-1] == 1:
            state[name] = value.squeeze(-1)
        elif name.startswith("prefix") and value.numel():
            state[name] = value.reshape(1, -1, value.shape[-1] if value.dim() else 1)
    for conv in ("first_conv", "second_conv"):
        weight = state.get(f"tokenizer.{conv}.0.weight")
        if not conv_bias and weight is not None:
            state.setdefault(f"tokenizer.{conv}.0.bias", weight.new_zeros(len(weight)))
    return state


def turn_upright(state: dict[str, Tensor]) -> None:
    """Let the encoder see clouds whose z is up as it saw (x, y, z) with y up, in place.

    (x, y, z) is (x, -z, y) with z up. The two layers that read coordinates are turned instead of every cloud: grouping does
    not depend on the axes, so that nothing else in the encoder or in its students has to know.
    """
    for name in (
        "tokenizer.first_conv.0.weight",
        "tokenizer.pointnet.first_conv.0.weight",
        "positional_encoding.0.weight",
    ):
        weight = state.get(name)
        if weight is not None and weight.dim() == 2 and weight.shape[1] == 3:
            x, y, z = weight.unbind(dim=1)
            state[name] = torch.stack([x, -z, y], dim=1)


def sizes(
    state: dict[str, Tensor], named: Named, options: Options, hyper: dict[str, Any]
) -> tuple[EncoderConfig, tuple[str, ...]]:
    """Sizes of the encoder, from the shapes of its weights and, for what they do not tell, from the ``options``, the file's
    ``hyper`` parameters or what was published, in this order; and a note on each of the latter."""

    def size(name: str) -> int:
        if name not in state or not state[name].numel():
            raise UserError(f"{shown(named.in_file(name))} is missing; download the file again")
        return state[name].shape[0] if state[name].dim() else 1

    dim = size("norm.weight")
    _check_positions(state, hyper, dim)
    pointnet = "tokenizer.pointnet" if "tokenizer.reduce.weight" in state else "tokenizer"
    layers = [f"{pointnet}.{layer}.weight" for layer in ("first_conv.0", "first_conv.3", "second_conv.0")]
    widths = [size(name) for name in layers]
    if pointnet != "tokenizer":
        widths.append(size(f"{pointnet}.second_conv.3.weight"))
    published = {**PUBLISHED, **({"heads": dim // HEAD_WIDTH} if dim % HEAD_WIDTH == 0 else {})}
    told, notes = _untold(options, hyper, published)
    config = EncoderConfig(
        dim=dim,
        depth=len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
        mlp_ratio=ratio(size("blocks.0.mlp.fc1.weight"), dim),
        qkv_bias=any(name.endswith("attn.qkv.bias") for name in state),
        tokenizer_widths=tuple(widths),  # type: ignore[arg-type]
        prefix=state["prefix"].shape[1] if "prefix" in state and state["prefix"].numel() else 0,
        **told,
    )
    return config, notes


def ratio(hidden: int, dim: int) -> float:
    """The ratio that makes ``hidden`` units of ``dim`` channels: 15 / 11 is rounded so that 11 times it is less than 15."""
    exact = hidden / dim
    return exact if int(dim * exact) == hidden else math.nextafter(exact, math.inf)


def _untold(
    options: Options, hyper: dict[str, Any], published: dict[str, int]
) -> tuple[dict[str, int], tuple[str, ...]]:
    told, notes = {}, []
    for key, names in HYPER_PARAMETERS.items():
        stored = next((hyper[n] for n in names if type(hyper.get(n)) is int), None)
        origins = {
            "asked for": getattr(options, key),
            "hyper-parameter": stored,
            "published": published.get(key),
        }
        origin = next((o for o, value in origins.items() if value is not None), None)
        if origin is None:
            raise UserError(
                f"the weights do not tell the number of attention heads; add it to the name: FILE?{key}=4"
            )
        told[key] = int(origins[origin])
        notes.append(f"{key} = {told[key]} ({origin})")
    return told, tuple(notes)


def _check_positions(state: dict[str, Tensor], hyper: dict[str, Any], dim: int) -> None:
    """Raise UserError where positions or groups enter in a way that no encoder here has."""
    weight = state.get("positional_encoding.0.weight")
    if weight is not None and weight.dim() and weight.shape[-1] == dim != 3:
        raise UserError(SINUSOIDAL)
    if hyper.get("encoder_add_pos_at_every_layer") is False:
        raise UserError(
            "this encoder adds positions once and not before every block, which is no encoder here; take another one"
        )
    if isinstance(hyper.get("tokenizer_group_radius"), float | int):
        raise UserError(
            "this encoder divides groups by a radius, which is no encoder here; take one with tokenizer_group_radius unset"
        )
