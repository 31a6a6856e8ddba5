"""The conformance kit: what every method, encoder and task has to keep, checked on real clouds.

Plugin authors call it from their own tests or run ``foundry-bench check PKG:NAME``::

    from foundry_bench.testing import check_method
    check_method(MyMethod(), teacher, data, Context())

Each function returns nothing and raises :class:`ConformanceError`, whose message says which rule is broken.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from foundry_bench.cost import count_macs
from foundry_bench.encoder import Embedding, Encoder, TokenEncoder, Tokens, pool
from foundry_bench.errors import UserError
from foundry_bench.method import EXPERT, FMD, VARIANTS, Method
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.expert import Expert
from foundry_bench.variants import FAMILIES, Paper

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.task import Task

CLOUDS = 4
TOLERANCE = 1e-4
"""Largest difference of two outputs that should be equal up to the order of summation."""
ABSTRACT = 100
"""Most characters of a method's abstract."""
ARXIV = re.compile(r"\d{4}\.\d{4,5}")
LOSSLESS = 1e-5
"""Largest difference from the teacher's tokens at a setting that compresses nothing."""
PREFIXES = (1, 3)
"""Rows in front of the patches that stand for none of them, of the teachers that a method is tried on besides its own."""
REMEDY = (
    "run blocks by self.run(x, pos) of TokenStudent, in a ReducingStudent by self.through(stream, block), never one by one: "
    "they also run the rows that some teachers have in front of the patches (a CLS token)"
)

E = TypeVar("E", bound=Encoder)


class ConformanceError(AssertionError):
    """A rule that the harness relies on is broken."""


def require(holds: bool, rule: str) -> None:
    """Raise ConformanceError with ``rule``, in words, unless it ``holds``."""
    if not holds:
        raise ConformanceError(rule)


