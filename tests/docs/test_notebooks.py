"""The notebooks run from the first cell to the last, on a checkpoint in the official layout and on a tiny teacher."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
SMALLER = {
    "compress-a-checkpoint": {'BUDGET = "quick"': 'BUDGET = "quick/20"'},
    "write-a-method": {
        'BUDGET = "quick"': 'BUDGET = "quick/20"',
        'TEACHER = "small"': 'TEACHER = "tiny/small"',
    },
}
"""What the cell of parameters says here, by notebook."""
SHORTER = """
from foundry_bench.cost.report import profile

profile.__kwdefaults__["seconds"] = 0.02
"""


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, world: Path, tiny_weights: Path) -> None:
    (world / "tiny").symlink_to(tiny_weights)
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    for theirs, ours in SMALLER[path.stem].items():
        assert theirs in cell.source
        cell.source = cell.source.replace(theirs, ours)
    cell.source += SHORTER
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(world)}}).execute()
    said = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()))
    assert "R2" in said
    assert "of the multiply-adds" in said


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
