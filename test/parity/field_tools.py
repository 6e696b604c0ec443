"""What the adapters of the two field systems share: tolerances, weights, cuts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from occ_perception.core.checkpoint_rules import KeyRules
from parity.cases import Array, Case, Reference, Weights
from parity.compare import Rule


def close(rtol: float, atol: float = 0.0) -> Rule:
    """Every element within `atol + rtol * |reference|`."""

    def rule(ours: Array, reference: Reference) -> str | None:
        wanted = reference.values.astype(np.float64)
        excess = np.abs(ours.astype(np.float64) - wanted) - (atol + rtol * np.abs(wanted))
        if not np.isnan(excess).any() and excess.max(initial=0.0) <= 0:
            return None
        worst = int(np.argmax(np.nan_to_num(excess, nan=np.inf)))
        at = tuple(int(i) for i in np.unravel_index(worst, excess.shape))
        return (
            f"{ours[at]} at stored index {at}, the official value is {reference.values[at]} "
            f"(rtol {rtol:g}, atol {atol:g})"
        )

    return rule


def filled(
    module: nn.Module,
    weights: Weights,
    rules: KeyRules,
    fixed: Mapping[str, Sequence[int]] | None = None,
) -> nn.Module:
    """The module in eval mode with the case's weights; every tensor is set, none is left over."""
    official = weights.official() | {k: torch.tensor(v) for k, v in (fixed or {}).items()}
    kept = {k: v for k, v in official.items() if rules.drop_reason(k) is None}
    state = {rules.rename(key): tensor for key, tensor in kept.items()}
    counters = {k: v for k, v in module.state_dict().items() if k.endswith("num_batches_tracked")}
    module.load_state_dict(state | counters)
    return module.eval()


def told_cut(case: Case, path: str) -> tuple[slice, ...]:
    """The `slice(a, b, c)` list in a text of the case; empty when there is none."""
    found = re.findall(r"slice\((\w+), (\w+), (\w+)\)", str(case.value(path)))
    return tuple(
        slice(*(None if bound == "None" else int(bound) for bound in bounds)) for bounds in found
    )


def cut_as_told(case: Case, outputs: Mapping[str, Tensor | Array], path: str) -> dict[str, Any]:
    """Cut arrays by the slices that the case's own text tells."""
    return {name: value[told_cut(case, f"{path}.{name}")] for name, value in outputs.items()}


def eye_pose(batch: int = 1) -> Tensor:
    """Identity poses `[B, 4, 4]`."""
    return torch.eye(4).expand(batch, 4, 4)
