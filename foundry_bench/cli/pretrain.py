"""``foundry-bench pretrain``: a teacher by self-supervision on unlabelled clouds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from foundry_bench.errors import UserError


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the teacher."
)
@click.option("--data", "data_name", default="pretrain", show_default=True, help="Unlabelled data set.")
@click.option(
    "--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="YAML with other settings."
)
@click.option("--steps", type=click.IntRange(1), help="Optimisation steps.")
@click.option("--probe/--no-probe", default=True, show_default=True, help="Linear probe along the way.")
@click.option("--device", default="cpu", show_default=True)
def pretrain(
    out: Path, data_name: str, config: Path | None, steps: int | None, probe: bool, device: str
) -> int:
    """Pre-train a point transformer; run again to go on from the last checkpoint.

    \b
    foundry-bench pretrain --out teachers/mine
    foundry-bench run --teacher teachers/mine --methods all --tasks fewshot

    The probe is a linear SVM on KiCad objects that are on no test side of any split. The context index of the teacher is
    measured at the end; `foundry-bench info teachers/mine` shows it.
    """
    import torch

    from foundry_bench import registry
    from foundry_bench.context import Context
    from foundry_bench.progress import long_work
    from foundry_bench.teachers import save_teacher
    from foundry_bench.training.pretrain import pretrain as train

    settings = _settings(config, steps)
    data = registry.load("datasets", data_name)()
    with long_work() as (progress, log):
        ctx = Context(device=torch.device(device), progress=progress, log=log)
        try:
            model, history = train(data, settings, out, ctx, _probe() if probe else None)
        except FloatingPointError as error:
            raise UserError(str(error)) from error
        context = _context(model, out, progress)
    save_teacher(model, out, {**_provenance(settings, data, history), "context": context})
    click.echo(f"{out}: teacher after {settings.steps} steps; use it with --teacher {out}")
    return 0


def _settings(config: Path | None, steps: int | None) -> Any:
    import yaml

    from foundry_bench.training.pretrain import PretrainConfig

    try:
        values = (yaml.safe_load(config.read_text()) or {}) if config else {}
    except yaml.YAMLError as error:
        raise UserError(f"{config} is no YAML file: {' '.join(str(error).split())}") from error
    return PretrainConfig.from_dict({**values, **({"steps": steps} if steps else {})})


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


def _provenance(settings: Any, data: Any, history: list[dict[str, float]]) -> dict[str, Any]:
    from dataclasses import asdict

    import torch

    return {
        "command": " ".join(["foundry-bench", *sys.argv[1:]]),
        "data": {"name": data.name, "version": data.version, "sha256": data.sha256, "licence": data.licence},
        "pretraining": asdict(settings),
        "torch": torch.__version__,
        "log": history,
    }
