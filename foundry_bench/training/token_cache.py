"""Views of the unlabelled set as the teacher sees them, made once and kept in memory-mapped files.

Students with the teacher's frozen tokenizer (:class:`~foundry_bench.encoder.TokenEncoder`) start from the cached tokens and
pay for their short encoder only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from foundry_bench.context import Context, derive_seed
from foundry_bench.encoder import Embedding, Encoder, EncoderConfig, TokenEncoder, Tokens
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.progress import SHARED
from foundry_bench.storage import reserve
from foundry_bench.teachers.tensors import content_hash
from foundry_bench.training.precision import autocast, precision
from foundry_bench.training.views import ViewBank, random_turns, transformed

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

HELD_OUT = 10
"""Every tenth object (by hash of its path) is never trained on; fidelity is measured on these."""


@dataclass(frozen=True)
class TokenCache:
    """Memory-mapped views of the unlabelled set, half precision: patches, the teacher's tokenizer output and its features.

    Arrays (N, V, ...); ``held_out`` (N,) marks the objects that no student is trained on. ``parts`` (N, V, T) are the labels
    of the patches, of a data set whose points have labels.
    """

    neighborhoods: np.ndarray
    centers: np.ndarray
    tokens: np.ndarray
    features: np.ndarray
    held_out: np.ndarray
    parts: np.ndarray | None = None

    def patches(self, rows: np.ndarray, views: np.ndarray) -> Patches:
        """Patches of some objects in some views."""
        return Patches(_float(self.neighborhoods[rows, views]), _float(self.centers[rows, views]))

    def embedding(self, rows: np.ndarray, views: np.ndarray) -> Embedding:
        """What the teacher's tokenizer makes of them."""
        return Embedding(_float(self.tokens[rows, views]), _float(self.centers[rows, views]))

    def target(self, rows: np.ndarray, views: np.ndarray) -> Tokens:
        """What the teacher makes of them."""
        return Tokens(_float(self.features[rows, views]))


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


ARRAYS = ("neighborhoods", "centers", "tokens", "features")
FIRST, WHOLE = "first", "done"
"""Empty files that show which part of the cache is made: held-out objects in their first view, and all."""


def token_cache(
    teacher: TokenEncoder, data: PointCloudDataset, views: int, ctx: Context, *, whole: bool = True
) -> TokenCache:
    """The cached views of ``data`` for ``teacher``; made once per teacher, data set, number of views and
    precision.

    Without ``whole`` only the held-out objects in their first view have to be there, which is all that fidelity needs: they
    are made first, in a fortieth of the time. Concurrent processes wait for the one that makes it. Raises UserError when the
    disk is full.
    """
    made_from = [
        content_hash(teacher),
        asdict(teacher.config),
        data.sha256,
        views,
        str(precision(ctx.device)),
    ]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    folder = (ctx.cache or ctx.scratch) / f"tokens-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for part in (FIRST, WHOLE) if whole else (FIRST,):
        if (folder / part).exists():
            continue
        with _alone(FileLock(f"{folder}.lock"), ctx):
            if not (folder / part).exists():
                try:
                    _fill_cache(folder, part, teacher, data, views, ctx)
                except OSError as error:
                    raise UserError(
                        f"cannot cache teacher tokens in {folder}: {error}; free some disk space"
                    ) from error
    return TokenCache(**_arrays(folder, "r"), held_out=held_out(data))


@contextmanager
def _alone(lock: FileLock, ctx: Context) -> Iterator[None]:
    """Hold a lock, and say so while somebody else does."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        ctx.progress(f"{SHARED}: another cell makes them", 0, 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def held_out(data: PointCloudDataset) -> np.ndarray:
    """Mask (N,) of the objects kept from training."""
    return np.array([derive_seed(0, "held-out", str(path)) % HELD_OUT == 0 for path in data.paths])


def calibration_patches(encoder: Encoder, data: PointCloudDataset, clouds: int) -> Patches:
    """Patches of ``clouds`` objects spread over those that students train on: never of held-out ones."""
    rows = np.flatnonzero(~held_out(data))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(clouds, len(rows))).round().astype(int))]
    points = torch.from_numpy(data.points[rows, : encoder.config.points].astype(np.float32))
    return encoder.tokenize(points.to(next(encoder.parameters()).device))


def _array_on_disk(file: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new array in a file that has all its bytes: a full disk is an error here and not a signal later."""
    array = np.lib.format.open_memmap(file, "w+", dtype, shape)
    with file.open("rb+") as handle:
        reserve(handle.fileno(), array.offset + array.nbytes)
    return array


