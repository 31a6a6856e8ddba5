"""What a search has decided, in ``search.json``, and cells that its folders share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from foundry_bench.beforehand.checks import check_folder
from foundry_bench.errors import UserError
from foundry_bench.storage import read_sealed, sealed, write_atomic
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import plan
from foundry_bench.sweep.shapes import shape
from foundry_bench.sweep.store import Store

FILE = "search.json"


class _Dropped(TypedDict, total=False):
    """What searches did not tell at first."""

    dropped: dict[str, float]


class StateFile(_Dropped):
    """The fields of :class:`SearchState`."""

    asked: dict[str, Any]
    spent: float
    rungs: list[list[str]]
    tried: list[str]
    winner: str | None


@dataclass
class SearchState:
    """``asked``: what must not change. ``spent``: seconds. ``rungs``: selectors that entered each rung, and in the last list
    those that may be put to tasks. ``tried``: those that were, with all starts. ``winner``: whom the confirmation is of.
    ``dropped``: of those that were not, because their first start kept too little, what it kept."""

    asked: dict[str, Any]
    spent: float = 0.0
    rungs: list[list[str]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    winner: str | None = None
    dropped: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, config: SweepConfig, asked: dict[str, Any]) -> SearchState:
        """The state of the search in ``folder``, a new one where there is none. Nothing is written.

        Raises UserError for a folder that holds something else, or a search of something else.
        """
        check_folder(folder, "--out")
        store = Store(folder)
        store.check(config)
        found = cls.read(folder)
        if found is None:
            if store.sweep_file.exists():
                raise UserError(f"{folder} holds a sweep that is no search; choose another --out")
            return cls(asked)
        differing = [key for key in asked if found.asked.get(key) != asked[key]]
        if differing:
            raise UserError(
                f"{folder} holds a search with another {' and '.join(differing)}; "
                f"choose another --out, e.g. {folder}-2"
            )
        return found

    @classmethod
    def read(cls, folder: Path) -> SearchState | None:
        """The state in ``folder``, None where there is none. Raises UserError where it is not as it was written."""
        try:
            content = read_sealed(folder / FILE)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            content = None
        if not shape(StateFile)(content):
            raise UserError(f"{folder / FILE} is not as it was written; choose another --out")
        return cls(**cast(StateFile, content))

    def save(self, folder: Path) -> None:
        """Write it."""
        write_atomic(folder / FILE, sealed(asdict(self)))


def adopt(target: Store, config: SweepConfig, sources: Sequence[Store]) -> None:
    """Give ``target`` the finished cells of its sweep ``config`` that ``sources`` hold, and the tokens that they have cached.

    Files are linked where that is possible, which costs no space, else copied. None is ever changed in place.
    """
    target.check(config)
    target.claim(config)
    for source in sources:
        for tokens in source.cache.glob("tokens-*"):
            if (tokens / "done").exists():
                _link_folder(tokens, target.cache / tokens.name)
    for cell in plan(config).cells:
        if target.record_path(cell.kind, cell.id).exists():
            continue
        owner = next((s for s in sources if s.finished(cell.kind, cell.id)), None)
        if owner is not None:
            _adopt_cell(target, owner, cell.kind, cell.id)


def _adopt_cell(target: Store, source: Store, kind: str, cell_id: str) -> None:
    """What a record needs comes before it, so that a record is never there alone."""
    if source.student_folder(cell_id).is_dir():
        _link_folder(source.student_folder(cell_id), target.student_folder(cell_id))
    for suffix in (".npz", ".json"):
        file = source.beside(kind, cell_id, suffix)
        if file.exists():
            goal = target.beside(kind, cell_id, suffix)
            goal.parent.mkdir(parents=True, exist_ok=True)
            _link(file, goal)


def _link_folder(source: Path, goal: Path) -> None:
    if goal.exists():
        return
    temporary = goal.with_name(f".{goal.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary, copy_function=_link)
    temporary.replace(goal)


def _link(source: str | Path, goal: str | Path) -> None:
    """A second name of a file, or a copy on systems without such names."""
    Path(goal).unlink(missing_ok=True)
    try:
        os.link(source, goal)
    except OSError:
        shutil.copy2(source, goal)
