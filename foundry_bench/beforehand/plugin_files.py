"""Plugins that are tried without an installation: files named by ``--plugin`` or by FOUNDRY_BENCH_PLUGINS.

The variable is the only memory of them, so that every process of a command finds the same ones. What a file registers is read
from its text: nothing in it runs before it is used.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from foundry_bench.border import file_shown, one_line
from foundry_bench.errors import UserError, quoted

VARIABLE = "FOUNDRY_BENCH_PLUGINS"
"""Environment variable with the files, separated as in PATH."""
PREFIX = "foundry_bench_plugin_"
"""What the name of the module of such a file begins with."""
BASES = {
    "Method": "methods",
    "Expert": "methods",
    "Task": "tasks",
    "Engine": "engines",
    "Tracker": "trackers",
    "Runtime": "runtimes",
    "OfficialDataset": "datasets",
    "GeneratedDataset": "datasets",
}
"""The contracts by the names of their classes -> the kind of plugin."""
DATASET = "PointCloudDataset"
"""What a function gives that is registered as a data set."""
LARGEST = 2**22
"""Bytes of a plugin file."""


@dataclass(frozen=True)
class Registered:
    """A class or function of a file: its ``kind``, the ``name`` it is registered by, and where it stands."""

    kind: str
    name: str
    attribute: str
    line: int


def files() -> tuple[Path, ...]:
    """The files that are in use, in their order."""
    named = [text for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    return tuple(dict.fromkeys(Path(os.path.abspath(os.path.expanduser(text))) for text in named))


def use(file: Path | str) -> Path:
    """Put ``file`` to use in this process and in those that it starts, read anew where it was in use, and return its path.

    Raises UserError for one that is not there, cannot be read as Python, or registers nothing.
    """
    path = Path(os.path.abspath(os.path.expanduser(os.fspath(file))))
    if os.pathsep in str(path):
        raise UserError(f"a plugin's path must not hold {os.pathsep!r}, got {quoted(str(path))}; rename it")
    registered(path)
    sys.modules.pop(module_name(path), None)
    os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys((*files(), path))))
    install()
    return path


@contextmanager
def used_for_a_while() -> Iterator[None]:
    """What is put to use inside is forgotten at the end."""
    before = os.environ.get(VARIABLE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def install() -> None:
    """Let the modules of the files be imported by their names, as unpickling does."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def entry_points() -> tuple[list[EntryPoint], dict[str, str]]:
    """What the files in use register, as entry points, and file -> why it registers nothing."""
    found: list[EntryPoint] = []
    broken: dict[str, str] = {}
    for file in files():
        install()
        try:
            found += [
                EntryPoint(one.name, f"{module_name(file)}:{one.attribute}", f"foundry_bench.{one.kind}")
                for one in registered(file)
            ]
        except UserError as error:
            broken[shown(file)] = str(error)
    return found, broken


def file_of(module: str) -> Path | None:
    """The file in use whose module, or a part of it, is called ``module``; None for any other."""
    if not module.startswith(PREFIX):
        return None
    return next((file for file in files() if module_name(file) == module.partition(":")[0]), None)


def module_name(file: Path) -> str:
    """The name of a file's module, which no other module and no other file has."""
    stem = re.sub(r"\W", "_", file.stem)
    return f"{PREFIX}{stem}_{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"


def shown(file: Path) -> str:
    """A file as messages name it: from the folder where the command runs, if it lies below."""
    return file_shown(str(file))


def with_neighbours(file: Path) -> list[Path]:
    """The file, and those beside it that it imports, directly or not: all that its code is made of."""
    found: list[Path] = []
    wanted = [file]
    while wanted:
        one = wanted.pop()
        if one in found or not one.is_file():
            continue
        found.append(one)
        try:
            tree = ast.parse(one.read_bytes())
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            wanted += [file.parent / f"{name.partition('.')[0]}.py" for name in names]
    return sorted(found)


def sha256(file: Path) -> str:
    """Hash of a plugin file and of the neighbours that it imports."""
    digest = hashlib.sha256()
    for one in with_neighbours(file):
        digest.update(one.read_bytes())
    return digest.hexdigest()


