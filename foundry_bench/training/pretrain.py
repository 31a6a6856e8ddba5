"""Self-supervised pre-training of a point transformer: resumable, with the loss, feature spread and a probe along the way."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from foundry_bench.beforehand.checks import LARGEST_SEED
from foundry_bench.beforehand.configuration import STRICT, validated
from foundry_bench.context import Context, derive_seed
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.storage import atomic_path
from foundry_bench.students.tokens import set_fused_attention
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.teachers.weights import load_teacher
from foundry_bench.training.loop import adamw, learning_rate, train_step
from foundry_bench.training.objectives import Heads, LossWeights, canonical_code, objective
from foundry_bench.training.precision import autocast
from foundry_bench.training.views import ViewBank, turn

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

SMALL = EncoderConfig(
    dim=192, depth=8, heads=3, groups=64, group_size=16, points=1024, tokenizer_widths=(64, 128, 256)
)
"""Sizes of the shipped teacher."""


Count = Annotated[int, Ge(1), Le(10**9)]
Share = Annotated[float, Ge(0), Le(1)]
Factor = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that determines a pre-training besides the data. ``steps`` counts training steps; ``init`` is the teacher
    that it starts from, a name or a folder, of the sizes that ``encoder`` says; by default it starts at random."""

    __pydantic_config__: ClassVar[Any] = STRICT

    encoder: EncoderConfig = SMALL
    init: str | None = None
    weights: LossWeights = field(default_factory=LossWeights)
    steps: Count = 1500
    batch_size: Count = 128
    views: Annotated[int, Ge(2), Le(10**6)] = 12
    crop: Annotated[float, Gt(0), Le(1)] = 0.7
    keep: tuple[Share, Share] = (0.3, 0.6)
    stretch: tuple[Factor, Factor] = (0.8, 1.2)
    lr: Annotated[float, Gt(0)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.05
    warmup: Annotated[int, Ge(0)] = 60
    ema: Share = 0.995
    probe_every: Count = 150
    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PretrainConfig:
        """Build from a parsed YAML or JSON object. Raises UserError for keys and values that it does not take."""
        made = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            if isinstance(encoder := values.get("encoder"), dict):
                made["encoder"] = EncoderConfig.from_dict(encoder)
        except (TypeError, ValueError) as error:
            raise UserError(f"encoder: {error}") from error
        if isinstance(weights := values.get("weights"), dict):
            made["weights"] = validated(LossWeights, weights, "in weights")
        return validated(cls, made)


FINAL_RATE = 0.01
"""Share of the peak learning rate that the last steps get."""

Probe = Callable[[PointTransformer], float]


@dataclass
class _State:
    """All that a checkpoint holds."""

    model: PointTransformer
    average: PointTransformer
    heads: Heads
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    log: list[dict[str, float]]
    step: int = 0

    def save(self, path: Path, config: PretrainConfig, data: str) -> None:
        parts = {k: getattr(self, k).state_dict() for k in ("model", "average", "heads", "optimizer")}
        with atomic_path(path) as temporary:
            torch.save(
                {
                    **parts,
                    "generator": self.generator.get_state(),
                    "log": self.log,
                    "step": self.step,
                    "config": json.dumps(asdict(config)),
                    "data": data,
                },
                temporary,
            )

    def load(self, path: Path, config: PretrainConfig, data: str) -> None:
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError) as error:
            raise UserError(
                f"checkpoint {path} cannot be read ({type(error).__name__}); delete it to start again"
            ) from error
        before, now = json.loads(saved["config"]), json.loads(json.dumps(asdict(config)))
        before.pop("autocast", None)  # a setting once
        before["weights"] = {"complete": 0.0, "detail": 0.0, **before["weights"]}  # terms once not known
        before = {"stretch": [0.8, 1.2], "init": None, **before}
        steps = before.pop("steps"), now.pop("steps")
        if before != now:
            raise UserError(
                f"checkpoint {path} was made with another configuration; choose another --out or delete it"
            )
        if saved.get("data", data) != data:  # older ones do not say
            raise UserError(f"checkpoint {path} was made on other data; choose another --out or delete it")
        for name in ("model", "average", "heads", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.generator.set_state(saved["generator"])
        self.log, self.step = saved["log"], saved["step"]
        if steps[0] != steps[1]:
            self.log.append({"step": self.step, "planned_steps_before": steps[0], "planned_steps": steps[1]})


def sampling_weights(series: np.ndarray) -> Tensor:
    """Weight of each object: 1 / sqrt(size of its series), so that long runs of near-twins do not fill the batches."""
    _, inverse, counts = np.unique(series, return_inverse=True, return_counts=True)
    return torch.from_numpy(1.0 / np.sqrt(counts[inverse]))


def mixed_weights(sets: Sequence[PointCloudDataset], shares: Sequence[float]) -> Tensor:
    """Weight of each object of several data sets behind each other, so that each set fills its share of the batches."""
    weights = [sampling_weights(data.series) for data in sets]
    return torch.cat([share * own / own.sum() for share, own in zip(shares, weights, strict=True)])


def pretrain(
    data: PointCloudDataset,
    config: PretrainConfig,
    out: Path,
    ctx: Context,
    probe: Probe | None = None,
    weights: Tensor | None = None,
) -> tuple[PointTransformer, list[dict[str, float]]]:
    """Train on the unlabelled clouds of ``data``; returns the averaged model and its log. ``weights`` (N,) say how often each
    object is drawn, by default as :func:`sampling_weights` has it.

    ``out`` receives ``checkpoint.pt`` every ``probe_every`` steps; a second call goes on from it, also with another
    number of ``steps`` (the schedule is then that of the new number from there on, and the log says so). Raises UserError when
    the checkpoint belongs to another configuration or other data, FloatingPointError when the loss is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    points = data.points
    views = torch.Generator().manual_seed(derive_seed(config.seed, "views"))
    bank = ViewBank.build(points, config.encoder, config.views, views, ctx.progress, config.crop)
    code = canonical_code(points)
    state = _start(config, code.shape[1], ctx)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state.load(checkpoint, config, data.sha256)
    weights = sampling_weights(data.series) if weights is None else weights
    began, first = time.perf_counter(), state.step
    while state.step < config.steps:
        terms = _train_once(state, bank, code, weights, config)
        state.step += 1
        ctx.progress("pre-train", state.step, config.steps)
        if state.step % config.probe_every == 0 or state.step == config.steps:
            rate = (time.perf_counter() - began) / (state.step - first)
            row = {"step": state.step, **terms, "seconds_per_step": round(rate, 4)}
            if probe is not None:
                row["probe"] = probe(state.average.eval())
            state.log.append(row)
            ctx.log.info("%s", json.dumps({k: round(v, 4) for k, v in row.items()}))
            state.save(checkpoint, config, data.sha256)
    return state.average.eval(), state.log


def _start(config: PretrainConfig, code_dim: int, ctx: Context) -> _State:
    torch.manual_seed(derive_seed(config.seed, "weights"))
    model = PointTransformer(config.encoder).to(ctx.device)
    if config.init is not None:
        model.load_state_dict(_weights(config.init, config.encoder))
    heads = Heads(config.encoder, code_dim, config.weights).to(ctx.device)
    for module in (model, heads):
        set_fused_attention(module, ctx.device.type != "cpu")
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = adamw(parameters, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "batches"))
    return _State(model, copy.deepcopy(model), heads, optimizer, generator, [])


def _weights(name: str, encoder: EncoderConfig) -> dict[str, Tensor]:
    source = load_teacher(name)
    if source.config != encoder:
        raise UserError(
            f"pre-training cannot start from {name}: encoder must have its sizes, {asdict(source.config)}"
        )
    return source.state_dict()


def _train_once(
    state: _State, bank: ViewBank, code: Tensor, weights: Tensor, config: PretrainConfig
) -> dict[str, float]:
    generator = state.generator
    index = torch.multinomial(
        weights, config.batch_size, replacement=config.batch_size > len(weights), generator=generator
    )
    pair = torch.randint(0, config.views // 2, (config.batch_size,), generator=generator) * 2
    views = tuple(turn(bank.draw(index, pair + i), generator, config.stretch) for i in (0, 1))
    low, high = config.keep
    share = low + (high - low) * float(torch.rand((), generator=generator))
    state.model.train()
    device = next(state.model.parameters()).device
    with autocast(device):
        loss, terms = objective(
            state.model,
            state.heads,
            (views[0].to(device), views[1].to(device)),
            code[index].to(device),
            config.weights,
            round(share * config.encoder.groups),
            generator,
        )
    rate = learning_rate(state.step, config.steps, peak=config.lr, warmup=config.warmup, floor=FINAL_RATE)
    parameters = [*state.model.parameters(), *state.heads.parameters()]
    what = f"pre-train, step {state.step}"
    train_step(state.optimizer, loss, rate, clip=3.0, what=what, parameters=parameters)
    _average(state.average, state.model, min(config.ema, (1 + state.step) / (10 + state.step)))
    return {"loss": float(loss.detach()), **terms}


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, keep: float) -> None:
    for ours, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if ours.dtype.is_floating_point:
            ours.lerp_(theirs, 1 - keep)
        else:
            ours.copy_(theirs)
