"""What a sweep was asked to do: one dataclass, read from and written to ``sweep.yaml``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from annotated_types import Ge, Le, MinLen

from foundry_bench.beforehand import plugin_files
from foundry_bench.beforehand.checks import LARGEST_SEED, check_path
from foundry_bench.beforehand.configuration import STRICT, read_yaml, schema, shown, validated
from foundry_bench.datasets.catalog import resolved
from foundry_bench.errors import UserError, unknown
from foundry_bench.parameters.text import unquoted
from foundry_bench.runtimes.columns import EAGER
from foundry_bench.selectors import Grid, split_selectors

SWEEPS = "sweeps"
"""Folder of the package with ready-made sweep files; ``--config paper`` finds ``paper.yaml`` there."""
SETTLED = ("teacher", "dataset", "budget", "distill_on", "device")
"""Keys that must stay the same in one results folder; the others may be widened by a later run."""
DEFAULT = "default"
"""In place of a task: all that are run where none is named."""
NONE = "none"
"""In place of a task: students are made and measured, and not evaluated."""
HOW = ("engine", "jobs", "threads", "memory", "timeout", "track", "no_memory")
"""Keys that say how cells are run and reported, and nothing of what they are."""


@dataclass(frozen=True)
class Table:
    """One comparison of a sweep that makes several: its rows and columns. ``about`` says what it shows."""

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    methods: Annotated[tuple[str, ...], MinLen(1)]
    tasks: Annotated[tuple[str, ...], MinLen(1)]
    about: str = ""


LISTS = ("methods", "tasks", "dataset", "track", "runtime")
"""Keys that hold several names."""
EXAMPLE = "tasks: [fewshot]"
Text = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(1), Le(10**6)]


@dataclass(frozen=True)
class SweepConfig:
    """One sweep. The command line wins over the YAML file, the file over these defaults.

    ``methods`` are selectors such as ``foundry[supertokens=1,4]+fmd`` and ``tasks`` such as
    ``classification[mode=finetune]:modelnet40``, ``default``, ``all`` or ``none``. ``dataset`` is for tasks that name none;
    empty means each task's own data sets. ``distill_on`` is the unlabelled data set that students are trained on. Data sets are
    registered names or folders; official ones lie below ``data_root``. ``tables`` are several comparisons in place
    of one, which share their students. ``engine`` may have parameters, as in ``ray[address=10.0.0.1:6379]``; ``threads``,
    ``memory`` in GB and ``timeout`` in seconds are per cell. ``track`` are trackers that hear of every cell.
    ``grid`` says which rows the bare name of a method stands for: a few at matched cost, or its ``full`` grid.
    ``plugins`` are files of methods and tasks that are not installed, their paths from the folder where the command runs.
    ``runtime`` are what latency is measured in; PyTorch as it is written, ``eager``, always is. ``no_memory`` leaves out peak
    memory of the rows that are measured; those that are recorded stay as they are.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    methods: Annotated[tuple[Text, ...], MinLen(1)] = ("all",)
    tasks: Annotated[tuple[Text, ...], MinLen(1)] = (DEFAULT,)
    teacher: Text = "small"
    dataset: tuple[Text, ...] = ()
    budget: str = "quick"
    seeds: Annotated[int, Ge(1), Le(LARGEST_SEED)] = 1
    distill_on: Text = "pretrain"
    data_root: Text = "data"
    device: Text = "cpu"
    engine: Text = "local"
    jobs: Count | None = None
    threads: Count | None = None
    memory: Annotated[float, Ge(0.1), Le(1e9)] | None = None
    timeout: Annotated[float, Ge(1e-3), Le(1e9)] = 6 * 3600.0
    track: tuple[Text, ...] = ()
    tables: tuple[Table, ...] = ()
    grid: Grid = "default"
    runtime: tuple[Text, ...] = (EAGER,)
    plugins: tuple[Text, ...] = ()
    no_memory: bool = False

    @classmethod
    def about_to_run(cls, file: Path | None, options: dict[str, Any]) -> SweepConfig:
        """:meth:`from_sources` with the plugin files of both put to use; all that are in use then are named in it.

        Raises UserError, also for a plugin file that is gone.
        """
        written = {} if file is None else read_yaml(packaged(file), EXAMPLE)
        for values, where in ((written, f"in {file}"), (options, "")):
            for text in cls.from_plain({"plugins": values.get("plugins") or []}, where).plugins:
                try:
                    plugin_files.use(text)
                except UserError as error:
                    raise UserError(f"plugins {where}: {error}" if where else str(error)) from error
        there = [plugin_files.shown(one) for one in plugin_files.files() if one.is_file()]
        return cls.from_sources(file, {**options, "plugins": there})

    @classmethod
    def from_sources(cls, file: Path | None, options: dict[str, Any]) -> SweepConfig:
        """Merge ``options`` (None: not given) over the YAML ``file``. Raises UserError for keys nobody
        knows.
        """
        values = read_yaml(packaged(file), EXAMPLE) if file is not None else {}
        chosen = options.pop("tables", None)
        for key in ("methods", "tasks"):
            if values.get("tables") and options.get(key) is not None:
                raise UserError(f"{file} makes several tables; choose some with --tables instead of --{key}")
        cls.from_plain(values, f"in {file}")  # what the file says wrongly is told with its name
        config = cls.from_plain(values | {k: v for k, v in options.items() if v is not None})
        if chosen is None:
            return config
        if not isinstance(chosen, str):
            raise UserError(f"tables must be names of tables joined by commas, got {shown(chosen)}")
        return replace(config, tables=_chosen(config.tables, tuple(split_selectors(chosen))))

    @classmethod
    def from_plain(cls, values: dict[str, Any], where: str = "") -> SweepConfig:
        """Build from YAML or JSON values, in which a list of names may also be written as one text.

        Raises UserError for a key or a value that a sweep does not take; ``where`` tells its reader where it stands.
        """
        made = {k: _items(v) if k in LISTS else v for k, v in values.items()}
        if isinstance(plugins := values.get("plugins"), str | list):
            made["plugins"] = (plugins,) if isinstance(plugins, str) else tuple(plugins)
        if isinstance(values.get("dataset"), str) and isinstance(made["dataset"], tuple):
            made["dataset"] = tuple(map(unquoted, made["dataset"]))
        if "tables" in values:
            made["tables"] = _tables(values["tables"], where)
        if isinstance(distill_on := values.get("distill_on"), str):
            made["distill_on"] = resolved(distill_on)
        if isinstance(data_root := values.get("data_root"), str):
            check_path(data_root, "data_root")
        return validated(cls, made, where)

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
    ready = Path(str(files("foundry_bench") / SWEEPS / f"{file.stem}.yaml"))
    return ready if len(file.parts) == 1 and not file.exists() and ready.exists() else file


