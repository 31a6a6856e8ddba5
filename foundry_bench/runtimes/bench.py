"""An exported folder timed in ONNX Runtime on the machine that it will run on, which needs numpy and onnxruntime alone.

``foundry-bench bench DIR`` does it, and so does ``python bench.py`` in an exported folder, the one file that
:func:`single_file` makes of this module and those it imports. The record goes back to ``foundry-bench leaderboard --merge``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from foundry_bench.runtimes.exported import MODEL, RUNTIME, Exported, FolderError
from foundry_bench.runtimes.figures import figures
from foundry_bench.runtimes.turns import CLOCK, Clock, Run, in_turns, machine

FORMAT = "foundry-bench bench 1"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""What a machine may be called: columns of tables end in it."""
MODELS = (("/proc/device-tree/model", r"(.+)"), ("/proc/cpuinfo", r"(?m)^model name\s*:\s*(.+)$"))
"""Where boards and processors say what they are."""


def bench(
    folder: Path,
    reference: Path | None = None,
    *,
    threads: int = 1,
    seconds: float = 6.0,
    label: str | None = None,
    clock: Clock = CLOCK,
) -> dict[str, Any]:
    """Time an exported folder, in turns with that of its teacher where ``reference`` names it, and return the record.

    A second session of the reference, or else of the folder itself, is the control. ``seconds`` are those of one
    attempt with and without grouping. Raises FolderError.
    """
    if label is not None and not LABEL.fullmatch(label):
        raise FolderError(f"label {label[:60]!r} must be up to 40 letters, digits, dots and dashes")
    try:
        import onnxruntime
    except ImportError as error:
        raise FolderError(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    state = machine()
    ours = Exported(folder, threads)
    theirs = None if reference is None else Exported(reference, threads)
    copy = Exported(reference or folder, threads)

    def turns(name: str) -> Any:
        runs: list[Run | None] = [None if one is None else getattr(one, name) for one in (ours, theirs, copy)]
        assert runs[0] is not None
        assert runs[2] is not None
        return in_turns(runs[0], runs[1], runs[2], seconds=seconds / 2, clock=clock)

    return {
        "format": FORMAT,
        **ours.about(),
        "reference": None if theirs is None else theirs.about(),
        "label": label or default_label(),
        "runtime": {"name": RUNTIME, "version": onnxruntime.__version__},
        "threads": threads,
        "machine": {
            **{"platform": f"{platform.system()}-{platform.machine()}", "model": _model()},
            **{"python": platform.python_version(), "numpy": np.__version__, **asdict(state)},
        },
        "figures": asdict(figures(turns("encode"), turns("total"))),
    }


def default_label() -> str:
    """What a machine is called that nobody has named: its model, or its family of processors."""
    text = re.sub(r"\(R\)|\(TM\)|@.*|CPU|Processor", " ", _model() or platform.machine() or "machine")
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:40].rstrip("-.") or "machine"


def _model() -> str | None:
    for file, pattern in MODELS:
        try:
            with open(file, errors="replace") as lines:
                found = re.search(pattern, lines.read(2**16).replace("\0", ""))
        except OSError:
            continue
        if found:
            return found.group(1).strip()[:100]
    return None


def summary(record: dict[str, Any]) -> str:
    """What a person wants to know of a record, in a few lines."""
    told = record["figures"]
    lines = [f"{record['label']}: {RUNTIME} {record['runtime']['version']}, {record['threads']} thread(s)"]
    for name, start in (("encoder", "latency"), ("with grouping", "latency_total")):
        percentiles = "/".join(f"{told[f'{start}{p}_ms']:.3g}" for p in ("", "_p90", "_p99"))
        ratio = told[f"{start}_ratio"]
        beside = (
            "" if ratio is None else f", {ratio:.2f} of the reference (IQR {told[f'{start}_ratio_iqr']:.2f})"
        )
        control = f"control {told[f'{start}_control_ratio']:.2f}"
        cpu = f"CPU {told[f'{start}_cpu_ms']:.3g} ms"
        lines.append(f"{name}: p50/p90/p99 {percentiles} ms, {cpu}{beside}, {control}")
    if told["noisy"]:
        lines.append(
            "noisy: the control stayed off by more than 10 %; stop what else is running and measure again"
        )
    lines.append(f"largest difference from the golden tokens: {record['difference']:.1e}")
    return "\n".join(lines)


def strict(record: dict[str, Any]) -> str:
    """The text of a record's file."""
    return json.dumps(record, indent=1) + "\n"


def single_file() -> str:
    """This module and those it imports as the text of one file, which needs numpy and onnxruntime alone."""
    folder, parts, future = Path(__file__).parent, [], "from __future__ import annotations\n"
    for name in ("turns", "figures", "exported", "bench"):
        text = (folder / f"{name}.py").read_text()
        text = re.sub(r"(?m)^from foundry_bench\..* import .*\n", "", text.replace(future, "", 1))
        parts.append(text.replace('if __name__ == "__main__":\n    main()\n', ""))
    head = '"""Time this exported folder: python bench.py [DIR] [--reference DIR] [-o record.json]."""\n\n'
    return f'{head}{future}\n{"".join(parts)}\n\nif __name__ == "__main__":\n    main()\n'


def write_beside(folder: Path) -> None:
    """Put the single file into a folder that was exported for ONNX Runtime; another one is left as it is."""
    if (folder / MODEL).exists():
        (folder / "bench.py").write_text(single_file())


def main() -> None:
    """The command line of the single file."""
    parser = argparse.ArgumentParser(description="Time an exported folder in ONNX Runtime.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--reference", type=Path, help="exported folder of the teacher")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--label", help="what this machine is called in tables")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    try:
        record = bench(
            given.folder,
            given.reference,
            threads=given.threads,
            seconds=given.seconds,
            label=given.label,
        )
        given.output.write_text(strict(record))
    except (FolderError, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"{summary(record)}\nrecord: {os.fspath(given.output)}\n")


if __name__ == "__main__":
    main()
