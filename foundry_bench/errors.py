"""The exception whose message is written for the user, and its most frequent message: an unknown name."""

from __future__ import annotations

import difflib
from typing import Any


class UserError(Exception):
    """A mistake that the user can correct. The message is one line and names the fix; the command line exits with code 2."""


def unknown(what: str, name: str, known: Any) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return UserError(f"unknown {what} {name!r}; {hint}")
