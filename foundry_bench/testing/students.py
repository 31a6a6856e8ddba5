"""What a student has to keep: a drop-in for its teacher, its state, a training step."""

from __future__ import annotations

from dataclasses import replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from foundry_bench.border import said
from foundry_bench.cost import count_macs
from foundry_bench.encoder import Embedding, Encoder, TokenEncoder, Tokens, pool
from foundry_bench.errors import UserError
from foundry_bench.method import EXPERT, FMD, Method
from foundry_bench.points.patches import Patches
from foundry_bench.registry import code_of, returned
from foundry_bench.testing.rules import ConformanceError, close, require
from foundry_bench.training.expert import Expert


def encoding(encoder: Encoder) -> str:
    """Where the author of an encoder says how it computes its tokens: ``Whole.encode (odd.py:17)``."""
    return code_of(encoder, "encode" if isinstance(encoder, TokenEncoder) else "forward")


def check_encoder(encoder: Encoder, teacher: Encoder, points: Tensor, quick: bool = False) -> None:
    """A student is a drop-in for its teacher on clouds ``points`` (B, N, 3), and its cost can be counted; ``quick`` leaves that
    and the empty batch out."""
    encoder.eval()
    patches = encoder.tokenize(points)
    name, shape = encoding(encoder), (len(points), teacher.config.groups, teacher.config.dim)
    with torch.no_grad():
        tokens = encoder(patches, levels=True)
        check_tokens(tokens, shape, name)
        again = encoder(patches).features
        alone = torch.cat([encoder(patches[i : i + 1]).features for i in range(len(points))])
    require(
        torch.equal(tokens.features, again),
        f"{name}: in eval mode the same patches must give the same tokens",
    )
    require(close(again, alone), f"{name}: a cloud's tokens must not depend on the others in its batch")
    if quick:
        return
    try:
        count = count_macs(encoder, patches[:1])
    except UserError as error:
        raise ConformanceError(str(error)) from error
    require(count.total > 0, f"{name}: an encoder must cost something")
    check_empty_batch(encoder, patches, (0, *shape[1:]))


def check_empty_batch(encoder: Encoder, patches: Patches, shape: tuple[int, ...]) -> None:
    """A batch without clouds gives tokens of ``shape`` (0, T, D). Some operators of torch, such as the Fourier transform of
    MKL, take no tensor without numbers; an encoder that uses one goes around it."""
    rule = f"{encoding(encoder)}: a batch without clouds must give tokens (0, T, D) = {shape}"
    try:
        with torch.no_grad():
            found = tuple(encoder(patches[:0]).features.shape)
    except Exception as error:  # a stranger's encoder, whatever it raises
        raise ConformanceError(f"{rule}, not {said(error)}") from error
    require(found == shape, f"{rule}, got {found}")


def check_tokens(tokens: Tokens, shape: tuple[int, ...], name: str) -> None:
    """Features and three levels of ``shape`` (B, T, D), single precision, all finite."""
    require(
        isinstance(tokens, Tokens),
        f"{name} {returned(tokens)}; return Tokens(features, levels), with levels of three tensors where they are asked for",
    )
    levels = tokens.levels
    require(
        isinstance(levels, tuple | list),
        f"{name}: levels must be a tuple of three tensors, got {type(levels).__name__}",
    )
    require(
        len(levels) == 3,
        f"{name}: levels=True must give three levels, got {len(levels)}; "
        "write Tokens(features, (a, b, features) if levels else ())",
    )
    for what, value in (("features", tokens.features), *((f"levels[{i}]", v) for i, v in enumerate(levels))):
        require(
            isinstance(value, Tensor),
            f"{name}: {what} must be a tensor (B, T, D), got {type(value).__name__}",
        )
        require(
            tuple(value.shape) == shape,
            f"{name}: {what} must be (B, T, D) = {shape}, one row per patch of the teacher, got {tuple(value.shape)}",
        )
        dtype = str(value.dtype).removeprefix("torch.")
        require(dtype == "float32", f"{name}: {what} must be of type float32, as the teacher's, got {dtype}")
        require(
            bool(torch.isfinite(value).all()),
            f"{name}: {what} must be finite, got NaN or infinite values{_empty_places(tokens)}",
        )