def registered(file: Path) -> tuple[Registered, ...]:
    """What ``file`` registers: every class with a ``name`` of its own that derives from a contract, and every function
    without arguments that gives a PointCloudDataset. Raises UserError where that is nothing."""
    try:
        about = file.stat()
    except (OSError, ValueError) as error:
        raise UserError(
            f"plugin {quoted(shown(file))} does not exist; give the path of a Python file, such as keep_first.py"
        ) from error
    if not file.is_file():
        raise UserError(f"plugin {quoted(shown(file))} is no file; give the path of a Python file in it")
    return _registered(file, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _registered(file: Path, modified: int, size: int) -> tuple[Registered, ...]:
    tree = _tree(file, size)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    texts = dict(_texts(tree.body))
    below = {base for node in classes.values() for base in map(_last, node.bases)}
    found: list[Registered] = []
    for node in classes.values():
        kind = _kind(node, classes, tree, file)
        if kind is None:
            continue
        name = _name(node, texts)
        if name is not None:
            found.append(Registered(kind, name, node.name, node.lineno))
        elif not any(map(_declares_name, _family(node, classes))) and node.name not in below:
            example = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node.name).lower()
            place = f"{kind.rstrip('s')} {node.name} ({shown(file)}:{node.lineno})"
            raise UserError(f'{place} has no name; add name: ClassVar[str] = "{example}"')
    found += [
        Registered("datasets", node.name.removeprefix("load_").replace("_", "-"), node.name, node.lineno)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and _gives_data(node)
    ]
    if not found:
        raise UserError(
            f"plugin {shown(file)} registers nothing; derive a class in it from Method or Task of foundry_bench.authoring and "
            'give it a name: ClassVar[str] = "mine"'
        )
    return tuple(found)


def _tree(file: Path, size: int) -> ast.Module:
    if size > LARGEST:
        raise UserError(f"plugin {shown(file)} is larger than {LARGEST // 2**20} MB, which no source is")
    try:
        return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UserError(
            f"plugin {shown(file)}:{error.lineno} cannot be read ({one_line(str(error.msg))}); mend that line"
        ) from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"plugin {shown(file)} cannot be read ({one_line(str(error))}); give the path of a Python file"
        ) from error


def _kind(node: ast.ClassDef, classes: dict[str, ast.ClassDef], tree: ast.Module, file: Path) -> str | None:
    """Of which kind a class is, by the contract at the end of its bases; those in modules of this package are followed."""
    seen: set[str] = set()
    wanted = list(map(_last, node.bases))
    while wanted:
        base = wanted.pop(0)
        if base in seen:
            continue
        seen.add(base)
        if base in classes:
            wanted += map(_last, classes[base].bases)
        elif base in BASES:
            return BASES[base]
        elif (found := _imported(base, tree, file)) is not None:
            return found
    return None


def _imported(name: str, tree: ast.Module, file: Path) -> str | None:
    """The kind of a class that ``tree`` imports from this package or from a file beside its own."""
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not node.module or node.level:
            continue
        for alias in node.names:
            source = _source(node.module, file) if name in (alias.asname, alias.name) else None
            if source is not None:
                other = _tree(source, source.stat().st_size)
                classes = {one.name: one for one in other.body if isinstance(one, ast.ClassDef)}
                if alias.name in classes:
                    return _kind(classes[alias.name], classes, other, source)
    return None


def _source(module: str, file: Path) -> Path | None:
    """The file of a module of this package, or of one that lies beside ``file``."""
    beside = file.parent / f"{module}.py"
    if beside.is_file():
        return beside
    if not module.startswith("foundry_bench."):
        return None
    spec = find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin else None


def _family(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """A class and those of its bases that stand in the same file."""
    found = [node]
    for one in found:
        found += [
            classes[base] for base in map(_last, one.bases) if base in classes and classes[base] not in found
        ]
    return found


def _last(node: ast.expr) -> str:
    """``Method`` of ``Method``, ``authoring.Method`` and ``Method[int]``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names that are assigned in a body, with what to."""
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def _texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for name, value in _assigned(body):
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield name, value.value


def _name(node: ast.ClassDef, texts: dict[str, str]) -> str | None:
    """The text that a class's own ``name`` is, written there or as a constant of the file."""
    for name, value in _assigned(node.body):
        if name == "name":
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value or None
            if isinstance(value, ast.Name):
                return texts.get(value.id)
    return None


def _declares_name(node: ast.ClassDef) -> bool:
    return any(name == "name" for name, _ in _assigned(node.body))


def _gives_data(node: ast.FunctionDef) -> bool:
    arguments = node.args
    required = len(arguments.args) + len(arguments.posonlyargs) - len(arguments.defaults)
    required += sum(default is None for default in arguments.kw_defaults)
    given: Any = node.returns
    text = given.value if isinstance(given, ast.Constant) else _last(given) if given is not None else ""
    return not node.name.startswith("_") and not required and text == DATASET


class _Finder(MetaPathFinder):
    """Finds the modules of plugin files. What lies beside a file may be imported from it, behind all that is installed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        file = file_of(fullname)
        if file is None:
            return None
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
        return spec_from_file_location(fullname, file)
