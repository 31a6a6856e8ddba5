"""An exported folder as an encoder, so that tasks score the graph itself, its runtime and its eight bits included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from foundry_bench.encoder import Encoder, EncoderConfig, Tokens
from foundry_bench.errors import UserError
from foundry_bench.exports.card import FORMAT
from foundry_bench.exports.session import Session
from foundry_bench.points.patches import Patches
from foundry_bench.storage import read_json
from foundry_bench.teachers.cards import shown

FIX = "export it again"
"""What to do about an exported folder that is damaged."""
MODEL = "model.onnx"
CARD = "export.json"
"""The file that makes a folder an exported one."""


class RuntimeEncoder(Encoder):
    """The graph of an exported ``folder``, run by ONNX Runtime on the CPU, a cloud at a time, so that none depends on another.

    It has no weights that PyTorch knows: nothing to train, count or save. ``teacher``: name and hash, by its card, of the
    teacher that it was made from. Raises UserError for a folder that is none, or whose graph is for another runtime.
    """

    runtime = "onnxruntime"

    def __init__(self, folder: Path | str, threads: int = 1) -> None:
        super().__init__()
        self.folder, self.threads = Path(folder), threads
        card = read_export(self.folder)
        self.config = sizes_in(self.folder, card)
        self.teacher = teacher_in(card)
        self.session = Session(self.folder, threads)

    @property
    def in_torch(self) -> None:
        return None

    @property
    def content(self) -> bytes:
        """The bytes of the ONNX file."""
        return (self.folder / MODEL).read_bytes()

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        """Tokens of the patches. Raises UserError where ``levels`` are asked for, which exported graphs do not give."""
        if levels:
            raise UserError(
                "an exported graph gives the last tokens alone and this task reads earlier ones too; choose another task"
            )
        centers, neighborhoods = (array.cpu().numpy() for array in (patches.centers, patches.neighborhoods))
        rows = [
            torch.from_numpy(self.session(centers[i : i + 1], neighborhoods[i : i + 1])[0])
            for i in range(len(patches))
        ]
        none = patches.centers.new_zeros(0, self.config.groups, self.config.dim)
        return Tokens(torch.cat(rows).to(patches.centers.device) if rows else none)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.session = Session(self.folder, self.threads)


def is_exported(folder: Path | str) -> bool:
    """Whether ``folder`` looks like an exported one."""
    return (Path(folder) / CARD).is_file()


def read_export(folder: Path) -> dict[str, Any]:
    """The card of an exported folder. Raises UserError for one that cannot be read or is of another format or runtime."""
    try:
        card = read_json(folder / CARD)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CARD} cannot be read ({shown(error)}); {FIX}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{folder / CARD} is not of the format {FORMAT!r}; {FIX}")
    if card.get("runtime") != "onnxruntime":
        raise UserError(
            f"{folder} is for {shown(card.get('runtime'))}, and only ONNX Runtime is run here; export with --format onnx"
        )
    return card


def teacher_in(card: dict[str, Any]) -> tuple[str | None, str | None]:
    """Name and hash of the teacher that a card names, None each for what it does not."""
    about = card.get("teacher")
    found = [about.get(name) if isinstance(about, dict) else None for name in ("name", "sha256")]
    name, sha256 = (value if isinstance(value, str) else None for value in found)
    return name, sha256


def sizes_in(folder: Path, card: dict[str, Any]) -> EncoderConfig:
    """The sizes that a card names, as far as patches and tokens go. Raises UserError."""
    sizes = card.get("sizes")
    names = ("dim", "groups", "group_size", "points")
    if not isinstance(sizes, dict) or any(type(sizes.get(name)) is not int for name in names):
        raise UserError(f"{folder / CARD} has no sizes {', '.join(names)}; {FIX}")
    try:
        return EncoderConfig(heads=1, **{name: sizes[name] for name in names})
    except UserError as error:
        raise UserError(f"{folder / CARD}: {error}; {FIX}") from error
