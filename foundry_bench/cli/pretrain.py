"""``foundry-bench pretrain``: a teacher by self-supervision on unlabelled clouds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from foundry_bench.beforehand.checks import check_device, check_folder
from foundry_bench.beforehand.configuration import read_yaml
from foundry_bench.cli import offers
from foundry_bench.cli.folder_options import folder_options, with_folder_options
from foundry_bench.cli.options import (
    data_root_option,
    device_option,
    give,
    json_option,
    out_option,
    threads_option,
    use_threads,
)
from foundry_bench.cli.place import Place
from foundry_bench.cli.saving import saved
from foundry_bench.errors import InterruptedWorkError, UserError


@click.command()
@out_option("Folder of the teacher", required=True)
@click.option(
    "--data",
    help="Unlabelled data sets, or folders, joined by commas.  [default: pretrain]",
    shell_complete=offers.datasets,
)
@click.option(
    "--config",
    type=Place(),
    help="YAML with other settings, and data: a name, a list, or names with their shares of a batch.",
)
@folder_options
@data_root_option
@click.option("--steps", type=click.IntRange(1, 10**9), help="Optimisation steps.")
@click.option("--probe/--no-probe", default=True, show_default=True, help="Linear probe along the way.")
@device_option
@threads_option
@json_option
def pretrain(
    out: Path,
    data: str | None,
    config: Path | None,
    data_root: str,
    steps: int | None,
    probe: bool,
    device: str,
    threads: int | None,
    as_json: bool,
    **folder: Any,
) -> int:
    """Pre-train a point transformer; run again to go on from the last checkpoint.

    \b
    foundry-bench pretrain --out teachers/mine
    foundry-bench pretrain --out teachers/wide --data 'pretrain,procedural[clouds=20000]'
    foundry-bench run --teacher teachers/mine --methods all --tasks fewshot

    The probe is a linear SVM on KiCad objects that are on no test side of any split. The context index of the teacher is
    measured at the end; `foundry-bench info teachers/mine` shows it.
    """
    import torch

    from foundry_bench.context import Context
    from foundry_bench.datasets.catalog import load_dataset
    from foundry_bench.datasets.joined import joined
    from foundry_bench.progress import long_work
    from foundry_bench.teachers import save_teacher
    from foundry_bench.training.pretrain import mixed_weights
    from foundry_bench.training.pretrain import pretrain as train

    check_folder(out, "--out")
    check_device(device)
    use_threads(threads)
    values = read_yaml(config, "steps: 1500") if config else {}
    shares = _shares(values.pop("data", "pretrain") if data is None else data)
    values.pop("data", None)
    shares = dict(zip(with_folder_options(list(shares), **folder), shares.values(), strict=True))
    settings = _settings(values, steps)
    with long_work() as (progress, log):
        ctx = Context(device=torch.device(device), progress=progress, log=log)
        sets = [load_dataset(name, Path(data_root), progress) for name in shares]
        weights = mixed_weights(sets, list(shares.values())) if all(shares.values()) else None
        try:
            model, history = train(joined(sets), settings, out, ctx, _probe() if probe else None, weights)
        except KeyboardInterrupt:
            raise InterruptedWorkError("the same command goes on from the last checkpoint") from None
        except FloatingPointError as error:
            raise UserError(str(error)) from error
        context = _context(model, out, progress)
    card = {**_provenance(settings, sets, shares, history), "context": context}
    saved(lambda folder: save_teacher(model, folder, card), out, "the trained teacher")
    give({"teacher": str(out), "steps": settings.steps, "context": context, "log": history}, None, as_json)
    if not as_json:
        click.echo(f"{out}: teacher after {settings.steps} steps; use it with --teacher {out}")
    return 0


def _settings(values: dict[str, Any], steps: int | None) -> Any:
    from foundry_bench.training.pretrain import PretrainConfig

    return PretrainConfig.from_dict({**values, **({"steps": steps} if steps else {})})


def _shares(data: Any) -> dict[str, float]:
    """Data set -> its share of a batch, 0 throughout where none is given. Raises UserError."""
    from foundry_bench.parameters.text import split, unquoted

    names = list(map(unquoted, split(data, ","))) if isinstance(data, str) else data
    if isinstance(names, dict):
        if names and all(
            isinstance(n, str) and type(v) in (int, float) and 0 < v < float("inf") for n, v in names.items()
        ):
            return {name: float(share) for name, share in names.items()}
        raise UserError(
            "data: every data set needs a share above 0, such as {pretrain: 0.5, procedural: 0.5}"
        )
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"data: expected names of data sets such as [pretrain, procedural], got {data!r}")
    if len(set(names)) < len(names):
        raise UserError(f"data: {data} names a data set twice; to draw it more often give shares")
    return dict.fromkeys(names, 0.0)


def _probe() -> Any:
    from foundry_bench.datasets import load_embedded
    from foundry_bench.heads.features import embed_clouds, turned
    from foundry_bench.heads.probe import linear_probe, never_tested
    from foundry_bench.training.precision import autocast

    data = never_tested(load_embedded("kicad"))
    points = turned(data.points[:], data.paths)

    def measure(model: Any) -> float:
        device = next(model.parameters()).device
        with autocast(device):
            features = embed_clouds(model, points, device=device)
        return linear_probe(features, data)["mean"]

    return measure


def _context(model: Any, out: Path, progress: Any) -> dict[str, Any]:
    """The card's block on the context index, with the reason in its place where there is none."""
    from foundry_bench.heads.context_index import context_index

    try:
        measured = context_index(model, progress=progress).to_dict()
    except UserError as reason:
        return {"index": None, "reason": str(reason)}
    return {**measured, "dim": model.config.dim, "command": f"foundry-bench info {out} --context"}


def _provenance(
    settings: Any, sets: list[Any], shares: dict[str, float], history: list[dict[str, float]]
) -> dict[str, Any]:
    from dataclasses import asdict

    import torch

    facts = [
        {"name": data.name, "version": data.version, "sha256": data.sha256, "licence": data.licence}
        | ({"share": share} if share else {})
        for data, share in zip(sets, shares.values(), strict=True)
    ]
    return {
        "command": " ".join(["foundry-bench", *sys.argv[1:]]),
        "data": facts[0] if len(facts) == 1 else facts,
        "pretraining": asdict(settings),
        "torch": torch.__version__,
        "log": history,
    }
