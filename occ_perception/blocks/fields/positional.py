"""Codes that turn image position and depth into something a small MLP can resolve."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def normalised_inverse_depth(
    depth_m: Float[Tensor, "*batch"], near_m: float, far_m: float, min_depth_m: float
) -> Float[Tensor, "*batch"]:
    """Inverse depth scaled to 1 at `near_m` and -1 at `far_m`; nearer points exceed 1."""
    inverse = 1 / depth_m.clamp(min=min_depth_m)
    return 2 * (inverse - 1 / far_m) / (1 / near_m - 1 / far_m) - 1


def positional_code(
    x: Float[Tensor, "*batch n"], octaves: int = 6, base: float = 1.5
) -> Float[Tensor, "*batch m"]:
    """The values, then sine and cosine of them at rising frequencies.

    Args:
        x: Values, about -1..1.
        octaves: Number of frequencies.
        base: Lowest frequency, radians per unit; each octave doubles it.

    Returns:
        `n * (1 + 2 * octaves)` values, ordered octave, (sine, cosine), input channel.
    """
    frequencies = base * 2 ** torch.arange(octaves, device=x.device, dtype=x.dtype)
    # Cosine as a shifted sine: the trained weights saw its rounding at large arguments.
    phases = x.new_tensor([0.0, math.pi / 2])
    values = x.shape[-1]
    # One long row per point: torch is slow on axes of two or three entries.
    repeated = x.repeat(*[1] * (x.dim() - 1), 2 * octaves)
    # In place: a training step has a million points, and memory is what they cost.
    repeated.mul_(frequencies.repeat_interleave(2 * values))
    angles = repeated.add_(phases.repeat_interleave(values).repeat(octaves))
    return torch.cat([x, angles.sin_()], dim=-1)
