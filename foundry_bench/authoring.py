"""All that the file of a compression method or task imports from foundry-bench; the built-in methods use it too.

The contract:

- ``Method``: base of every method, a frozen dataclass whose fields are its parameters.
- ``Expert``: base of methods with the variant ``expert``, which are trained for one task.
- ``OFF_THE_SHELF``: the variant that is not trained.
- ``FMD``: the variant that is distilled on unlabelled clouds.
- ``EXPERT``: the variant that is trained for one task.
- ``Bounds``: the range of a parameter, beside its field: ``Annotated[int, Bounds(at_least=0)]``.
- ``Family``: the families that a method can be of.
- ``Paper``: title and arXiv number of a method's paper.
- ``Context``: what ``compress`` gets of its cell: device, seed, variant, folders, logger.
- ``PointCloudDataset``: clouds with labels and splits; ``compress`` gets an unlabelled one.
- ``UserError``: a mistake that a person can mend, in one line that says how.

What goes in and comes out:

- ``Encoder``: teacher or student, from ``Patches`` to ``Tokens``.
- ``EncoderConfig``: an encoder's sizes, those of its patches among them.
- ``Patches``: neighbourhoods (B, T, K, 3) relative to their centres (B, T, 3).
- ``Embedding``: tokens (B, T, D) before any position, and centres.
- ``Tokens``: features (B, T, D), a row per patch; levels, penalty, and what figures read.
- ``PointTransformer``: the teacher whose blocks the students' bases copy.
- ``require_transformer``: the teacher as such a one, or a ``UserError`` that names the method.

Tasks:

- ``Task``: base of every task, a frozen dataclass whose fields are its protocol.
- ``Metric``: a number that a task reports; one is primary.
- ``Score``: a measured metric with its interval.
- ``Scores``: what a task gives back: scores, and their outcomes.
- ``Supervision``: labelled objects that an expert may learn from.
- ``score_from_outcomes``: the mean of outcomes with its interval.
- ``clustered_score``: the same where objects of one class and series are near-twins.
- ``embed_objects``: mean and maximum of a frozen encoder's tokens, objects turned about the up axis.

Bases of students:

- ``TokenStudent``: keeps the teacher's tokenizer; its ``run`` puts rows through its copies of the blocks.
- ``ReducingStudent``: reduces the tokens before the first block, gives every patch its row back after the last.
- ``MergingStudent``: reduces between attention and MLP of the blocks.
- ``FoldingStudent``: runs the layers of every block on fewer rows and gives what they add to all rows.
- ``Change``: what such a student does to rows before a layer, and undoes behind it.
- ``CAU``: Foundry's reconstruction of every patch from its row, a part of students.

Pure functions on tokens:

- ``Stream``: tokens between two reductions, with positions, sizes, and the row that every patch reads.
- ``take``: rows at an index.
- ``select``: the stream of some of its rows, which the others read from then on.
- ``merge``: the stream of the means of rows that are sent to the same place.
- ``sum_rows``: sums of rows that are sent to the same place.
- ``assigned_mean``: means of the rows that a map (B, T, s) assigns to each of s clusters.
- ``farthest_point_sample``: indices of points that are far from each other.
- ``nearest``: for each centre the index of the nearest of some others.
- ``content_order``: a random-looking order of tokens that their centres decide.
- ``attend``: self-attention of a block on tokens.
- ``Attended``: what it leaves for a method to read.

Linear layers:

- ``linears``: those of an encoder that are worth compressing, by name.
- ``linear``: a new one with copies of a weight and a bias.
- ``replace``: puts a module in the place of another.
- ``trainable_copy``: a copy of the teacher with gradients on, for modules to be replaced in.
- ``SparseLinear``: one whose zeros stay zero in training.
- ``FoldedPointNet``: the tokenizer with its batch norms folded into the layers before them.

Other runtimes:

- ``quantized``: an encoder in eight bits, as ONNX Runtime quantises and runs it.
- ``onnx_missing``: why graphs cannot be made and run here, or None: what a method says it ``lacks``.

Calibration and losses:

- ``calibration_patches``: patches of objects that students train on, never of held-out ones.
- ``calibrate``: visits layers in the order in which they run, each just before it does.
- ``second_moments``: second moments of what layers get.
- ``global_ranks``: ranks of layers by what their directions are worth at the output tokens.
- ``hinton_loss``: the loss of a student's logits, given the teacher's and the labels.
"""

from __future__ import annotations

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, Encoder, EncoderConfig, Tokens
from foundry_bench.errors import UserError
from foundry_bench.exports import onnx_missing, quantized
from foundry_bench.heads.probing import clustered_score, embed_objects
from foundry_bench.method import EXPERT, FMD, OFF_THE_SHELF, Method
from foundry_bench.parameters.types import Bounds
from foundry_bench.points import farthest_point_sample
from foundry_bench.points.patches import Patches
from foundry_bench.students.base import CAU, TokenStudent, require_transformer
from foundry_bench.students.linears import (
    FoldedPointNet,
    SparseLinear,
    calibrate,
    linear,
    linears,
    replace,
    second_moments,
    trainable_copy,
)
from foundry_bench.students.ranks import global_ranks
from foundry_bench.students.reduction import Change, FoldingStudent, MergingStudent, ReducingStudent
from foundry_bench.students.tokens import (
    Attended,
    Stream,
    assigned_mean,
    attend,
    content_order,
    merge,
    nearest,
    select,
    sum_rows,
    take,
)
from foundry_bench.task import Metric, Score, Scores, Supervision, Task, score_from_outcomes
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.expert import Expert, hinton_loss
from foundry_bench.training.token_cache import calibration_patches
from foundry_bench.variants import Family, Paper

__all__ = [
    "CAU",
    "EXPERT",
    "FMD",
    "OFF_THE_SHELF",
    "Attended",
    "Bounds",
    "Change",
    "Context",
    "Embedding",
    "Encoder",
    "EncoderConfig",
    "Expert",
    "Family",
    "FoldedPointNet",
    "FoldingStudent",
    "MergingStudent",
    "Method",
    "Metric",
    "Paper",
    "Patches",
    "PointCloudDataset",
    "PointTransformer",
    "ReducingStudent",
    "Score",
    "Scores",
    "SparseLinear",
    "Stream",
    "Supervision",
    "Task",
    "TokenStudent",
    "Tokens",
    "UserError",
    "assigned_mean",
    "attend",
    "calibrate",
    "calibration_patches",
    "clustered_score",
    "content_order",
    "embed_objects",
    "farthest_point_sample",
    "global_ranks",
    "hinton_loss",
    "linear",
    "linears",
    "merge",
    "nearest",
    "onnx_missing",
    "quantized",
    "replace",
    "require_transformer",
    "score_from_outcomes",
    "second_moments",
    "select",
    "sum_rows",
    "take",
    "trainable_copy",
]
