"""What the clouds of an evaluation are to an encoder before its blocks run, kept for the encoders that come after it.

All encoders with patches of one size cut a cloud into the same patches, and all that keep the teacher's frozen tokenizer
make the same tokens of them. Either is found by its content: clouds, sizes, device, threads, and for tokens the tokenizer's
weights. What cannot be kept, on a full disk, or read again is made anew.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foundry_bench.encoder import Embedding, Encoder, TokenEncoder
from foundry_bench.points.patches import Patches
from foundry_bench.storage import atomic_path
from foundry_bench.teachers.tensors import content_hash

FOLDER = "groupings"
MOST = 4 * 10**9
"""Bytes that are kept in one folder."""
SPARE = 10**9
"""Bytes of the disk that are left to others."""


class Grouped:
    """Runs ``encoder`` on clouds, with what is kept of them in ``cache``, a folder or None.

    Only what every encoder has in common is kept: one with a ``tokenize`` or ``embed`` of its own, or whose tokenizer may be
    trained, makes them itself. The encoder stays on the device where it is.
    """

    def __init__(self, encoder: Encoder, cache: Path | None) -> None:
        self.encoder = encoder
        common = cache is not None and type(encoder).tokenize is Encoder.tokenize
        self.folder = cache / FOLDER if cache is not None and common else None
        shared = self.folder is not None and _shared(encoder)
        self.tokenizer = content_hash(encoder.get_submodule("tokenizer"))[:16] if shared else None
        self.left = MOST - _size(self.folder) if self.folder is not None else 0

    def __call__(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """The rows (B, T, D) that the encoder gives to the patches of ``clouds`` (B, P, 3), and their centres (B, T, 3)."""
        if self.folder is None or clouds.dim() != 3 or clouds.shape[1] < 1:
            patches = self.encoder.tokenize(clouds)
            return self.encoder(patches).features, patches.centers
        key = self._key(clouds)
        if self.tokenizer is None:
            patches = Patches(*self._kept(f"patches-{key}", clouds, self._patches))
            return self.encoder(patches).features, patches.centers
        encoder = self.encoder
        assert isinstance(encoder, TokenEncoder)
        embedding = Embedding(*self._kept(f"tokens-{key}-{self.tokenizer}", clouds, self._embedding))
        return encoder.encode(embedding).features, embedding.centers

    def _key(self, clouds: Tensor) -> str:
        config = self.encoder.config
        how = (tuple(clouds.shape), str(clouds.dtype), config.groups, config.group_size, clouds.device.type)
        digest = hashlib.sha256(repr((*how, torch.get_num_threads())).encode())
        digest.update(clouds.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:24]

    def _patches(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.encoder.tokenize(clouds)
        return patches.neighborhoods, patches.centers

    def _embedding(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.encoder, TokenEncoder)
        embedding = self.encoder.embed(self.encoder.tokenize(clouds))
        return embedding.tokens, embedding.centers

    def _kept(
        self, name: str, clouds: Tensor, make: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """The two tensors of this ``name`` from the folder, on the clouds' device; made and written where it has none."""
        assert self.folder is not None
        file = self.folder / f"{name}.npz"
        try:
            with np.load(file, allow_pickle=False) as found:
                first, second = (
                    torch.from_numpy(found[part]).to(clouds.device) for part in ("rows", "centers")
                )
            return first, second
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            first, second = make(clouds)
        self._write(file, first, second)
        return first, second

    def _write(self, file: Path, rows: Tensor, centers: Tensor) -> None:
        size = 4 * (rows.numel() + centers.numel())
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if size > self.left or shutil.disk_usage(file.parent).free < size + SPARE:
                return
            with atomic_path(file, durable=False) as temporary, temporary.open("wb") as stream:
                np.savez(stream, rows=rows.cpu().numpy(), centers=centers.cpu().numpy())
        except OSError:  # it is made again by the next encoder
            return
        self.left -= size


def _shared(encoder: Encoder) -> bool:
    """Whether tokens are made by a tokenizer that stays as it is: the teacher's own, or a student's that keeps it."""
    own = type(encoder)
    if not issubclass(own, TokenEncoder) or (own.embed, own.forward) != (
        TokenEncoder.embed,
        TokenEncoder.forward,
    ):
        return False
    assert isinstance(encoder, TokenEncoder)
    return not any(parameter.requires_grad for parameter in encoder.tokenizer.parameters())


def _size(folder: Path) -> int:
    """Bytes of the files in ``folder``."""
    return sum(path.stat().st_size for path in folder.glob("*.npz")) if folder.is_dir() else 0
