"""Reading and writing teachers: a folder with ``model.safetensors`` (half precision) and ``config.json``.

Public checkpoints are read by :mod:`foundry_bench.teachers.checkpoints`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench import registry
from foundry_bench.border import StrangerError, expected
from foundry_bench.errors import UserError, unknown
from foundry_bench.storage import atomic_path
from foundry_bench.teachers.checkpoints.names import Options, TeacherSource, join_name, split_name

if TYPE_CHECKING:
    from foundry_bench.teachers.transformer import PointTransformer

FORMAT = "foundry-bench teacher 1"
CHUNK = 1 << 20


def teacher_folder(name_or_path: str | Path) -> Path:
    """The folder of a registered teacher or of a path, or a checkpoint file, whose options after ``?`` are left out.

    Raises UserError for an unknown name or option and for a missing folder or file.
    """
    return _locate(name_or_path)[0]


def _locate(name_or_path: str | Path) -> tuple[Path, Options]:
    name, options = split_name(str(name_or_path))
    path = Path(name)
    if path.is_dir():
        return path, options
    if name in registry.entries("teachers"):
        folder = registry.load("teachers", name)
        with registry.guard("teachers", name, "cannot be found"):
            place = folder()
        what = f"what {registry.called('teachers', name)} gives"
        path = Path(expected(place, (str, Path), what))
        if not path.exists():
            raise StrangerError(f"{what}, {path}, does not exist; reinstall or uninstall it")
        return path, options
    if path.is_file():
        return path, options
    if len(path.parts) > 1 or path.suffix:
        raise UserError(
            f"teacher {path} does not exist; give a folder with model.safetensors and config.json, or a checkpoint file"
        )
    raise unknown("teacher", name, registry.entries("teachers"))


def teacher_sha256(name_or_path: str | Path) -> str:
    """SHA-256 of a teacher's weights file, or of the file and the options for a checkpoint with options; torch is not
    imported.

    Raises UserError when the file is missing.
    """
    path, options = _locate(name_or_path)
    weights = path if path.is_file() else path / "model.safetensors"
    try:
        digest = _sha256(weights, weights.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(
            f"teacher weights {weights} cannot be read ({error.strerror}); reinstall or pre-train again"
        ) from error
    if not options.query:
        return digest
    return hashlib.sha256(f"{digest}?{options.query}".encode()).hexdigest()


@lru_cache
def _sha256(path: Path, _modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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


def load_teacher(
    name_or_path: str | Path,
    branch: str | None = None,
    *,
    heads: int | None = None,
    groups: int | None = None,
    group_size: int | None = None,
    points: int | None = None,
    up: str | None = None,
) -> PointTransformer:
    """A frozen teacher in eval mode, single precision, with its ``source``.

    ``name_or_path``: a registered name, a folder of ours, or a public checkpoint of Point-JEPA, point2vec, Point-MAE, ACT or
    Point-BERT, pre-trained or fine-tuned (``.ckpt``, ``.pth``, ``.pt``, or their weights as ``.safetensors``). The other
    arguments are for checkpoints and may also stand in the name, ``FILE?branch=ema&groups=128``: ``branch`` chooses between
    the two encoders of checkpoints that hold two, ``student`` (default) or ``ema``; ``heads`` of attention, ``groups`` of
    ``group_size`` points and ``points`` per cloud cannot be read from the weights. Checkpoints were trained on clouds with y
    up; here z is up in all data sets, and the encoder is turned accordingly. ``up="y"`` leaves it as it was trained.

    Raises UserError for a missing or truncated file, for an unknown format or layout, for weights that do not fit and for a
    file that holds more than weights. No code in a file is run.
    """
    path, named = _locate(name_or_path)
    options = named.merged(
        branch=branch, heads=heads, groups=groups, group_size=group_size, points=points, up=up
    )
    name = join_name(split_name(str(name_or_path))[0], options)
    if path.is_file():
        from foundry_bench.teachers.checkpoints.building import load_checkpoint

        return load_checkpoint(path, options, name, teacher_sha256(name))
    if options.query:
        raise UserError(
            f"teacher {name}: this teacher has one encoder of known sizes; leave {', '.join(options.given)} out, which is for "
            "public checkpoint files"
        )
    return _read_folder(path, name)


def read_card(folder: Path) -> dict[str, Any]:
    """The ``config.json`` beside the weights in ``folder``: sizes, provenance and what was measured on them; torch is not
    imported. Raises UserError when it cannot be read."""
    try:
        card: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder}/config.json cannot be read ({error}); reinstall or pre-train again"
        ) from error
    return card


def _read_folder(folder: Path, name: str) -> PointTransformer:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from foundry_bench.encoder import EncoderConfig
    from foundry_bench.teachers.transformer import PointTransformer

    config = read_card(folder)
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
    model.source = TeacherSource(name, "foundry-bench", "student", found)
    return model.eval().requires_grad_(False)