def _empty_places(tokens: Tokens) -> str:
    """What to say of rows that stand for no patch, whose mean is that of none; nothing where there are none."""
    sizes = (tokens.aux or {}).get("size")
    if not isinstance(sizes, Tensor) or sizes.dim() != 2 or not bool((sizes == 0).any()):
        return ""
    cloud, place = (sizes == 0).nonzero()[0].tolist()
    return (
        f": {int((sizes == 0).sum())} places received no row (place {place} of {sizes.shape[1]} in cloud {cloud}), and the "
        "mean of none is NaN; let index of merge(stream, index, count) send a row to each of the count places of every cloud"
    )


def check_dtypes(student: Encoder) -> None:
    """No weight is in double precision: the harness computes in single precision and below."""
    wide = [name for name, value in student.state_dict().items() if value.dtype == torch.float64]
    kept = ", ".join(wide[:3])
    require(
        not wide,
        f"{type(student).__name__}: the weights {kept} are float64 where the teacher's are float32; call .float() on them",
    )


def check_state(student: Encoder, other: Encoder, points: Tensor) -> None:
    """The state written by ``student`` as safetensors makes ``other`` the same encoder, which was made with another seed
    from a teacher of the same sizes and other weights: a saved student is loaded without its teacher."""
    name = encoding(student)
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
    require(
        same,
        f"{name}: a student must be its state_dict, or it is another one once it is saved and loaded; something outside of it "
        "changes the tokens: keep it by self.register_buffer or as a parameter of the method",
    )


def check_training_step(
    method: Method, student: Encoder, teacher: Encoder, points: Tensor, variant: str = FMD
) -> None:
    """One optimiser step of the method's loss: finite loss, finite gradients, and some of them not zero."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    if not parameters:
        require(
            variant not in method.variants,
            f"{code_of(method, 'compress')}: variant {variant} needs parameters to train, and none of the student has "
            "requires_grad; call student.requires_grad_(True), or declare variants = (OFF_THE_SHELF,)",
        )
        return
    student.train()
    patches = student.tokenize(points)
    with torch.no_grad():
        target = teacher(teacher.tokenize(points))
    # Not the teacher itself: a student that has left nothing out yet is to have something to learn.
    target = replace(target, features=1.1 * target.features + 0.1)
    rule = code_of(method, "expert_loss" if variant == EXPERT else "loss")
    if variant == EXPERT:
        require(
            isinstance(method, Expert),
            f"{code_of(method, 'compress')}: variant {EXPERT} needs foundry_bench.authoring.Expert as the base of the method",
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
        isinstance(loss, Tensor),
        f"{rule} {returned(loss)}; return a tensor without dimensions, such as F.smooth_l1_loss gives",
    )
    got = "NaN or an infinite one" if loss.dim() == 0 else f"a tensor {tuple(loss.shape)}"
    require(
        loss.dim() == 0 and bool(torch.isfinite(loss)),
        f"{rule}: the loss must be one finite number, got {got}",
    )
    require(loss.requires_grad, f"{rule}: the loss must reach the student's parameters, and has no gradient")
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    loss.backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    require(all(bool(torch.isfinite(g).all()) for g in gradients), f"{rule}: gradients must be finite")
    trained = variant not in method.variants or any(bool(g.any()) for g in gradients)
    require(trained, f"{rule}: the loss must reach the student's parameters, and all gradients are zero")
    optimizer.step()


def training_inputs(student: Encoder, patches: Patches) -> Patches | Embedding:
    """What the distillation trainer hands to a method's loss: tokens where the tokenizer is frozen, else
    patches."""
    if isinstance(student, TokenEncoder) and not any(p.requires_grad for p in student.tokenizer.parameters()):
        with torch.no_grad():
            return student.embed(patches)
    return patches
