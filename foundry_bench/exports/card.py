"""What an exported folder says of itself: where it comes from, how a cloud is prepared for it, and what was verified."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports.parity import LEAST_R2, TOLERANCE, Parity
from foundry_bench.selectors import selector_text
from foundry_bench.teachers.cards import read_card
from foundry_bench.teachers.weights import teacher_folder
from foundry_bench.variants import BASELINE, OFF_THE_SHELF

FORMAT = "foundry-bench export 1"
KEY = "foundry_bench"
"""Where the card stands in an ONNX model's own metadata, as JSON."""
PACKAGES = ("foundry-bench", "torch", "onnx", "onnxscript", "onnxruntime", "executorch")
PREPARATION = {
    "up": "z",
    "points": "thinned at random to sizes.points where there are more",
    "normalize": "subtract the centroid, divide by the largest norm",
    "centers": "farthest point sampling of sizes.groups points, from point 0, ties to the lowest index",
    "neighborhoods": "the sizes.group_size nearest points of each centre, in any order, minus the centre",
}


@dataclass(frozen=True)
class Graph:
    """What was exported: the ``model`` file, its ``runtime``, its ``form`` and ``batch`` (see
    :class:`~foundry_bench.exports.graph.Form`), its ``opset`` where it has one, and how close it is to the student."""

    model: str
    runtime: str
    form: str
    batch: int | None
    opset: int | None
    parity: Parity
    int8: bool = False


def card_of(encoder: Encoder, graph: Graph, dataset: str) -> dict[str, Any]:
    """The content of ``export.json``, without what depends on the files. ``dataset``: that of the golden clouds."""
    student, teacher = student_of(encoder), teacher_of(encoder)
    config, parity = encoder.config, graph.parity
    return {
        "format": FORMAT,
        "runtime": graph.runtime,
        "model": graph.model,
        "student": student,
        "teacher": teacher,
        "licence": licence_of(teacher["name"]),
        "sizes": {
            "groups": config.groups,
            "group_size": config.group_size,
            "points": config.points,
            "dim": config.dim,
        },
        "inputs": {
            "centers": ["batch", config.groups, 3],
            "neighborhoods": ["batch", config.groups, config.group_size, 3],
        },
        "outputs": {
            "tokens": ["batch", config.groups, config.dim],
            "descriptor": ["batch", 2 * config.dim],
        },
        "preparation": PREPARATION,
        "batch": graph.batch,
        "form": FORMS[graph.form],
        "opset": graph.opset,
        "int8": graph.int8,
        "parity": {
            "against": "the PyTorch student" if not graph.int8 else "the float PyTorch student",
            "clouds": parity.clouds,
            "dataset": dataset,
            "max_difference": parity.difference,
            "relative": parity.share,
            "tolerance": TOLERANCE,
            "r2": parity.r2,
            "least_r2": LEAST_R2,
        },
        "versions": versions(),
    }


FORMS = {
    "plain": "plain",
    "packed": "packed: runs only the rows that a cloud needs",
    "masked": "masked: full cost, every row runs for every cloud",
}


def student_of(encoder: Encoder) -> dict[str, Any] | None:
    """The method and parameters of a student; those of ``teacher`` for a teacher; None for an encoder of no known origin."""
    origin = encoder.origin
    if origin is None:
        if getattr(encoder, "source", None) is None:
            return None
        return {
            "method": BASELINE,
            "version": None,
            "params": {},
            "variant": OFF_THE_SHELF,
            "selector": BASELINE,
        }
    method = origin.method
    shown = method.shown(method.params())
    variant = origin.variant if len(method.variants) > 1 else None
    return {
        "method": method.name,
        "version": method.version,
        "params": method.params(),
        "variant": origin.variant,
        "selector": selector_text(method.name, shown, variant),
    }


def teacher_of(encoder: Encoder) -> dict[str, str | None]:
    """Name and hash of the teacher that a student was made from, or of the teacher itself; None each where unknown."""
    if encoder.origin is not None:
        return {"name": encoder.origin.teacher, "sha256": encoder.origin.teacher_sha256}
    source = getattr(encoder, "source", None)
    return {"name": getattr(source, "name", None), "sha256": getattr(source, "sha256", None)}


def licence_of(teacher: str | None) -> str | None:
    """The licences of the clouds that a teacher was trained on, as an SPDX expression; None where its card does not say."""
    if teacher is None:
        return None
    try:
        folder = teacher_folder(teacher)
        data = read_card(folder, "").get("data") if folder.is_dir() else None
    except UserError:
        return None
    terms = [entry.get("licence") for entry in data or [] if isinstance(entry, dict)]
    parts = [part for term in terms if isinstance(term, str) for part in term.split(" AND ")]
    return " AND ".join(dict.fromkeys(parts)) or None


def versions() -> dict[str, str | None]:
    """The versions of the packages that took part, None for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def write_into_model(path: Path, card: dict[str, Any]) -> None:
    """Repeat the card in the metadata of an ONNX model, for whoever is handed the model alone."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: json.dumps(card)})
    onnx.save(model, path)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write ``export.json`` beside the finished files of ``folder``, with the hash and size of each."""
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    (folder / "export.json").write_text(json.dumps({**card, "files": files}, indent=2) + "\n")
