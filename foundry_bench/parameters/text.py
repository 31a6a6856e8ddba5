"""How a parameter's value is written in a selector, and read back.

``16`` and ``1e-3`` are numbers, ``true`` and ``false`` switches, ``null`` is None, ``(4,8)`` a tuple; anything else is text,
which stands in quotes where it would read as one of these or holds a comma, a bracket, a parenthesis or ``=``.
"""

from __future__ import annotations

import json
import re
from typing import Any

_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\""""
_TOKEN = re.compile(
    rf"(?:^|(?<=[=,(\[:]))\s*(?:{_QUOTED})|(?<=[=,\[])\s*\((?:{_QUOTED}|[^()'\"])*\)|.", re.DOTALL
)
"""A quoted text or a tuple, where a value or the name of a data set begins, else one character."""
_KEYED = re.compile(r"\s*([^\s'\"(=]+)\s*=(.*)", re.DOTALL)
_WHOLE = re.compile(r"[-+]?[0-9]{1,300}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_PLAIN = re.compile(r"[^\s'\"()\[\],=](?:[^'\"()\[\],=\r\n]*[^\s'\"()\[\],=])?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False, "True": True, "False": False}


def tokens(text: str) -> list[str]:
    """``text`` in pieces of one character, except that quoted texts and tuples stay whole."""
    return _TOKEN.findall(text)


def split(text: str, separator: str, empty: bool = False) -> list[str]:
    """Split at separators outside brackets, parentheses and quotes; without what is empty, unless ``empty`` asks for it."""
    parts, depth = [""], 0
    for token in tokens(text):
        depth += (token == "[") - (token == "]")
        if token == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if empty or part.strip()]


def keyed(item: str) -> tuple[str, str]:
    """``key=value`` as its two sides; the key is empty where there is none."""
    match = _KEYED.fullmatch(item)
    return (match[1], match[2]) if match else ("", item)


def read_text(text: str) -> Any:
    """The value that a person wrote. Raises ValueError for a tuple without its end and for a quoted text that is none."""
    text = text.strip()
    if text.startswith("("):
        if tokens(f"={text}") != ["=", text]:
            raise ValueError("a tuple is written (4,8)")
        return tuple(read_text(item) for item in split(text[1:-1], ","))
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return json.loads(text) if text[0] == '"' else text[1:-1].replace("''", "'")
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def unquoted(text: str) -> str:
    """A name as it is meant: without the quotes that it stands in where it holds a comma, a colon or a bracket."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        try:
            return str(read_text(text))
        except ValueError:
            return text
    return text


def as_text(value: Any) -> str:
    """A value as a selector has it; :func:`read_text` reads it back."""
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return f"({','.join(map(as_text, value))})"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and isinstance(read_text(value), str)
        return value if plain else json.dumps(value, ensure_ascii=False)
    return str(value)
