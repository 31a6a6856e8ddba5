"""Opening a checkpoint file without running anything in it: tensors and plain numbers come out, nothing else does."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foundry_bench.errors import UserError

WRAPPERS = ("state_dict", "base_model", "model_state_dict", "model")
"""Keys under which public checkpoints keep their weights."""
PREFIXES = ("module.", "_orig_mod.", "base_model.", "model.")
"""What wrappers of a model (DataParallel, torch.compile) put before every key."""
FOREIGN = (
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
    "python -c \"import sys, torch; from safetensors.torch import save_file; c = torch.load(sys.argv[1], 'cpu', "
    "weights_only=False); s = c.get('state_dict') or c.get('base_model') or c; "
    'save_file({k: v.clone().contiguous() for k, v in s.items()}, sys.argv[2])" IN OUT.safetensors'
)
"""Re-saves the weights of a file that is trusted, for files that hold more than weights."""


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by their names in the file, without wrappers; the plain ``hyper_parameters`` stored beside them."""

    tensors: dict[str, Tensor]
    hyper_parameters: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.safetensors`` file, or what ``torch.save`` wrote. Raises UserError, without the path, for anything else."""
    if path.stat().st_size == 0:
        raise UserError("the file is empty; download it again")
    if path.suffix == ".safetensors":
        return Checkpoint(_unwrapped(_read_safetensors(path)))
    saved = _read_torch(path)
    hyper_parameters = saved.get("hyper_parameters") if isinstance(saved, dict) else None
    plain = hyper_parameters if isinstance(hyper_parameters, dict) else {}
    return Checkpoint(_unwrapped(saved), {str(key): value for key, value in plain.items()})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"the file cannot be read ({_first_line(error)}); download it again") from error


def _read_torch(path: Path) -> Any:
    try:
        with _placeholders(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = foreign_globals(path)
        if not found and "GLOBAL" not in str(error):
            raise UserError("the file is no checkpoint, or damaged; download it again") from error
        strange = [name for name in found if name.split(".")[0] not in FOREIGN] or found
        raise UserError(
            f"the file holds Python objects ({', '.join(strange[:3]) or 'of an unknown kind'}), which are not read because "
            f"they could run code; where you trust it, save its weights again with {RECIPE}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(
            f"the file is damaged or no checkpoint ({_first_line(error)}); download it again"
        ) from error


def foreign_globals(path: Path) -> list[str]:
    """Full names of what a zip file of ``torch.save`` refers to besides torch's own; nothing of it is imported or run."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            operations = list(pickletools.genops(archive.read(member)))
    except (zipfile.BadZipFile, StopIteration, ValueError, OSError):
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
        keys = ", ".join(str(key) for key in list(seen)[:5]) or type(saved).__name__
        raise UserError(f"the file holds no weights (seen: {keys}); give the checkpoint of an encoder")
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