def json_schema() -> dict[str, Any]:
    """The JSON schema of a sweep file, in which a list of names may be one text and tables stand by their names."""
    described = schema(SweepConfig)
    keys = described["properties"]
    for name in (*LISTS, "plugins"):
        keys[name]["anyOf"] = [{"type": "string"}, {"type": "array", "items": keys[name].pop("items")}]
        del keys[name]["type"]
    table = described["$defs"]["Table"]
    del table["properties"]["name"]
    table["required"].remove("name")
    for name in table["required"]:
        table["properties"][name] = {"anyOf": keys[name]["anyOf"]}
    keys["tables"] = {"type": "object", "additionalProperties": {"$ref": "#/$defs/Table"}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def _tables(content: object, where: str) -> tuple[Table, ...]:
    """The tables of a sweep file: name -> methods, tasks and about."""
    wanted = {"methods", "tasks"}
    if not isinstance(content, dict) or not all(
        isinstance(t, dict) and wanted <= set(t) <= wanted | {"about"} for t in content.values()
    ):
        raise UserError("tables must map names to methods, tasks and, if you like, about")
    return tuple(
        validated(Table, {"name": name, **{k: _items(v) if k in wanted else v for k, v in t.items()}}, where)
        for name, t in content.items()
    )


def _chosen(tables: tuple[Table, ...], names: tuple[str, ...]) -> tuple[Table, ...]:
    known = {table.name: table for table in tables}
    for name in names:
        if name not in known:
            raise unknown("table", name, known)
    return tuple(known[name] for name in dict.fromkeys(names))


def _items(value: object) -> object:
    """Names as a tuple: those of one text, those of a list, none of null. Anything else, a text without names among it, is left
    to be refused."""
    if isinstance(value, str):
        return tuple(split_selectors(value)) or value
    if isinstance(value, list):
        return tuple(value)
    return () if value is None else value