def check_method(method: Method, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Check one method, made for ``ctx.variant``, on a few clouds of ``data``; the teacher comes back as it was.

    Raises ConformanceError for a broken rule, and whatever the method itself raises.
    """
    check_declaration(method)
    before = _snapshot(teacher)
    student = make_student(method, teacher, data, ctx)
    twin = make_student(method, teacher, data, ctx)
    require(_equal_states(student, twin), f"{method.name}: the same seed must give the same student")
    points = _clouds(data, student)
    check_encoder(student, teacher, points)
    other = make_student(method, _stranger(teacher), data, ctx.for_component("other seed"))
    check_state(student, other, points)
    if ctx.trains:
        check_training_step(method, make_student(method, teacher, data, ctx), teacher, points, ctx.variant)
    if isinstance(teacher, PointTransformer):
        check_prefix(method, teacher, data, ctx)
    require(_unchanged(teacher, before), f"{method.name}: the teacher must stay untouched")


def check_declaration(method: Method) -> None:
    """Names, variants and parameters are what the registry and the records need."""
    require(bool(method.name), f"{type(method).__name__} has no name")
    require(
        bool(method.variants) and set(method.variants) <= set(VARIANTS),
        f"{method.name}: variants must be among {VARIANTS}",
    )
    check_family(method)
    known = set(method.params())
    hidden = sorted(name for name in known if callable(getattr(Method, name, None)))
    require(not hidden, f"{method.name}: parameters must not be called as what a Method does: {hidden}")
    for what, names in (("grid", set(method.grid)), ("inference", set(method.inference))):
        require(names <= known, f"{method.name}: {what} names no parameters: {sorted(names - known)}")
    try:
        json.dumps(method.params())
    except TypeError as error:
        raise ConformanceError(f"{method.name}: parameters must be JSON-able ({error})") from error


def check_family(method: Method) -> None:
    """What tables and figures say of a method; one without a family works, is grey in figures, and gets a warning."""
    example = f'family: ClassVar[Family] = "merge" (one of {", ".join(FAMILIES)})'
    require(
        method.family is None or method.family in FAMILIES,
        f"{method.name}: unknown family {method.family!r}; write {example}",
    )
    if method.family is None:
        warnings.warn(f"{method.name} has no family; add {example}", stacklevel=3)
    require(
        isinstance(method.abstract, str)
        and len(method.abstract) <= ABSTRACT
        and method.abstract == " ".join(method.abstract.split())
        and not method.abstract.endswith("."),
        f"{method.name}: abstract must be one line of at most {ABSTRACT} characters without a full stop",
    )
    paper = method.paper
    require(
        paper is None
        or (isinstance(paper, Paper) and bool(paper.title) and bool(ARXIV.fullmatch(str(paper.arxiv)))),
        f'{method.name}: paper must be None or Paper(title, arXiv number), as Paper("Token Merging", "2210.09461")',
    )


def check_encoder(encoder: Encoder, teacher: Encoder, points: Tensor) -> None:
    """A student is a drop-in for its teacher on clouds ``points`` (B, N, 3), and its cost can be counted."""
    encoder.eval()
    patches = encoder.tokenize(points)
    name, shape = type(encoder).__name__, (len(points), teacher.config.groups, teacher.config.dim)
    with torch.no_grad():
        tokens = encoder(patches, levels=True)
        check_tokens(tokens, shape, name)
        again = encoder(patches).features
        alone = torch.cat([encoder(patches[i : i + 1]).features for i in range(len(points))])
    require(
        torch.equal(tokens.features, again),
        f"{name}: in eval mode the same patches must give the same tokens",
    )
    require(_close(again, alone), f"{name}: a cloud's tokens must not depend on the others in its batch")
    try:
        count = count_macs(encoder, patches[:1])
    except UserError as error:
        raise ConformanceError(str(error)) from error
    require(count.total > 0, f"{name}: an encoder must cost something")


def check_tokens(tokens: Tokens, shape: tuple[int, ...], name: str) -> None:
    """Features and three levels of ``shape`` (B, T, D), all finite."""
    require(len(tokens.levels) == 3, f"{name}: levels=True must give three levels, got {len(tokens.levels)}")
    for what, value in (
        ("features", tokens.features),
        *((f"levels[{i}]", v) for i, v in enumerate(tokens.levels)),
    ):
        require(
            tuple(value.shape) == shape,
            f"{name}: {what} must be (B, T, D) = {shape}, got {tuple(value.shape)}",
        )
        require(bool(torch.isfinite(value).all()), f"{name}: {what} must be finite")


def check_state(student: Encoder, other: Encoder, points: Tensor) -> None:
    """The state written by ``student`` as safetensors makes ``other`` the same encoder, which was made with another seed
    from a teacher of the same sizes and other weights: a saved student is loaded without its teacher."""
    name = type(student).__name__
    state = load(
        save({key: value.detach().clone().contiguous() for key, value in student.state_dict().items()})
    )
    try:
        other.load_state_dict(state)
    except RuntimeError as error:
        raise ConformanceError(f"{name}: state does not load into a fresh student: {error}") from error
    student.eval(), other.eval()
    patches = student.tokenize(points)
    with torch.no_grad():
        same = torch.equal(student(patches).features, other(patches).features)
    require(same, f"{name}: a student must be its state_dict; something outside of it changes the tokens")


def check_training_step(
    method: Method, student: Encoder, teacher: Encoder, points: Tensor, variant: str = FMD
) -> None:
    """One optimiser step of the method's loss: finite loss, finite gradients, and some of them not zero."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    if not parameters:
        require(variant not in method.variants, f"{method.name}: variant {variant} needs parameters to train")
        return
    student.train()
    patches = student.tokenize(points)
    with torch.no_grad():
        target = teacher(teacher.tokenize(points))
    if variant == EXPERT:
        require(
            isinstance(method, Expert),
            f"{method.name}: variant {EXPERT} needs foundry_bench.training.expert.Expert",
        )
        logits = torch.zeros(len(points), 3)
        logits[:, 0] = 1.0
        pooled = pool(student(patches).features)
        head = torch.linspace(-1, 1, 3 * pooled.shape[1], device=pooled.device).reshape(-1, 3)
        labels = torch.zeros(len(points), dtype=torch.long)
        loss = method.expert_loss(pooled @ head, logits.to(pooled), labels.to(pooled.device))  # type: ignore[attr-defined]
    else:
        loss = method.loss(student, training_inputs(student, patches), target)
    require(
        loss.dim() == 0 and bool(torch.isfinite(loss)), f"{method.name}: the loss must be one finite number"
    )
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    loss.backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    require(all(bool(torch.isfinite(g).all()) for g in gradients), f"{method.name}: gradients must be finite")
    trained = variant not in method.variants or any(bool(g.any()) for g in gradients)
    require(trained, f"{method.name}: the loss must reach the student's parameters")
    optimizer.step()


def check_prefix(method: Method, teacher: PointTransformer, data: PointCloudDataset, ctx: Context) -> None:
    """A student of a teacher that runs rows in front of the patches (a CLS token) runs them too, and gives the patches alone.

    The method is tried on copies of ``teacher`` with no, one and three such rows. Every block runs them as the block before
    left them, with their positions; what is in them reaches the patches through attention and in no other way; and a student
    that is its teacher to 1e-5 without them is its teacher with them.
    """
    plain = with_prefix(teacher, 0)
    student = make_student(method, plain, data, ctx)
    points = _clouds(data, student)
    lossless = _distance(student, plain, points) <= LOSSLESS
    for count in PREFIXES:
        behind = with_prefix(teacher, count)
        student = make_student(method, behind, data, ctx)
        name = f"{method.name}, of a teacher with {count} rows in front of the patches"
        with torch.no_grad():
            tokens = student.eval()(student.tokenize(points), levels=True)
        check_tokens(tokens, (len(points), behind.config.groups, behind.config.dim), name)
        away = _distance(student, behind, points)
        for holds, rule in (
            (_runs_prefix(student, points, ctx.trains), "every block must run these rows"),
            (_heeds_prefix(student, method, behind, data, ctx), "what is in these rows must matter"),
            (not _leaks_prefix(method, behind, data, ctx), "these rows must not be read as patches"),
            (
                not lossless or away <= LOSSLESS,
                f"must be its teacher, as it is without them, and is {away:.2g} away",
            ),
        ):
            require(holds, f"{name}: {rule}; {REMEDY}")
        if ctx.trains:
            check_training_step(method, student, behind, points, ctx.variant)


@torch.no_grad()
def with_prefix(teacher: PointTransformer, count: int) -> PointTransformer:
    """A copy of ``teacher`` with ``count`` random rows in front of the patches instead of its own."""
    made = copy.deepcopy(teacher)
    made.config = replace(teacher.config, prefix=count)
    like = next(teacher.parameters())
    for seed, name in enumerate(("prefix", "prefix_pos")):
        rows = torch.randn(1, count, made.config.dim, generator=torch.Generator().manual_seed(seed))
        made.register_parameter(name, nn.Parameter(rows.to(like), like.requires_grad) if count else None)
    return made


def training_inputs(student: Encoder, patches: Patches) -> Patches | Embedding:
    """What the distillation trainer hands to a method's loss: tokens where the tokenizer is frozen, else
    patches."""
    if isinstance(student, TokenEncoder) and not any(p.requires_grad for p in student.tokenizer.parameters()):
        with torch.no_grad():
            return student.embed(patches)
    return patches


def check_task(task: Task, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Scores are a pure function of the arguments, in [0, 1], with an outcome per item; the encoder stays
    as it was."""
    require(sum(m.primary for m in task.metrics) == 1, f"{task.name}: exactly one metric must be primary")
    json.dumps(task.protocol())
    before = _snapshot(encoder)
    first, second = (task.evaluate(encoder, data, ctx) for _ in range(2))
    names = [score.metric for score in first.values]
    require(
        names == [m.name for m in task.metrics_for(data)], f"{task.name}: scores must be those of metrics_for"
    )
    require(first.values == second.values, f"{task.name}: the same arguments must give the same scores")
    for score in first.values:
        require(0 <= score.value <= 1, f"{task.name}: {score.metric} = {score.value} is not in [0, 1]")
        outcomes = first.outcomes.get(score.metric)
        require(
            outcomes is not None and len(outcomes) == score.n,
            f"{task.name}: {score.metric} needs {score.n} outcomes",
        )
        same = np.array_equal(np.asarray(outcomes), np.asarray(second.outcomes[score.metric]))
        require(same, f"{task.name}: the outcomes of {score.metric} must come in a fixed order")
    require(_unchanged(encoder, before), f"{task.name}: a task must leave the frozen encoder untouched")


def _runs_prefix(student: Encoder, points: Tensor, trains: bool) -> bool:
    """Whether every block starts with the rows that a student holds, as the block before left them, at their positions, in
    training too; True for a student without them, or with other blocks than timm's."""
    rows, pos = getattr(student, "prefix", None), getattr(student, "prefix_pos", None)
    if rows is None or pos is None:
        return True
    for training in (False, True) if trains else (False,):
        seen = _layers_run(student, points, training)
        if [layer for layer, _, _ in seen] != len(seen) // 4 * ["norm1", "proj", "norm2", "mlp"]:
            continue
        x = rows.expand(len(points), -1, -1)
        for at in range(0, len(seen), 4):
            (_, start, _), (_, _, attended), (_, middle, _), (_, _, out) = seen[at : at + 4]
            front = [value[:, : rows.shape[1]] for value in (start, attended, middle, out)]
            if not (_close(front[0], x + pos) and _close(front[2], front[0] + front[1])):
                return False
            x = front[2] + front[3]
    return True


@torch.no_grad()
def _layers_run(student: Encoder, points: Tensor, training: bool = False) -> list[tuple[str, Tensor, Tensor]]:
    """The norms, attention's projections and MLPs of the blocks of ``student`` as they run: name, input and output."""
    student, seen = copy.deepcopy(student), []
    for block in student.modules():
        if isinstance(getattr(block, "attn", None), nn.Module):
            for name in ("norm1", "attn.proj", "norm2", "mlp"):
                layer = name.rpartition(".")[2]
                block.get_submodule(name).register_forward_hook(
                    lambda _, inputs, out, layer=layer: seen.append((layer, inputs[0], out))
                )
    student.train(training)(student.tokenize(points))
    return seen


def _heeds_prefix(
    student: Encoder, method: Method, teacher: PointTransformer, data: PointCloudDataset, ctx: Context
) -> bool:
    """Whether other rows, and other positions of them, in a student with blocks make another encoder, in training too. One
    that holds none has to be another if its teacher's are others, unless nothing of the teacher's blocks is in it."""
    points = _clouds(data, student)
    own = [name for name, _ in student.named_parameters() if _in_prefix(name)]
    if own:
        modes = (False, True) if ctx.trains else (False,)
        others = [_stranger(student, name.__eq__) for name in own]
        blocks = any(hasattr(module, "attn") for module in student.modules())
        return not blocks or all(_differ(student, other, points, mode) for other in others for mode in modes)
    of_rows, of_blocks = (
        make_student(method, _stranger(teacher, chosen), data, ctx) for chosen in (_in_prefix, _in_blocks)
    )
    return _differ(student, of_rows, points) or not _differ(student, of_blocks, points)


def _leaks_prefix(method: Method, teacher: PointTransformer, data: PointCloudDataset, ctx: Context) -> bool:
    """Whether a student heeds the rows it holds though its attention looks at all rows alike and adds nothing."""
    student = make_student(method, _without_attention(teacher), data, ctx)
    student, points = _without_attention(student), _clouds(data, student)
    mute = not any(bool(out.any()) for layer, _, out in _layers_run(student, points) if layer == "proj")
    return mute and _differ(student, _stranger(student, _in_prefix), points)


@torch.no_grad()
def _without_attention(encoder: E) -> E:
    """A copy of ``encoder`` without queries and without what attention adds, as far as its layers are plain ones."""
    made = copy.deepcopy(encoder)
    for block in made.modules():
        qkv, proj = (getattr(getattr(block, "attn", None), name, None) for name in ("qkv", "proj"))
        if isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear):
            for layer, rows in ((qkv, qkv.out_features // 3), (proj, proj.out_features)):
                layer.weight[:rows] = 0
                if layer.bias is not None:
                    layer.bias[:rows] = 0
    return made


def _in_prefix(name: str) -> bool:
    return name.rpartition(".")[2] in ("prefix", "prefix_pos")


def _in_blocks(name: str) -> bool:
    return name.startswith("blocks.")


@torch.no_grad()
def _distance(student: Encoder, teacher: Encoder, points: Tensor) -> float:
    """Largest difference of the student's features from the teacher's."""
    ours, theirs = (encoder.eval()(encoder.tokenize(points)).features for encoder in (student, teacher))
    return float((ours - theirs).abs().max())


@torch.no_grad()
def _differ(one: Encoder, other: Encoder, points: Tensor, training: bool = False) -> bool:
    """Whether two encoders give different features to the same clouds, with the same random draws."""
    found = []
    for encoder in (one, other):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            fresh = copy.deepcopy(encoder).train(training)
            found.append(fresh(fresh.tokenize(points)).features)
    return not torch.equal(*found)


@torch.no_grad()
def _stranger(teacher: Encoder, chosen: Callable[[str], bool] = lambda name: True) -> Encoder:
    """An encoder of the same sizes that knows nothing in its parameters with ``chosen`` names."""
    stranger = copy.deepcopy(teacher)
    for name, parameter in stranger.named_parameters():
        if chosen(name):
            parameter.normal_(
                std=0.05, generator=torch.Generator(parameter.device).manual_seed(parameter.numel())
            )
    return stranger


def _clouds(data: PointCloudDataset, encoder: Encoder) -> Tensor:
    picks = np.linspace(0, len(data.points) - 1, CLOUDS).round().astype(int)
    return torch.from_numpy(data.points[picks, : encoder.config.points].astype(np.float32))


def _snapshot(encoder: Encoder) -> tuple[bool, list[bool], dict[str, Tensor]]:
    state = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    return encoder.training, [p.requires_grad for p in encoder.parameters()], state


def _unchanged(encoder: Encoder, before: tuple[bool, list[bool], dict[str, Tensor]]) -> bool:
    training, flags, state = before
    now = encoder.state_dict()
    same = now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)
    no_gradients = all(p.grad is None for p in encoder.parameters())
    return (
        same
        and no_gradients
        and training == encoder.training
        and flags == [p.requires_grad for p in encoder.parameters()]
    )


def _equal_states(one: Encoder, other: Encoder) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=TOLERANCE, rtol=TOLERANCE))
