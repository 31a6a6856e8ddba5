"""What a sweep was asked to do: one dataclass, read from and written to ``sweep.yaml``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from foundry_bench.datasets.catalog import resolved
from foundry_bench.errors import UserError, unknown
from foundry_bench.selectors import split_selectors

SWEEPS = "sweeps"
"""Folder of the package with ready-made sweep files; ``--config paper`` finds ``paper.yaml`` there."""
SETTLED = ("teacher", "dataset", "budget", "distill_on", "device")
"""Keys that must stay the same in one results folder; the others may be widened by a later run."""
DEFAULT = "default"
"""In place of a task: all that are run where none is named."""
HOW = ("engine", "jobs", "threads", "memory", "timeout", "track")
"""Keys that say how cells are run and reported, and nothing of what they are."""


@dataclass(frozen=True)
class Table:
    """One comparison of a sweep that makes several: its rows and columns. ``about`` says what it shows."""

    name: str
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    about: str = ""


NUMBERS: dict[str, tuple[Any, float]] = {
    "seeds": (int, 1),
    "jobs": (int, 1),
    "threads": (int, 1),
    "memory": (int | float, 0.1),
    "timeout": (int | float, 1e-3),
}
"""Key of a sweep -> its type and the least that it may be."""


@dataclass(frozen=True)
class SweepConfig:
    """One sweep. The command line wins over the YAML file, the file over these defaults.

    ``methods`` are selectors such as ``foundry[supertokens=1,4]+fmd`` and ``tasks`` such as
    ``classification[mode=finetune]:modelnet40``, ``default`` or ``all``. ``dataset`` is for tasks that name none; empty means
    each task's own data sets. ``distill_on`` is the unlabelled data set that students are trained on. Data sets are
    registered names or folders; official ones lie below ``data_root``. ``tables`` are several comparisons in place
    of one, which share their students. ``engine`` may have parameters, as in ``ray[address=10.0.0.1:6379]``; ``threads``,
    ``memory`` in GB and ``timeout`` in seconds are per cell. ``track`` are trackers that hear of every cell.
    """

    methods: tuple[str, ...] = ("all",)
    tasks: tuple[str, ...] = (DEFAULT,)
    teacher: str = "small"
    dataset: tuple[str, ...] = ()
    budget: str = "quick"
    seeds: int = 1
    distill_on: str = "pretrain"
    data_root: str = "data"
    device: str = "cpu"
    engine: str = "local"
    jobs: int | None = None
    threads: int | None = None
    memory: float | None = None
    timeout: float = 6 * 3600.0
    track: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()

    def __post_init__(self) -> None:
        for key, (kind, least) in NUMBERS.items():
            value = getattr(self, key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or value < least:
                what = "a whole number" if kind is int else "a number"
                raise UserError(f"{key} must be {what} of at least {least:g}, got {value!r}")

    @classmethod
    def from_sources(cls, file: Path | None, options: dict[str, Any]) -> SweepConfig:
        """Merge ``options`` (None: not given) over the YAML ``file``. Raises UserError for keys nobody
        knows.
        """
        values = read_yaml(packaged(file)) if file is not None else {}
        chosen = options.pop("tables", None)
        for key in ("methods", "tasks"):
            if values.get("tables") and options.get(key) is not None:
                raise UserError(f"{file} makes several tables; choose some with --tables instead of --{key}")
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown(f"key in {file}", key, known)
        values.update({k: v for k, v in options.items() if v is not None})
        config = cls.from_plain(values)
        return config if chosen is None else replace(config, tables=_chosen(config.tables, _items(chosen)))

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> SweepConfig:
        """Build from YAML or JSON values, in which a list of names may also be written as one text."""
        lists = ("methods", "tasks", "dataset", "track")
        made = {k: _items(v) if k in lists else v for k, v in values.items()}
        if "tables" in values:
            made["tables"] = _tables(values["tables"])
        if isinstance(distill_on := values.get("distill_on"), str):
            made["distill_on"] = resolved(distill_on)
        return cls(**made)  # type: ignore[arg-type]

    def to_yaml(self) -> str:
        """The text of ``sweep.yaml``."""
        return yaml.safe_dump(self.to_plain(), sort_keys=False, width=110)

    def to_plain(self) -> dict[str, Any]:
        """JSON and YAML values that :meth:`from_plain` reads."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        plain["tables"] = {
            t.name: {"about": t.about, "methods": list(t.methods), "tasks": list(t.tasks)}
            for t in self.tables
        }
        if self.tables:
            del plain["methods"], plain["tasks"]
        else:
            del plain["tables"]
        return plain

    @property
    def comparisons(self) -> tuple[Table, ...]:
        """The tables, or the one that ``methods`` and ``tasks`` make."""
        return self.tables or (Table("", self.methods, self.tasks),)

    def differing(self, other: SweepConfig) -> list[str]:
        """Keys in which ``other`` is a different sweep and not a wider one."""
        return [key for key in SETTLED if getattr(self, key) != getattr(other, key)]

    @property
    def default_out(self) -> Path:
        """``results/<tasks>-<budget>``, or ``results/tables-<budget>``."""
        name = "tables" if self.tables else "-".join(self.tasks)
        return Path("results") / f"{re.sub('[^A-Za-z0-9._-]+', '-', name).strip('-')}-{self.budget}"


def packaged(file: Path) -> Path:
    """``file``, or the sweep of that name that comes with the package."""
    ready = Path(str(files("foundry_bench") / SWEEPS / file.with_suffix(".yaml").name))
    return ready if not file.exists() and len(file.parts) == 1 and ready.exists() else file


def _tables(content: object) -> tuple[Table, ...]:
    """The tables of a sweep file: name -> methods, tasks and about."""
    wanted = {"methods", "tasks"}
    if not isinstance(content, dict) or not all(
        isinstance(t, dict) and wanted <= set(t) <= wanted | {"about"} for t in content.values()
    ):
        raise UserError("tables must map names to methods, tasks and, if you like, about")
    return tuple(
        Table(str(name), _items(t["methods"]), _items(t["tasks"]), str(t.get("about", "")))
        for name, t in content.items()
    )


def _chosen(tables: tuple[Table, ...], names: tuple[str, ...]) -> tuple[Table, ...]:
    known = {table.name: table for table in tables}
    for name in names:
        if name not in known:
            raise unknown("table", name, known)
    return tuple(known[name] for name in dict.fromkeys(names))


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML mapping. Raises UserError when the file cannot be read or is no mapping."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file} must hold keys and values such as 'tasks: [fewshot]'")
    return values


def _items(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(split_selectors(value))
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if value is None:
        return ()
    raise UserError(f"expected a name or a list of names, got {value!r}")
