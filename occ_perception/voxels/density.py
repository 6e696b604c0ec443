"""From densities of a field to voxels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def grow(density: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Largest density within one voxel in every direction.

    A field is dense on surfaces only; without growing, voxel centres beside a thin surface miss it.
    """
    return F.max_pool3d(density[None, None], kernel_size=3, stride=1, padding=1)[0, 0]
