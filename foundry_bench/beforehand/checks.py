"""What is tried before anything is loaded or trained: devices, seeds, and the places that results are written to."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

from foundry_bench.beforehand.configuration import shown
from foundry_bench.errors import UserError, quoted

LARGEST_SEED = 2**31 - 1
"""The seeds that every generator takes: torch's, numpy's and Python's."""
DEEPEST = f"cells/student/.{'0' * 64}.traceback.txt.00000000.tmp"
"""The longest name that is written below a folder of results, a student's or a teacher's."""


def check_seed(seed: object) -> int:
    """``seed``, where every generator takes it. Raises UserError."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed must be a whole number from 0 to {LARGEST_SEED}, got {shown(seed)}")
    return seed


def check_path(path: object, what: str) -> Path:
    """``path``, which ``what`` names to the user, as a Path. Raises UserError for an empty text, one with a null character,
    what no system takes and what is no path: an empty one would mean the folder that one happens to be in."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise UserError(f"{what} must be the path of a file or folder, got {shown(path)}")
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(
                f"{what} {quoted(text)} is longer than the system takes; choose another {what}"
            ) from None
    except UnicodeEncodeError:
        raise UserError(
            f"{what} {quoted(text)} cannot be written in the system's encoding; set PYTHONUTF8=1"
        ) from None
    return Path(text)


def check_device(device: object) -> str:
    """``device`` as text, where this machine can compute on it; torch is imported for another than ``cpu`` only.

    Raises UserError for a name that torch does not know and for a device that is not there.
    """
    text = str(device) if type(device).__module__.partition(".")[0] == "torch" else device
    if not isinstance(text, str):
        raise UserError(f"device must be a name such as cpu, cuda or cuda:1, got {shown(device)}")
    if text == "cpu":
        return text
    import torch

    try:
        found = torch.device(text)
        if found.type == "meta":
            raise UserError("device 'meta' holds no numbers; choose cpu, cuda or cuda:1")
        if found.type == "cpu":
            raise UserError(f"device {text!r} is no other than cpu; write cpu")
        torch.zeros(1, device=found)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
        ValueError,
        OverflowError,
        ImportError,
    ) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        choices = " or ".join(["cpu", *_devices()])
        raise UserError(
            f"cannot compute on device {shown(text)} here, choose {choices} ({reason[:80]})"
        ) from error
    return text


def _devices() -> list[str]:
    """The devices beside ``cpu`` that this machine has."""
    import torch

    others = ["mps"] if torch.backends.mps.is_available() else []
    return [*(f"cuda:{number}" for number in range(torch.cuda.device_count())), *others]


def check_folder(folder: Path, option: str, *, empty: bool = False) -> None:
    """Raise UserError where nothing could be written into ``folder``, which need not exist; ``option`` names it to the user.

    Nothing is left behind: a file without a name is made where the missing folders would be. With ``empty`` there must be
    nothing in it yet.
    """
    _check_name(folder / DEEPEST, folder, option)
    if folder.is_dir():
        if empty and any(_listed(folder, option)):
            raise UserError(f"{folder} is not an empty folder; choose another {option}")
    elif os.path.lexists(folder):
        raise UserError(f"{folder} is not a folder; choose another {option}")
    _try_to_write(_standing(folder), folder, option)


def check_file(file: Path, option: str) -> None:
    """Raise UserError where ``file`` could not be written, or replaced where it is there; as :func:`check_folder`."""
    _check_name(file.with_name(f".{file.name}.00000000.tmp"), file, option)
    if os.path.lexists(file) and not file.is_file():
        raise UserError(f"{file} is not a file that can be replaced; choose another {option}")
    _try_to_write(_standing(file.parent), file, option)


def _check_name(longest: Path, meant: Path, option: str) -> None:
    """Raise UserError for a path that the system does not take, or that goes through a file."""
    try:
        os.lstat(longest)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        standing = next((p for p in longest.parents if os.path.lexists(p) and not p.is_dir()), meant)
        raise UserError(f"{standing} is not a folder; choose another {option}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        name = f"{str(meant)[:60]}..." if len(str(meant)) > 100 else str(meant)
        raise UserError(f"cannot write to {name!r}: {reason}; choose another {option}") from None


def _standing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path("/"))


def _listed(folder: Path, option: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; choose another {option}") from error


def _try_to_write(standing: Path, meant: Path, option: str) -> None:
    try:
        with TemporaryFile(dir=standing, prefix=".foundry-bench-"):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {meant}: {error.strerror}; choose another {option} or give yourself the right to write there"
        ) from error
