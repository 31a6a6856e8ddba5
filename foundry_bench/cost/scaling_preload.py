"""Imported once by the fork server of :mod:`foundry_bench.cost.scaling`: what its processes need, without the warnings."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # fvcore scripts a loss at import
    import fvcore.nn

    import foundry_bench.authoring
    import foundry_bench.cost.scaling_child

__all__ = ["foundry_bench", "fvcore"]
