"""Data sets that a rule makes as they are asked for, from parameters that stand in the name: ``procedural[clouds=1000]``."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import ClassVar

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.parameters.named import bracketed, values_text
from foundry_bench.parameters.types import hold


@dataclass(frozen=True)
class GeneratedDataset(ABC):
    """Base of every generated data set; its fields are its parameters.

    Attributes:
        name: as registered.
        version: increase it when the same parameters give other clouds.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        """Hold the values to the annotations of their fields. Raises WrongValueError."""
        hold(self, self.name)

    @property
    def selector(self) -> str:
        """The name with all parameters, by which it is known everywhere: ``procedural[clouds=150000,seed=0,points=2048]``."""
        return bracketed(self.name, values_text(asdict(self)))

    @property
    def sha256(self) -> str:
        """Hash of the data set, from what determines it: no cloud is made."""
        made_from = {"name": self.name, "version": self.version, **asdict(self)}
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def load(self) -> PointCloudDataset:
        """The data set, named :attr:`selector`, of hash :attr:`sha256`; its clouds are made when they are indexed."""
