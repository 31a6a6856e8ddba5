"""Configurations that people write: read within bounds, held to the annotations of a dataclass, and described by a JSON schema.

A configuration is a plain dataclass whose fields are annotated with ``annotated_types`` bounds. pydantic reads the annotations,
and is imported only when there is something to check.
"""

from __future__ import annotations

import reprlib
import stat
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from foundry_bench.border import one_line
from foundry_bench.errors import UserError, unknown

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T")
STRICT: Any = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
"""``__pydantic_config__`` of a configuration: no value is turned into another type, NaN is no number."""
LARGEST_FILE = 2**20
"""Bytes of a configuration; what is larger is something else."""
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}
_LIMITS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}


def read_yaml(file: Path, example: str) -> dict[str, Any]:
    """The keys and values of a YAML file; ``example`` shows one. Raises UserError for a file that cannot be read or is no
    mapping with texts as keys."""
    import yaml

    try:
        values = yaml.load(_read(file), Loader=_loader())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise UserError(
            f"cannot read {file}: it is nested too deeply; write keys and values such as '{example}'"
        ) from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{file} must hold keys and values such as '{example}'")
    return values


@lru_cache
def _loader() -> Any:
    """YAML's safe loader, to which a key that stands twice is an error: of two values one would be lost without a word."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{shown(key.value)} stands twice", key.start_mark
                    )
                seen |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
            return super().construct_mapping(node, deep)

    return Loader


def _read(file: Path) -> bytes:
    """The content of a file, never of a device; a pipe is read where a shell made it. Raises OSError, or ValueError for
    what is too large."""
    mode = file.stat().st_mode
    piped = (stat.S_ISFIFO(mode) and file.is_relative_to("/dev/fd")) or file.is_relative_to("/proc/self/fd")
    if not (stat.S_ISREG(mode) or piped):
        raise ValueError("it is not a file")
    with file.open("rb") as handle:
        content = handle.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE // 2**20} MB, which no configuration is")
    return content


def validated(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """An instance of the configuration ``cls`` from parsed ``values``. ``where``, such as ``"in sweep.yaml"``, is for messages.

    Raises UserError, whose line names the first key that is unknown or has a value that it does not take, and what it takes.
    """
    from pydantic import ValidationError

    known = [f.name for f in fields(cls) if f.init]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise unknown(f"key {where}".strip(), str(key), known)
    try:
        held = _model(cast(Any, cls)).model_validate(dict(values))
        return cls(**{name: getattr(held, name) for name in known})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise UserError(_refusal(cls, first["loc"], _value_at(values, first["loc"]), where)) from None


def schema(cls: type) -> dict[str, Any]:
    """The JSON schema of the configuration ``cls``, for editors and other programs."""
    return _model(cls).model_json_schema()


@lru_cache(maxsize=8)
def _model(cls: type) -> type[BaseModel]:
    """The dataclass as a model: a strict dataclass of pydantic's takes no mapping, a strict model does."""
    from pydantic import create_model

    hints = get_type_hints(cls, include_extras=True)
    made: dict[str, Any] = {f.name: (hints[f.name], _default(f)) for f in fields(cls) if f.init}
    return create_model(cls.__name__, __doc__=cls.__doc__, __config__=STRICT, **made)


def _default(field: Any) -> Any:
    """The default of a dataclass's field as a model has it."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return ... if field.default is MISSING else field.default


def _refusal(cls: type, loc: tuple[int | str, ...], value: Any, where: str) -> str:
    """One line for the value at ``loc``, with what its key takes."""
    key = str(loc[0])
    about = schema(cls)["properties"][key]
    inside = next((str(part) for part in loc[1:] if isinstance(part, int)), "")
    place = f"{key}[{inside}]" if inside else key
    takes = _words(about["items"] if inside and "items" in about else about)
    return f"{place}{f' {where}' if where else ''} must be {takes}, got {shown(value)}"


def _value_at(values: Mapping[str, Any], loc: tuple[int | str, ...]) -> Any:
    """The value that was refused: the one of its key, or its item where the key has a list."""
    value: Any = values[str(loc[0])]
    for part in loc[1:]:
        if isinstance(part, int) and isinstance(value, list | tuple) and part < len(value):
            value = value[part]
    return value


def _words(about: Mapping[str, Any]) -> str:
    """What a key takes, from its JSON schema."""
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(map(_words, about["anyOf"])))
    if "enum" in about:
        return f"one of {', '.join(map(str, about['enum']))}"
    if about.get("type") == "array":
        least = about.get("minItems")
        count = f"{least} values" if least is not None and least == about.get("maxItems") else "a list"
        inner: Mapping[str, Any] = about.get("items") or next(iter(about.get("prefixItems", [])), {})
        return f"{count}, each {_words(inner)}" if inner else count
    limits = [f"{word} {about[name]:.15g}" for name, word in _LIMITS.items() if name in about]
    return " ".join([_TYPES.get(about.get("type", ""), "a mapping"), " and ".join(limits)]).strip()


def shown(value: Any) -> str:
    """A value of unknown size in a few characters on one line."""
    try:
        return one_line(reprlib.repr(value))
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"a value of type {type(value).__name__} that is too long to be shown"
