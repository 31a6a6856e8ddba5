"""The door of an encoder's folder, the part with torch: weights are finite numbers that fit, and nothing larger than what the
file holds is built from the sizes beside them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.teachers.cards import LARGEST_WEIGHTS, check_file, first_line, of_card, shown

SLACK = 4
"""How many times as many numbers as a file holds are built from its sizes before they are compared: where a layer is missing,
or one too many, the error names it."""
SPARE = 1 << 22
"""Numbers that building may take in any case: those of a tiny encoder."""
LISTED = 3


def read_tensors(path: Path, fix: str) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file by name. Raises UserError, with ``fix`` in its line, for a file that is none."""
    check_file(path, LARGEST_WEIGHTS, fix)
    try:
        return load_file(path)
    except Exception as error:  # the border of one file: whatever the library raises is about this file
        raise UserError(f"{path} cannot be read ({first_line(error)}); {fix}") from error


def numbers(tensors: Mapping[str, Tensor]) -> int:
    """How many numbers ``tensors`` hold together."""
    return sum(value.numel() for value in tensors.values())


def sizes_of(folder: Path, card: Mapping[str, Any]) -> EncoderConfig:
    """The encoder's sizes in the ``card`` of ``folder``. Raises UserError, with the file's name, for those that cannot be."""
    sizes = of_card(folder, card, "encoder", dict, "the encoder's sizes")
    try:
        return EncoderConfig.from_dict(sizes)
    except UserError as error:
        raise UserError(f"{folder}/config.json: {error}") from error


class Allotment(TorchDispatchMode):
    """Inside, new tensors (``torch.empty``, ``torch.randn`` and their kin) may hold ``most`` numbers together.

    Raises UserError before memory is taken for more. Parameters are made by these; what is computed from other tensors is
    not counted.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.left = most, most + SPARE

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in FACTORIES and str(kwargs.get("device")) != "meta":
            self.left -= math.prod(args[0])
            if self.left < 0:
                raise UserError(
                    f"its sizes ask for more than the {self.most:,} numbers that go with these weights"
                )
        return func(*args, **kwargs)


_ATEN = torch.ops.aten
FACTORIES = frozenset((_ATEN.empty, _ATEN.zeros, _ATEN.ones, _ATEN.full, _ATEN.rand, _ATEN.randn))
"""Operators that make a tensor of the size that is their first argument."""


def load_exactly(
    model: nn.Module, state: Mapping[str, Tensor], in_file: Callable[[str], str] = lambda name: name
) -> None:
    """Load ``state`` into ``model``, all of it into all of it.

    Raises UserError, with names as ``in_file`` has them, for weights that are unknown, missing, of another shape or kind, or
    not finite.
    """
    wanted = model.state_dict()
    problems = {
        "unknown": [in_file(name) for name in state if name not in wanted],
        "missing": [in_file(name) for name in wanted if name not in state],
        "wrong shape:": [
            f"{in_file(name)} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
            for name, value in wanted.items()
            if name in state and state[name].shape != value.shape
        ],
        "wrong kind:": [
            f"{in_file(name)} is {_kind(state[name])}, not {_kind(value)}"
            for name, value in wanted.items()
            if name in state and state[name].is_floating_point() != value.is_floating_point()
        ],
    }
    listed = [
        f"{what} {', '.join(map(shown, names[:LISTED]))}{', ...' if len(names) > LISTED else ''}"
        for what, names in problems.items()
        if names
    ]
    if listed:
        raise UserError("; ".join(listed))
    model.load_state_dict(dict(state))
    for name in not_finite(model.state_dict()):  # as loaded: a number may be too large for the encoder's type
        raise UserError(f"{shown(in_file(name))} has NaN or infinite values")


def not_finite(state: Mapping[str, Tensor]) -> Iterator[str]:
    """The names of the tensors that hold NaN or infinite values."""
    return (n for n, value in state.items() if value.is_floating_point() and not value.isfinite().all())


def check_finite(state: Mapping[str, Tensor], refused: str) -> None:
    """Raise UserError ``REFUSED: ...`` where weights that are to be written hold NaN or infinite values."""
    for name in not_finite(state):
        raise UserError(
            f"{refused}: {name} has NaN or infinite values: training has diverged; train again with a lower learning rate"
        )


def content_hash(module: nn.Module) -> str:
    """What a module computes with, as a hash: the classes of its parts and its weights by name."""
    digest = hashlib.sha256(repr([type(part).__qualname__ for part in module.modules()]).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
