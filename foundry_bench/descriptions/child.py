"""The process that imports plugins in order to describe them: what one does at import ends here."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import EntryPoint

from foundry_bench.beforehand import plugin_files
from foundry_bench.border import said
from foundry_bench.descriptions.description import Description, description_of
from foundry_bench.descriptions.facts import facts_of


def main(first: str, wanted: list[tuple[str, str]]) -> None:
    """Import every (group, value) of ``wanted``; write a line of JSON for each to standard output as soon as it is known.

    What plugins print goes nowhere: the lines have a handle of their own. The first line is empty: module ``first`` is
    imported, whose time is not the first plugin's.
    """
    plugin_files.install()
    own = os.getpid()
    with os.fdopen(os.dup(1), "w") as lines:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        import_module(first)
        print(file=lines, flush=True)
        for group, value in wanted:
            line = json.dumps(asdict(described(EntryPoint("", value, group))))
            if os.getpid() != own:  # a plugin has forked at import
                os._exit(0)
            print(line, file=lines, flush=True)
    # Threads and handlers that plugins left behind are not waited for.
    sys.stderr.flush()
    os._exit(0)


def described(entry: EntryPoint) -> Description:
    """Import one entry and describe it; whatever it raises is its description's error."""
    try:
        return description_of(facts_of(entry.load()))
    except BaseException as error:  # a plugin may call sys.exit
        return Description(error=said(error))
