"""The source of a plugin, found and hashed without importing it: an edited plugin is described anew."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from pathlib import Path


def source_sha256(entry: EntryPoint) -> str | None:
    """Hash of the files that the module of ``entry`` is made of, or None where they are not found.

    These are the module's own file and, where it lies in a package, all Python files of that package, for a plugin may
    import from its neighbours.
    """
    try:
        files = sorted(_files(_specs(entry.value.partition(":")[0].strip())))
    except Exception:  # what finders raise for a name that is none, and loops of links in a package
        return None
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file) + b"\n")
        try:
            digest.update(file.read_bytes())
        except OSError:  # gone since it was listed
            return None
    return digest.hexdigest()


def file_of(module: str) -> Path | None:
    """The file of a module, found without importing it; None where there is none."""
    specs = _specs(module)
    return Path(specs[-1].origin) if specs and specs[-1].origin is not None else None


def _specs(module: str) -> list[ModuleSpec]:
    """Specs of the module and of the packages around it, outermost first; empty where one is not found.

    ``importlib.util.find_spec`` would import the packages; the finders that it asks need not.
    """
    specs: list[ModuleSpec] = []
    parts = module.split(".") if module else []
    for end in range(1, len(parts) + 1):
        path = specs[-1].submodule_search_locations if specs else None
        if specs and path is None:
            return []
        spec = _found(".".join(parts[:end]), None if path is None else list(path))
        if spec is None:
            return []
        specs.append(spec)
    return specs


def _found(name: str, path: list[str] | None) -> ModuleSpec | None:
    """What the first finder that knows ``name`` says of it; editable installations have finders of their own."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path) if find is not None else None
        if spec is not None:
            return spec
    return None


def _files(specs: list[ModuleSpec]) -> set[Path]:
    """The module's file and those of the packages around it; a name that distributions share (a namespace) has none."""
    origins = [Path(spec.origin) for spec in specs if spec.origin is not None]
    found = {origin for origin in origins if origin.is_file()}
    for folder in [origin.parent for origin in found if origin.name.startswith("__init__.")]:
        found.update(folder.rglob("*.py"))
    return found
