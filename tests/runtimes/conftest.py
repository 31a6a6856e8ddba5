"""An exported teacher and student of a tiny size."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foundry_bench.datasets import load_kicad
from foundry_bench.encoder import Encoder
from foundry_bench.teachers.transformer import PointTransformer
from tests.conftest import TINY


def exported(encoder: Encoder, folder: Path, method: str, params: dict[str, int]) -> Path:
    """A folder as ``foundry-bench export`` writes it, as far as it is read here."""
    pytest.importorskip("onnxruntime")
    from foundry_bench.exports import to_onnx
    from foundry_bench.exports.golden import golden_of

    folder.mkdir()
    golden = golden_of(encoder, load_kicad())
    to_onnx(encoder, folder / "model.onnx", batch=1, golden=golden)
    np.savez(folder / "golden.npz", **golden.arrays())
    card = {
        **{
            "format": "foundry-bench export 1",
            "runtime": "onnxruntime",
            "model": "model.onnx",
            "int8": False,
        },
        "student": {"method": method, "version": "1", "params": params, "variant": "fmd"},
        "teacher": {"name": "tiny", "sha256": "t" * 64},
        "files": {"model.onnx": {"sha256": sha256(folder / "model.onnx")}},
    }
    (folder / "export.json").write_text(json.dumps(card))
    return folder


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A teacher of three blocks, and a student that has one of them."""
    place = tmp_path_factory.mktemp("exports")
    torch.manual_seed(0)
    found = {}
    for method, depth in (("teacher", 3), ("truncate", 1)):
        encoder = PointTransformer(replace(TINY, depth=depth)).eval().requires_grad_(False)
        params = {"blocks": depth} if method == "truncate" else {}
        found[method] = exported(encoder, place / method, method, params)
    return found
