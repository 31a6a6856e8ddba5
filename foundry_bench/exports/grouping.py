"""Grouping as a graph: farthest points as a loop, nearest neighbours, minus the centre, in front of an encoder's graph.

It is written out in ONNX's own text form rather than traced: a trace unrolls the loop, one piece for each centre.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundry_bench.exports.onnx_file import OPSET

IR_VERSION = 10
TEXT = """<ir_version: {ir}, opset_import: ["" : {opset}]>
grouping (float[{batch}, count, 3] points)
  => (float[{batch}, {groups}, 3] centers, float[{batch}, {groups}, {size}, 3] neighborhoods)
{{
  parts = Constant <value = int64[3] {{1, 1, 1}}> ()
  last_axis = Constant <value = int64[1] {{2}}> ()
  behind = Constant <value = int64[1] {{-1}}> ()
  front = Constant <value = int64[1] {{0}}> ()
  two = Constant <value = float {{2.0}}> ()
  x3, y3, z3 = Split <axis = 2> (points, parts)
  x = Squeeze (x3, last_axis)
  y = Squeeze (y3, last_axis)
  z = Squeeze (z3, last_axis)
  shape = Shape (x)
  far = ConstantOfShape <value = float[1] {{inf}}> (shape)
  rows = Shape <start = 0, end = 1> (x)
  one = Constant <value = int64[1] {{1}}> ()
  first_shape = Concat <axis = 0> (rows, one)
  first = ConstantOfShape <value = int64[1] {{0}}> (first_shape)
  turns = Constant <value = int64 {{{turns}}}> ()
  always = Constant <value = bool {{1}}> ()
  distance_end, last_end, others = Loop (turns, always, far, first) <body = farthest
    (int64 turn, bool goes, float[{batch}, count] distance, int64[{batch}, 1] last)
    => (bool on, float[{batch}, count] nearer, int64[{batch}, 1] next, int64[{batch}, 1] chosen)
  {{
    on = Identity (goes)
    cx = GatherElements <axis = 1> (x, last)
    cy = GatherElements <axis = 1> (y, last)
    cz = GatherElements <axis = 1> (z, last)
    dx = Sub (x, cx)
    dy = Sub (y, cy)
    dz = Sub (z, cz)
    dx2 = Mul (dx, dx)
    dy2 = Mul (dy, dy)
    dz2 = Mul (dz, dz)
    dxy = Add (dx2, dy2)
    squared = Add (dxy, dz2)
    nearer = Min (distance, squared)
    next = ArgMax <axis = 1, keepdims = 1, select_last_index = 0> (nearer)
    chosen = Identity (next)
  }}>
  first_row = Unsqueeze (first, front)
  all_rows = Concat <axis = 0> (first_row, others)
  by_cloud = Transpose <perm = [1, 0, 2]> (all_rows)
  centers = GatherND <batch_dims = 1> (points, by_cloud)
  squares = Mul (points, points)
  norms = ReduceSum <keepdims = 0> (squares, last_axis)
  norms_row = Unsqueeze (norms, one)
  turned = Transpose <perm = [0, 2, 1]> (points)
  products = MatMul (centers, turned)
  twice = Mul (two, products)
  closeness = Sub (norms_row, twice)
  size = Constant <value = int64[1] {{{size}}}> ()
  least, nearest = TopK <axis = 2, largest = 0, sorted = 1> (closeness, size)
  nearest_index = Unsqueeze (nearest, behind)
  neighbors = GatherND <batch_dims = 1> (points, nearest_index)
  centers_apart = Unsqueeze (centers, last_axis)
  neighborhoods = Sub (neighbors, centers_apart)
}}
"""


def grouping(groups: int, group_size: int, batch: int | None) -> Any:
    """The ONNX model that cuts ``points`` (B, N, 3) into ``groups`` patches of ``group_size`` points, as
    :func:`foundry_bench.points.group` does: the first centre is point 0, ties go to the lowest index."""
    from onnx import checker, parser

    text = TEXT.format(
        ir=IR_VERSION,
        opset=OPSET,
        batch="batch" if batch is None else batch,
        groups=groups,
        size=group_size,
        turns=groups - 1,
    )
    model = parser.parse_model(text)
    checker.check_model(model)
    return model


def with_grouping(model: Path, target: Path, groups: int, group_size: int, batch: int | None) -> None:
    """Write the encoder's graph ``model`` with grouping in front of it into ``target``: points in, tokens out."""
    import onnx
    from onnx import compose

    front = grouping(groups, group_size, batch)
    encoder = onnx.load(model)
    front.ir_version = encoder.ir_version
    front = compose.add_prefix(front, "grouping/", rename_inputs=False, rename_outputs=False)
    joined = [(name, name) for name in ("centers", "neighborhoods")]
    onnx.save(compose.merge_models(front, encoder, io_map=joined), target)
