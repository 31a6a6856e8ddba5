"""Students on the Hugging Face Hub. Nothing here runs, and nothing touches the network, unless it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.errors import UserError

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder

FILES = ("model.safetensors", "config.json")
"""All that a student's repository needs to hold."""


def push_student(
    folder: Path | str, repository: str, *, private: bool = False, token: str | None = None
) -> str:
    """Upload a student's folder, as ``save_student`` wrote it, to ``repository`` (``user/name``) and return its address.

    A repository that does not exist is created. ``token``: by default that of ``hf auth login``. Raises UserError for a
    folder that holds no student and for everything that the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise UserError(f"{folder} holds no student ({' and '.join(missing)} missing); save one there first")
    client = HfApi(token=token)
    try:
        client.create_repo(repository, private=private, exist_ok=True)
        client.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="Add a foundry-bench student",
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"cannot push to {repository}: {_first_line(error)}; check its name and your token"
        ) from error
    return f"https://huggingface.co/{repository}"


def pull_student(
    repository: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    folder: Path | str | None = None,
) -> Encoder:
    """Download a student from ``repository``, into the Hub's cache or into ``folder``, and load it.

    Give a ``revision`` (a commit) where the weights must stay exactly the same. Raises UserError for files that cannot be
    downloaded or read.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from foundry_bench.students.files import load_student

    try:
        path = snapshot_download(
            repository, revision=revision, token=token, local_dir=folder, allow_patterns=list(FILES)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"cannot pull {repository}: {_first_line(error)}; check its name, your token and the network"
        ) from error
    return load_student(path)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
