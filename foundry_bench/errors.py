"""The exception whose message is written for the user, and its most frequent message: an unknown name."""

from __future__ import annotations

import difflib
from typing import Any


class UserError(Exception):
    """A mistake that the user can correct. The message is one line and names the fix; the command line exits with code 2."""


_LONG = 200
"""Characters of a text of the user's that a message repeats."""


def quoted(text: str) -> str:
    """A text of the user's as a message repeats it: in quotes, with escapes, and without its middle where it is long."""
    return repr(text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 2 :]}")


def unknown(what: str, name: str, known: Any) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return UserError(f"unknown {what} {quoted(name)}; {hint}")
