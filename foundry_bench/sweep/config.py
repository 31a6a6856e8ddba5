"""What a sweep was asked to do: one dataclass, read from and written to ``sweep.yaml``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from foundry_bench.errors import UserError
from foundry_bench.registry import split_selectors, unknown

SETTLED = ("teacher", "dataset", "budget", "distill_on", "device")
"""Keys that must stay the same in one results folder; the others may be widened by a later run."""


@dataclass(frozen=True)
class SweepConfig:
    """One sweep. The command line wins over the YAML file, the file over these defaults.

    ``methods`` are selectors and ``tasks`` names, or ``all``. An empty ``dataset`` means each task's own data
    sets. ``distill_on`` is the unlabelled data set that students are trained on. ``timeout`` is in seconds
    per cell.
    """

    methods: tuple[str, ...] = ("all",)
    tasks: tuple[str, ...] = ("all",)
    teacher: str = "small"
    dataset: tuple[str, ...] = ()
    budget: str = "quick"
    seeds: int = 1
    distill_on: str = "pretrain"
    device: str = "cpu"
    engine: str = "local"
    jobs: int | None = None
    timeout: float = 6 * 3600.0

    def __post_init__(self) -> None:
        for key, least in (("seeds", 1), ("jobs", 1), ("timeout", 1e-3)):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, int | float) or value < least):
                raise UserError(f"{key} must be a number of at least {least:g}, got {value!r}")

    @classmethod
    def from_sources(cls, file: Path | None, options: dict[str, Any]) -> SweepConfig:
        """Merge ``options`` (None: not given) over the YAML ``file``. Raises UserError for keys nobody
        knows.
        """
        values = read_yaml(file) if file is not None else {}
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown(f"key in {file}", key, known)
        values.update({k: v for k, v in options.items() if v is not None})
        return cls.from_plain(values)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> SweepConfig:
        """Build from YAML or JSON values, in which a list of names may also be written as one text."""
        lists = ("methods", "tasks", "dataset")
        return cls(**{k: _items(v) if k in lists else v for k, v in values.items()})  # type: ignore[arg-type]

    def to_yaml(self) -> str:
        """The text of ``sweep.yaml``."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return yaml.safe_dump(plain, sort_keys=False)

    def differing(self, other: SweepConfig) -> list[str]:
        """Keys in which ``other`` is a different sweep and not a wider one."""
        return [key for key in SETTLED if getattr(self, key) != getattr(other, key)]

    @property
    def default_out(self) -> Path:
        """``results/<tasks>-<budget>``."""
        return Path("results") / f"{'-'.join(self.tasks)}-{self.budget}"


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
