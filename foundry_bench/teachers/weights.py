"""Reading and writing teachers: a folder with ``model.safetensors`` (half precision) and ``config.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.storage import atomic_path

if TYPE_CHECKING:
    from foundry_bench.teachers.transformer import PointTransformer

FORMAT = "foundry-bench teacher 1"


def teacher_folder(name_or_path: str | Path) -> Path:
    """The folder of a registered teacher or of a path. Raises UserError for an unknown name or a missing folder."""
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if str(name_or_path) in registry.entries("teachers"):
        return Path(registry.load("teachers", str(name_or_path))())
    if len(path.parts) > 1 or path.suffix:
        raise UserError(
            f"teacher folder {path} does not exist; give a folder with model.safetensors and config.json"
        )
    raise registry.unknown("teacher", str(name_or_path), registry.entries("teachers"))


def teacher_sha256(name_or_path: str | Path) -> str:
    """SHA-256 of a teacher's weights file, without importing torch. Raises UserError when the file is missing."""
    path = teacher_folder(name_or_path) / "model.safetensors"
    try:
        return _sha256(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(
            f"teacher weights {path} cannot be read ({error.strerror}); reinstall or pre-train again"
        ) from error


@lru_cache
def _sha256(path: Path, _modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_teacher(model: PointTransformer, folder: Path, provenance: dict[str, Any]) -> None:
    """Write the weights in half precision with their sizes and ``provenance`` (command, data hash, log)."""
    from safetensors.torch import save_file

    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as path:
        save_file({k: v.cpu().contiguous() for k, v in state.items()}, path)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    config = {"format": FORMAT, "sha256": digest, "encoder": asdict(model.config), **provenance}
    with atomic_path(folder / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n")


def load_teacher(name_or_path: str | Path, branch: str = "student") -> PointTransformer:
    """A frozen teacher in eval mode, single precision.

    ``branch`` chooses between the two encoders of checkpoints that hold two; ours hold one. Raises UserError for a missing
    or truncated file (both SHA-256 named), an unknown format or weights that do not fit the sizes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from foundry_bench.encoder import EncoderConfig
    from foundry_bench.teachers.transformer import PointTransformer

    if branch != "student":
        raise UserError(
            f"this teacher has one encoder; branch {branch!r} exists only in Point-JEPA checkpoints"
        )
    folder = teacher_folder(name_or_path)
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder}/config.json cannot be read ({error}); reinstall or pre-train again"
        ) from error
    if config.get("format") != FORMAT:
        raise UserError(f"{folder} is no teacher of this version (format {config.get('format')!r})")
    found = teacher_sha256(folder)
    if found != config["sha256"]:
        raise UserError(
            f"{folder}/model.safetensors is damaged: expected SHA-256 {config['sha256'][:12]}…, found {found[:12]}…; "
            "reinstall or pre-train again"
        )
    model = PointTransformer(EncoderConfig.from_dict(config["encoder"]))
    try:
        model.load_state_dict(
            {
                k: v.float() if v.is_floating_point() else v
                for k, v in load_file(folder / "model.safetensors").items()
            }
        )
    except (SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{folder}/model.safetensors does not fit its config.json: {str(error).splitlines()[0]}"
        ) from error
    return model.eval().requires_grad_(False)
