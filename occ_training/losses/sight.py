"""Cross-entropies of fields at cells whose state lines of sight tell."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# A cell is never surer than this; keeps the logarithm finite.
_LEAST = 1e-5


def sight_loss(
    density: Float[Tensor, "b n"],
    occupied: Bool[Tensor, "b n"],
    known: Bool[Tensor, "b n"] | Float[Tensor, "b n"],
    length_m: float,
) -> Float[Tensor, ""]:
    """Mean over known cells; a cell is occupied as far as it is opaque along its length.

    Args:
        density: Of the field at the cells' centres, 1/m.
        occupied: State of the cells; else they are free.
        known: Cells that count, or what each of them counts.
        length_m: Edge length of the cells.
    """
    depth = density * length_m  # optical
    error = torch.where(occupied, -(-torch.expm1(-depth)).clamp(min=_LEAST).log(), depth)
    return (error * known).sum() / known.sum().clamp(min=1)


def occupancy_loss(
    probability: Float[Tensor, "b n"],
    occupied: Bool[Tensor, "b n"],
    weights: Float[Tensor, "b n"],
) -> Float[Tensor, ""]:
    """Cross-entropy of a field that says how likely something is there.

    Args:
        probability: At the cells' centres.
        occupied: State of the cells; else they are free.
        weights: What each of them counts.
    """
    sure = torch.where(occupied, probability, 1 - probability).clamp(min=_LEAST)
    return -(sure.log() * weights).sum() / weights.sum().clamp(min=1)
