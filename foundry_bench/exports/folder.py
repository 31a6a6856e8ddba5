"""The exported folder: graphs, golden clouds, card and runners, written whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from foundry_bench.beforehand.checks import check_folder, check_path
from foundry_bench.context import Progress, no_progress
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports.card import Graph, card_of, write_card, write_into_model
from foundry_bench.exports.eight_bits import check_r2
from foundry_bench.exports.encoder import MODEL
from foundry_bench.exports.golden import Golden, golden_of
from foundry_bench.exports.grouping import with_grouping
from foundry_bench.exports.needs import require
from foundry_bench.exports.onnx_file import OPSET, called, to_onnx
from foundry_bench.exports.parity import parity
from foundry_bench.exports.program import write_program
from foundry_bench.exports.quantize import quantize
from foundry_bench.exports.session import Session
from foundry_bench.storage import atomic_folder

MODELS = {"onnx": MODEL, "torch": "model.pt2", "executorch": "model.pte"}
"""Format -> the file of the encoder's graph."""
FLOATS = "export it without --int8"
"""What to do about a graph that eight bits cost too much."""
RUNNERS = {"runner.py": "run.py", "run.cpp": "run.cpp"}
"""Files beside this one -> what they are called in an exported folder."""


def check_export(folder: Path | str, form: str, int8: bool, points_in: bool) -> Path:
    """The folder, where an export into it can be made. Raises UserError before any work is done."""
    require(form)
    if form != "onnx" and (int8 or points_in):
        asked = "--int8" if int8 else "--points-in"
        raise UserError(f"{asked} is for --format onnx; leave one of the two out")
    folder = check_path(folder, "--out")
    check_folder(folder, "--out", empty=True)
    return folder


def export(
    encoder: Encoder,
    folder: Path | str,
    data: PointCloudDataset,
    *,
    form: str = "onnx",
    int8: bool = False,
    points_in: bool = False,
    progress: Progress = no_progress,
) -> Graph:
    """Export ``encoder`` into ``folder``, verified in the runtime on golden clouds of ``data``.

    ``form``: onnx, torch or executorch. ``int8`` quantises the graph, ``points_in`` adds one that groups the cloud too. Raises
    UserError, before work starts for what is missing, and for an encoder that cannot be exported or whose graph gives other
    tokens; nothing is left behind then.
    """
    folder = check_export(folder, form, int8, points_in)
    progress("golden clouds", 0, 1)
    golden = golden_of(encoder, data)
    progress("golden clouds", 1, 1)
    with atomic_folder(folder) as place:
        if form == "onnx":
            graph = _onnx(encoder, place, golden, int8, progress)
            card = card_of(encoder, graph, data.name)
            if points_in:
                _points(encoder, place, golden, graph)
                write_into_model(place / "points.onnx", card)
            write_into_model(place / graph.model, card)
            for source, name in RUNNERS.items():
                shutil.copyfile(Path(__file__).with_name(source), place / name)
        else:
            made, found = write_program(encoder, place / MODELS[form], form, golden, progress)
            graph = Graph(MODELS[form], form, made.name, made.batch, None, found)
            card = card_of(encoder, graph, data.name)
        np.savez(place / "golden.npz", **golden.arrays())  # type: ignore[arg-type]
        write_card(place, card)
    return graph


def _onnx(encoder: Encoder, place: Path, golden: Golden, int8: bool, progress: Progress) -> Graph:
    """Write ``model.onnx``; with ``int8`` that of the quantised graph, held to the float encoder."""
    model = place / MODELS["onnx"]
    # the steps of eight-bit activations are measured over all that is given: one cloud, lest it depend on the others
    made = to_onnx(encoder, model, batch=1 if int8 else None, golden=golden, progress=progress)
    found = made.parity
    if int8:
        progress("quantising", 0, 1)
        whole = model.replace(place / "float.onnx")
        quantize(whole, model)
        whole.unlink()
        found = parity(Session(model).run(**golden.inputs), golden.outputs)
        progress("quantising", 1, 1)
        check_r2(called(encoder), found, FLOATS)
    return Graph(model.name, "onnxruntime", made.form.name, made.form.batch, OPSET, found, int8)


def _points(encoder: Encoder, place: Path, golden: Golden, graph: Graph) -> None:
    """Write ``points.onnx``, which groups the cloud too, held to the same tokens."""
    if type(encoder).tokenize is not Encoder.tokenize:
        raise UserError(f"{called(encoder)} groups clouds in a way of its own; export it without --points-in")
    config = encoder.config
    target = place / "points.onnx"
    with_grouping(place / graph.model, target, config.groups, config.group_size, graph.batch)
    found = parity(Session(target).run(points=golden.points), golden.outputs)
    if graph.int8:
        check_r2(called(encoder), found, FLOATS)
    elif not found.holds:
        raise UserError(
            f"ONNX Runtime groups {found.wrong} of {found.clouds} golden clouds otherwise than PyTorch; "
            "export without --points-in"
        )
