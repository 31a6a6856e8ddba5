"""Energy of a stretch of work: joules where a counter of the machine is read, CPU seconds everywhere.

Counters are Intel's and AMD's RAPL, as Linux gives them below ``/sys/class/powercap``, and NVIDIA's, by NVML. A power that a
data sheet names is no measurement, so without a counter joules are None and a reason says why.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Counter:
    """A counter in microjoules that starts again from zero after ``wraps``."""

    file: Path
    wraps: int

    def read(self) -> int:
        """Raises OSError and ValueError."""
        return int(self.file.read_text())

    def between(self, before: int, after: int) -> float:
        """Joules from one reading to a later one, which is less where the counter has started again."""
        return (after - before if after >= before else after + self.wraps - before) / 1e6


@dataclass
class Energy:
    """A context manager that measures what runs inside it.

    ``cpu_s``: CPU seconds of this process. ``joules``: of the whole machine's processors, ``package`` by package, and of the
    ``gpu``s, whatever else they did meanwhile; None without a counter, and then ``reason`` says why. ``counters`` names those
    that were read. Counters of packages tick about a thousand times a second: work should take much longer.
    """

    root: Path = RAPL
    cpu_s: float = 0.0
    joules: float | None = None
    reason: str | None = None
    counters: tuple[str, ...] = ()
    _before: dict[str, Any] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Energy:
        self.joules, self.reason, self.counters = None, None, ()
        self._packages, why_no_package = packages(self.root)
        self._gpus, why_no_gpu = gpus()
        self._missing = "; ".join(why for why in (why_no_package, why_no_gpu) if why)
        self._before = self._read()
        self._cpu = time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cpu_s = time.process_time() - self._cpu
        after = self._read()
        spent = {
            name: self._packages[name].between(first, after[name])
            if name in self._packages
            else (after[name] - first) / 1e3
            for name, first in self._before.items()
            if name in after
        }
        self.counters = tuple(spent)
        self.joules = sum(spent.values()) if spent else None
        self.reason = None if spent else self._missing or "the counters could not be read"

    def _read(self) -> dict[str, int]:
        """Microjoules of packages and millijoules of GPUs; a counter that fails is left out."""
        found: dict[str, int] = {}
        for name, counter in self._packages.items():
            try:
                found[name] = counter.read()
            except (OSError, ValueError):
                continue
        for name, read in self._gpus.items():
            try:
                found[name] = int(read())
            except Exception:  # NVML's own errors, whose class is only there with it
                continue
        return found


def packages(root: Path = RAPL) -> tuple[dict[str, Counter], str | None]:
    """The counters of whole processor packages below ``root``, by name, and why there are none."""
    if not root.is_dir():
        return {}, f"no RAPL counter: {root} is not there"
    found, closed = {}, []
    for zone in sorted(root.glob("*-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith("package"):  # cores and memory are parts of a package, or lie beside it
                continue
            counter = Counter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text()))
            counter.read()
            found[name] = counter
        except PermissionError:
            closed.append(zone.name)
        except (OSError, ValueError):
            continue
    if found:
        return found, None
    if closed:
        return {}, f"RAPL counters may be read by root alone ({', '.join(closed)})"
    return {}, f"no RAPL counter of a package below {root}"


def gpus() -> tuple[dict[str, Any], str | None]:
    """Functions that read the energy of each GPU since the driver was loaded, in millijoules, and why there are none."""
    try:
        import pynvml
    except ImportError:
        return {}, "no NVML counter: pynvml is not installed"
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        found = {f"gpu-{i}": _reader(pynvml, handle) for i, handle in enumerate(handles)}
        for read in found.values():
            read()
    except pynvml.NVMLError as error:
        return {}, f"no NVML counter: {error}"
    return (found, None) if found else ({}, "no NVML counter: no GPU")


def _reader(pynvml: Any, handle: Any) -> Any:
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
