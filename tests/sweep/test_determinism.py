"""The same sweep gives the same scores, bit by bit, by every engine: what a cell draws depends on the cell alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_engine_conformance import command

METHODS = "lucky,distilled,teacher-copy[scale=1.0,2.0],teacher-copy+halving,foundry[supertokens=2]+fmd,kmeans[clusters=3]"
"""A method that draws from the global generators, trained and untrained ones, a stack, and real methods on a tiny teacher."""


def results(out: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((out / "cells").glob("*/*.json")):
        if ".spec." not in path.name:
            record = json.loads(path.read_text())
            assert record["identity"]["status"] == "ok", record["identity"]
            fidelity = {k: v for k, v in (record["fidelity"] or {}).items() if k != "seconds"}
            found[path.name] = (fidelity, record["scores"])
    return found


def test_all_engines_give_the_same_numbers(plugins: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sweep = {"teacher": "tiny", "distill_on": "blobs", "tasks": "spread", "methods": METHODS, "jobs": 2}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    runs = {}
    for engine in ("serial", "local", "ray"):
        out = tmp_path / engine
        done = subprocess.run(
            command(out, "--config", str(tmp_path / "sweep.yaml"), "--engine", engine),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        runs[engine] = results(out)
    assert len(runs["serial"]) > 10
    assert runs["serial"] == runs["local"]
    assert runs["serial"] == runs["ray"]
