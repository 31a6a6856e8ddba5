"""The one exception whose message is written for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message is one line and names the fix; the command line exits with code 2."""
