"""What a student has to keep: a drop-in for its teacher, its state, a training step."""

from __future__ import annotations

import torch
from safetensors.torch import load, save
from torch import Tensor

from foundry_bench.border import said
from foundry_bench.cost import count_macs
from foundry_bench.encoder import Embedding, Encoder, TokenEncoder, Tokens, pool
from foundry_bench.errors import UserError
from foundry_bench.method import EXPERT, FMD, Method
from foundry_bench.points.patches import Patches
from foundry_bench.testing.rules import ConformanceError, close, require
from foundry_bench.training.expert import Expert


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
    require(close(again, alone), f"{name}: a cloud's tokens must not depend on the others in its batch")
    try:
        count = count_macs(encoder, patches[:1])
    except UserError as error:
        raise ConformanceError(str(error)) from error
    require(count.total > 0, f"{name}: an encoder must cost something")
    check_empty_batch(encoder, patches, (0, *shape[1:]))


def check_empty_batch(encoder: Encoder, patches: Patches, shape: tuple[int, ...]) -> None:
    """A batch without clouds gives tokens of ``shape`` (0, T, D). Some operators of torch, such as the Fourier transform of
    MKL, take no tensor without numbers; an encoder that uses one goes around it."""
    rule = f"{type(encoder).__name__}: a batch without clouds must give tokens (0, T, D) = {shape}"
    try:
        with torch.no_grad():
            found = tuple(encoder(patches[:0]).features.shape)
    except Exception as error:  # a stranger's encoder, whatever it raises
        raise ConformanceError(f"{rule}, not {said(error)}") from error
    require(found == shape, f"{rule}, got {found}")


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


def training_inputs(student: Encoder, patches: Patches) -> Patches | Embedding:
    """What the distillation trainer hands to a method's loss: tokens where the tokenizer is frozen, else
    patches."""
    if isinstance(student, TokenEncoder) and not any(p.requires_grad for p in student.tokenizer.parameters()):
        with torch.no_grad():
            return student.embed(patches)
    return patches
