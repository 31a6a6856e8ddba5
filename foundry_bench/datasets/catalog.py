"""From the name of a data set, or the path of a folder of clouds, to its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundry_bench import registry
from foundry_bench.datasets import embedded_reader
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.lazy import Progress, silent
from foundry_bench.datasets.official.base import OfficialDataset
from foundry_bench.errors import UserError

ROOT = Path("data")
"""Where official data sets are looked for when no other folder is named."""


def load_dataset(name: str, root: Path = ROOT, progress: Progress = silent) -> PointCloudDataset:
    """A registered data set, official ones from below ``root``, or a folder: prepared by ``data prepare``, or of cloud files.

    ``progress`` hears of files that are read once and kept. Raises UserError for an unknown name and for data that is
    missing or damaged.
    """
    if is_folder(name):
        return _load_folder(Path(name), progress)
    source = registered(name)
    return source().load(root, progress) if is_official(source) else source()


def dataset_sha256(name: str, root: Path = ROOT) -> str:
    """Hash of a data set; embedded and official ones tell it without their points being read."""
    if name in embedded_reader.EMBEDDED:
        folder = embedded_reader.embedded_folder(name)
        about = embedded_reader.read_description(folder, "reinstall foundry-bench")
        return embedded_reader.data_hash(
            {file: about["files"][file]["sha256"] for file in about["data_files"]}
        )
    if not is_folder(name) and is_official(source := registered(name)):
        return source().sha256(root)
    return load_dataset(name, root).sha256


def registered(name: str) -> Any:
    """What is registered as ``name``: a class of :class:`OfficialDataset`, or a function without arguments."""
    known = registry.entries("datasets")
    if name not in known and len(Path(name).parts) > 1:
        raise UserError(
            f"data folder {name} does not exist; give a folder of clouds or one of {', '.join(known)}"
        )
    return registry.load("datasets", name)


def is_official(source: Any) -> bool:
    """Whether a registered data set is one that the user has to fetch."""
    return isinstance(source, type) and issubclass(source, OfficialDataset)


def is_folder(name: str) -> bool:
    """Whether ``name`` is meant as a folder: registered names win over folders that are called the same."""
    return name not in registry.entries("datasets") and Path(name).is_dir()


def _load_folder(path: Path, progress: Progress) -> PointCloudDataset:
    if (path / "dataset.json").exists():
        return embedded_reader.load_prepared(path)
    from foundry_bench.datasets.folder import load_folder

    return load_folder(path, progress=progress)
