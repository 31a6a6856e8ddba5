"""Opening a checkpoint file without running anything in it: tensors and plain numbers come out, nothing else does."""

from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundry_bench.errors import UserError
from foundry_bench.teachers.cards import LARGEST_WEIGHTS, check_file, first_line, shown
from foundry_bench.teachers.tensors import read_tensors

FIX = "download it again"
"""What to do about a checkpoint that is damaged."""
WRAPPERS = ("state_dict", "base_model", "model_state_dict", "model")
"""Keys under which public checkpoints keep their weights."""
PREFIXES = ("module.", "_orig_mod.", "base_model.", "model.")
"""What wrappers of a model (DataParallel, torch.compile) put before every key."""
FOREIGN = (
    "argparse",
    "easydict",
    "jsonargparse",
    "lightning",
    "lightning_fabric",
    "numpy",
    "omegaconf",
    "pathlib",
    "point2vec",
    "pointjepa",
    "pytorch_lightning",
    "torchmetrics",
    "typing",
)
"""Packages whose objects lie beside the weights of public checkpoints: Point-MAE keeps its accuracy as a NumPy number,
point2vec its data modules. They are replaced by empty stand-ins and never imported."""
RECIPE = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "d = lambda c: c.state_dict() if hasattr(c, 'state_dict') else c; "
    "v = lambda c: list(c.values()) if hasattr(c, 'items') else list(c) if isinstance(c, (list, tuple)) else []; "
    "n = lambda c: sum(map(torch.is_tensor, v(c))) * hasattr(c, 'items'); "
    "f = lambda c: max([c, *(f(d(x)) for x in v(c) if not torch.is_tensor(x))], key=n); "
    "s = f(d(torch.load(sys.argv[1], 'cpu', weights_only=False))); "
    'save_file({str(k): t.detach().clone().contiguous() for k, t in s.items() if torch.is_tensor(t)}, sys.argv[2])" '
    "IN OUT.safetensors"
)
"""Re-saves the weights of a file that is trusted, for files that hold more than weights: of all dictionaries and models in it,
however deep, the one with most tensors."""


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by their names in the file, without wrappers; the plain ``hyper_parameters`` stored beside them."""

    tensors: dict[str, Tensor]
    hyper_parameters: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` file, or what ``torch.save`` wrote. Raises UserError for anything else."""
    check_file(path, LARGEST_WEIGHTS, FIX)
    if path.suffix == ".safetensors":
        return Checkpoint(_unwrapped(read_tensors(path, FIX)))
    saved = _read_torch(path)
    hyper_parameters = saved.get("hyper_parameters") if isinstance(saved, dict) else None
    plain = hyper_parameters if isinstance(hyper_parameters, dict) else {}
    return Checkpoint(_unwrapped(saved), {str(key): value for key, value in plain.items()})


def _read_torch(path: Path) -> Any:
    _check_archive(path)
    try:
        with _placeholders(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = foreign_globals(path)
        if not found and "GLOBAL" not in str(error):
            raise UserError(f"the file is no checkpoint, or damaged; {FIX}") from error
        strange = [name for name in found if name.split(".")[0] not in FOREIGN] or found
        raise UserError(
            f"the file holds Python objects ({', '.join(map(shown, strange[:3])) or 'of an unknown kind'}), which are not read "
            f"because they could run code; where you trust it, save its weights again with {RECIPE}"
        ) from error
    except Exception as error:  # the border of one file: whatever the library raises is about this file
        raise UserError(f"the file is damaged or no checkpoint ({first_line(error)}); {FIX}") from error


def _check_archive(path: Path) -> None:
    """Raise UserError for a zip file that is larger inside than outside: ``torch.save`` compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception:  # what torch.save wrote before it wrote zip files; or damaged, which the reader says
        return
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError(
            f"the file is a compressed archive, which torch.save does not write; unpack it or {FIX}"
        )


def foreign_globals(path: Path) -> list[str]:
    """Full names of what a zip file of ``torch.save`` refers to besides torch's own; nothing of it is imported or run."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            operations = list(pickletools.genops(archive.read(member)))
    except Exception:  # no zip file, no pickle in it, or a damaged one: the caller says so
        return []
    names = {str(arg).replace(" ", ".", 1) for operation, arg, _ in operations if operation.name == "GLOBAL"}
    return sorted(n for n in names if n.split(".")[0] not in ("torch", "collections", "_codecs"))


def _placeholders(path: Path) -> AbstractContextManager[Any]:
    """Let ``torch.load`` put stand-ins where the file refers to one of the packages in ``FOREIGN``."""
    wanted = [name for name in foreign_globals(path) if name.split(".")[0] in FOREIGN]
    if not wanted or not hasattr(torch.serialization, "safe_globals"):  # torch 2.4
        return nullcontext()
    return torch.serialization.safe_globals([_placeholder(name) for name in wanted])


def _placeholder(full_name: str) -> type:
    """A class that goes by ``full_name``, swallows whatever it is made from and does nothing."""
    module, _, name = full_name.rpartition(".")
    members = {
        "__module__": module,
        "__qualname__": name,
        "__new__": lambda cls, *args, **kwargs: object.__new__(cls),
        "__init__": lambda self, *args, **kwargs: None,
        "__setstate__": lambda self, state: None,
    }
    return type(name, (), members)


def _unwrapped(saved: Any) -> dict[str, Tensor]:
    """The tensors in ``saved`` by name, without dictionaries around them and without prefixes that all names share."""
    for _ in range(len(WRAPPERS)):
        inner = [
            saved[key] for key in WRAPPERS if isinstance(saved, dict) and isinstance(saved.get(key), dict)
        ]
        if not inner:
            break
        saved = inner[0]
    seen = saved if isinstance(saved, dict) else {}
    tensors = {str(key): value for key, value in seen.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(shown(key) for key in list(seen)[:5]) or type(saved).__name__
        raise UserError(f"the file holds no weights (seen: {keys}); give the checkpoint of an encoder")
    for name, value in tensors.items():
        if not _is_plain(value):
            raise UserError(
                f"{shown(name)} is no plain tensor with numbers of its own but an expanded, sparse or quantised one; save the "
                "file again with .clone()"
            )
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _is_plain(value: Tensor) -> bool:
    """Whether ``value`` has as many numbers as the file holds for it, so that copies of it take no more memory."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
