"""From the name of a data set, with parameters where it takes some, or the path of a folder of clouds, to its content."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from foundry_bench import registry
from foundry_bench.border import expected
from foundry_bench.datasets import embedded_reader
from foundry_bench.datasets.dataset import PointCloudDataset, check_whole
from foundry_bench.datasets.generated import GeneratedDataset
from foundry_bench.datasets.halves import read_half
from foundry_bench.datasets.lazy import Progress, silent
from foundry_bench.datasets.official.base import OfficialDataset
from foundry_bench.errors import UserError, no_folder
from foundry_bench.parameters.named import bare_name, build_one, parse_part

ROOT = Path("data")
"""Where official data sets are looked for when no other folder is named."""

UNREADABLE = "cannot be read"
"""What is said of a plugin's data set that raises."""


def load_dataset(name: str, root: Path = ROOT, progress: Progress = silent) -> PointCloudDataset:
    """A registered data set, official ones from below ``root``, or a folder: prepared by ``data prepare``, or of cloud files.

    ``progress`` hears of files that are read once and kept. Raises UserError for an unknown name or parameter and for data
    that is missing or damaged.
    """
    if (half := read_half(name)) is not None:
        return half.of(load_dataset(half.base, root, progress))
    if is_folder(name):
        return _load_folder(Path(name), progress)
    rule = generated(name)
    source: Any = None if rule is not None else registered(name)
    bare = bare_name(name)
    with registry.guard("datasets", bare, UNREADABLE):
        if rule is not None:
            found = rule.load()
        else:
            found = source().load(root, progress) if is_official(source) else source()
    given = f"what data set {bare!r} gives"
    data = cast(PointCloudDataset, expected(found, PointCloudDataset, given))
    return data if registry.built_in("datasets", bare) else check_whole(data, given)


def dataset_sha256(name: str, root: Path = ROOT) -> str:
    """Hash of a data set; all but folders tell it without their points being read or made."""
    if (half := read_half(name)) is not None:
        return half.sha256(dataset_sha256(half.base, root))
    if name in embedded_reader.EMBEDDED:
        folder = embedded_reader.embedded_folder(name)
        about = embedded_reader.read_description(folder, "reinstall foundry-bench")
        return embedded_reader.data_hash(
            {file: about["files"][file]["sha256"] for file in about["data_files"]}
        )
    if is_folder(name):
        return load_dataset(name, root).sha256
    bare = bare_name(name)
    if (rule := generated(name)) is not None:
        with registry.guard("datasets", bare, UNREADABLE):
            found: Any = rule.sha256
    elif is_official(source := registered(name)):
        with registry.guard("datasets", bare, UNREADABLE):
            found = source().sha256(root)
    else:
        found = load_dataset(name, root).sha256
    return cast(str, expected(found, str, f"the hash of data set {bare!r}"))


def resolved(name: str) -> str:
    """The name with every parameter of a data set that takes some; any other name as it is, known or not."""
    if (half := read_half(name)) is not None:
        return replace(half, base=resolved(half.base)).selector
    rule = None if is_folder(name) else generated(name)
    return name if rule is None else rule.selector


def generated(name: str) -> GeneratedDataset | None:
    """The data set that a rule makes, as ``procedural[clouds=1000]`` asks for it; None for any other name, known or not.

    Raises UserError for parameters that it does not take, or for any of a data set that takes none.
    """
    bare = bare_name(name)
    if bare not in registry.entries("datasets"):
        return None
    source = registry.load("datasets", bare)
    part = parse_part(name)
    if isinstance(source, type) and issubclass(source, GeneratedDataset):
        with registry.guard("datasets", bare, "cannot be used"):
            return cast(GeneratedDataset, build_one(source, part))
    if part.values:
        raise UserError(f"the data set {bare} takes no parameters; write {bare} instead of {name}")
    return None


def registered(name: str) -> Any:
    """What is registered as ``name``: a class of :class:`OfficialDataset` or :class:`GeneratedDataset`, or a function
    without arguments."""
    known = registry.entries("datasets")
    if name not in known:
        error = no_folder("data folder", name, f"give a folder of clouds or one of {', '.join(known)}")
        if error is not None:
            raise error
    return registry.load("datasets", name)


def is_official(source: Any) -> bool:
    """Whether a registered data set is one that the user has to fetch."""
    return isinstance(source, type) and issubclass(source, OfficialDataset)


def is_folder(name: str) -> bool:
    """Whether ``name`` is meant as a folder: registered names win over folders that are called the same."""
    return bare_name(name) not in registry.entries("datasets") and os.path.isdir(name)


def _load_folder(path: Path, progress: Progress) -> PointCloudDataset:
    if (path / "dataset.json").exists():
        return embedded_reader.load_prepared(path)
    from foundry_bench.datasets.folder import load_folder

    return load_folder(path, progress=progress)
