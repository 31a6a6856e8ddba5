"""From the name of a data set, with parameters where it takes some, or the path of a folder of clouds, to its content."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from foundry_bench import registry
from foundry_bench.border import expected
from foundry_bench.datasets import embedded_reader
from foundry_bench.datasets.dataset import PointCloudDataset, check_whole
from foundry_bench.datasets.folders.options import FolderOptions, join_folder, split_folder
from foundry_bench.datasets.generated import GeneratedDataset
from foundry_bench.datasets.halves import read_half
from foundry_bench.datasets.lazy import Progress, silent
from foundry_bench.datasets.official.base import OfficialDataset
from foundry_bench.errors import UserError, no_folder
from foundry_bench.parameters.named import bare_name, build_one, parse_part
from foundry_bench.parameters.query import split_query

if TYPE_CHECKING:
    from foundry_bench.datasets.folders.understood import Understood

ROOT = Path("data")
"""Where official data sets are looked for when no other folder is named."""

PREPARED = "dataset.json"
"""The file that tells a folder which ``data prepare`` wrote."""
UNREADABLE = "cannot be read"
"""What is said of a plugin's data set that raises."""


def load_dataset(name: str | Path, root: Path = ROOT, progress: Progress = silent) -> PointCloudDataset:
    """A registered data set, official ones from below ``root``, or a folder: prepared by ``data prepare``, or of cloud files.

    ``progress`` hears of files that are read once and kept. Raises UserError for an unknown name or parameter and for data
    that is missing or damaged.
    """
    name = os.fspath(name)
    if (half := read_half(name)) is not None:
        return half.of(load_dataset(half.base, root, progress))
    if is_folder(name):
        return _load_folder(name, progress)
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
    """The name with every parameter of a data set that takes some, of a folder with its options in order; any other name as it
    is, known or not."""
    if (half := read_half(name)) is not None:
        return replace(half, base=resolved(half.base)).selector
    if is_folder(name):
        return join_folder(*split_folder(name))
    rule = generated(name)
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
        if (path := folder_of(name)) in known:
            raise UserError(
                f"{path} takes no options such as {name[len(path) :][:60]}, which are for folders of clouds; write {path}"
            )
        error = no_folder("data folder", path, f"give a folder of clouds or one of {', '.join(known)}")
        if error is not None:
            raise error
        try:
            registry.check_known("datasets", name)
        except UserError as missed:
            raise UserError(f"{missed}; there is no folder of that name either") from None
    return registry.load("datasets", name)


def is_official(source: Any) -> bool:
    """Whether a registered data set is one that the user has to fetch."""
    return isinstance(source, type) and issubclass(source, OfficialDataset)


def is_folder(name: str) -> bool:
    """Whether ``name``, without options after a ``?``, is meant as a folder: registered names win over folders that are called
    the same."""
    folder = folder_of(name)
    return bare_name(folder) not in registry.entries("datasets") and os.path.isdir(folder)


def folder_of(name: str) -> str:
    """``name`` without options after a ``?``, known or not."""
    return split_query(name)[0]


def understood(name: str, progress: Progress = silent) -> Understood | None:
    """What a folder of clouds was understood as; None for any other name, halves and prepared folders among them."""
    if read_half(name) is not None or not is_folder(name):
        return None
    path, options = split_folder(name)
    if (Path(path) / PREPARED).exists():
        return None
    from foundry_bench.datasets.folder import understand_folder

    return understand_folder(Path(path), progress=progress, options=options)[1]


def _load_folder(name: str, progress: Progress) -> PointCloudDataset:
    path, options = split_folder(name)
    if (Path(path) / PREPARED).exists():
        if options != FolderOptions():
            raise UserError(f"{path} was made by `data prepare` and takes no options; write {path}")
        return embedded_reader.load_prepared(Path(path))
    from foundry_bench.datasets.folder import load_folder

    return load_folder(Path(path), progress=progress, options=options)
