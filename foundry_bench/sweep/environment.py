"""Where and with what a cell ran: enough to explain a number years later, nothing that names a person."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from foundry_bench.sweep.record import Commit, Environment, Machine

PACKAGES = (
    "foundry-bench",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "timm",
    "fvcore",
    "pandas",
    "safetensors",
    "onnxruntime",
)


def utc_now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def describe() -> Environment:
    """Versions, commit, processor and command line of this process; called once per sweep."""
    return {
        **_machine(),
        "gpu": None,
        "git": _git(Path(__file__).resolve().parent),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def here(described: Environment, node: str, device: str) -> Environment:
    """The environment of a cell that runs in this process: what the sweep described on ``node``, and this machine where it is
    another one."""
    machine: Environment = described if platform.node() == node else {**described, **_machine()}
    return {**machine, "gpu": _gpu_model(device)}


def _machine() -> Machine:
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": _cpu_model(),
    }


def _gpu_model(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path) -> Commit | None:
    """Commit and dirty flag of the checkout that tracks this file, None outside one."""
    tracked = _output("git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name)
    sha = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    if tracked is None or sha is None:
        return None
    changes = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"sha": sha, "dirty": bool(changes)}


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
