"""The exception whose message is written for the user, and its most frequent message: an unknown name."""

from __future__ import annotations

import difflib
import os
from typing import Any


class UserError(Exception):
    """A mistake that the user can correct. The message is one line and names the fix; the command line exits with code 2."""


class InterruptedWorkError(KeyboardInterrupt):
    """Ctrl-C in work that can be taken up again. The message says how."""


_LONG = 200
"""Characters of a text of the user's that a message repeats."""


def quoted(text: str) -> str:
    """A text of the user's as a message repeats it: in quotes, with escapes, and without its middle where it is long."""
    return repr(text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 2 :]}")


def no_folder(what: str, text: str, wanted: str) -> UserError | None:
    """The error for a text that is meant as a path, such as ``scans/`` or ``a.npy``, and leads to no folder. None for a
    name."""
    if os.path.isdir(text):
        return None
    if os.path.exists(text):
        return UserError(f"{what} {quoted(text)} is a file, not a folder; {wanted}")
    if os.path.lexists(text):
        return UserError(f"{what} {quoted(text)} is a link that leads nowhere; {wanted}")
    if set(text.partition("[")[0]) & {os.sep, "."}:
        return UserError(f"{what} {quoted(text)} does not exist; {wanted}")
    return None


def unknown(what: str, name: str, known: Any) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = [str(k) for k in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return UserError(f"unknown {what} {quoted(name)}; {hint}")