def cache_bytes(config: EncoderConfig, clouds: int, views: int) -> int:
    """Bytes that :func:`token_cache` writes for so many clouds."""
    patch = 3 * config.group_size + 3 + 2 * config.dim
    return 2 * clouds * views * config.groups * patch


@torch.inference_mode()
def _fill_cache(
    folder: Path, part: str, teacher: TokenEncoder, data: PointCloudDataset, views: int, ctx: Context
) -> None:
    """Fill the ``part`` FIRST of the arrays in ``folder``, or what WHOLE has besides; all views are drawn either way."""
    generator = torch.Generator().manual_seed(derive_seed(0, "distillation views", data.sha256))
    total, first = len(data.points), part == FIRST
    size = f"{SHARED}, {cache_bytes(teacher.config, total, views) / 1e6:,.0f} MB"
    what = f"{size}: held-out objects" if first else size
    wanted = torch.from_numpy(held_out(data))[:, None] & (torch.arange(views) == 0)
    wanted = wanted if first else ~wanted
    # Where no category names its parts, there is no task whose expert could learn them.
    parts = data.parts if data.part_names else None
    arrays = (
        _new_arrays(folder, teacher.config, (total, views), parts is not None)
        if first
        else _arrays(folder, "r+")
    )
    # On disk from the start, so that a data set larger than memory is cached too.
    bank = ViewBank(
        **{name: torch.from_numpy(a) for name, a in arrays.items() if name not in ("tokens", "features")}
    )
    ViewBank.build(
        *(data.points, teacher.config, views, generator),
        lambda _, done, total: ctx.progress(f"{what}, grouping", done, total),
        into=bank,
        labels=parts,
        only=wanted,
    )
    teacher.eval().to(ctx.device)
    for start in range(0, total, 32):
        rows = torch.arange(start, min(start + 32, total))
        for view in range(views):
            matrix, chosen = random_turns(len(rows), generator), wanted[rows, view]
            if not chosen.any():
                continue
            # Whole batches, but for the few of the first part: a row's last digit may depend on how many there are.
            batch, matrix = (rows[chosen], matrix[chosen]) if first else (rows, matrix)
            patches = transformed(bank.draw(batch, torch.full_like(batch, view)), matrix)
            with autocast(ctx.device):
                embedding = teacher.embed(patches.to(ctx.device))
                features = teacher.encode(embedding).features
            made = (patches.neighborhoods, patches.centers, embedding.tokens, features)
            for name, value in zip(ARRAYS, made, strict=True):
                found = value.float().cpu().numpy()
                arrays[name][rows[chosen].numpy(), view] = found if first else found[chosen.numpy()]
        ctx.progress(what, int(rows[-1]) + 1, total)
    for array in arrays.values():
        array.flush()
    (folder / part).touch()


def _new_arrays(
    folder: Path, config: EncoderConfig, size: tuple[int, int], parts: bool
) -> dict[str, np.memmap]:
    """Empty arrays of ``size`` (N, V) in the files of ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    each = (*size, config.groups)
    shapes = {
        "neighborhoods": (*each, config.group_size, 3),
        "centers": (*each, 3),
        "tokens": (*each, config.dim),
        "features": (*each, config.dim),
    }
    arrays = {
        name: _array_on_disk(folder / f"{name}.npy", np.float16, shape) for name, shape in shapes.items()
    }
    if parts:
        arrays["parts"] = _array_on_disk(folder / "parts.npy", np.int16, each)
    return arrays


def _arrays(folder: Path, mode: Literal["r", "r+"]) -> dict[str, np.memmap]:
    """The arrays in ``folder``, to be read (``r``) or written too (``r+``)."""
    return {path.stem: np.load(path, mmap_mode=mode) for path in folder.glob("*.npy")}
